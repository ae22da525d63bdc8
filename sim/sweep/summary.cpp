#include "sim/sweep/summary.hpp"

#include <algorithm>
#include <map>

#include "core/base/text_table.hpp"

namespace reprefill::sim {
namespace {

/// Figures that are averaged over replicas, by their place in a row.
struct Figure {
  const char* name;
  const char* pointer;
};
constexpr Figure kFigures[] = {
    {"mean_ttft_ms", "/ttft/mean_ttft_ms"},
    {"median_ttft_ms", "/ttft/median_ttft_ms"},
    {"p95_ttft_ms", "/ttft/p95_ttft_ms"},
    {"p99_ttft_ms", "/ttft/p99_ttft_ms"},
    {"range_low_ms", "/range/mean_ttft_ms/low"},
    {"range_high_ms", "/range/mean_ttft_ms/high"},
    {"requested_bytes_per_request", "/bytes_per_request/requested_bytes"},
    {"amplification_payload", "/efficiency/amplification_payload"},
    {"tokens_loaded_per_token_selected", "/efficiency/tokens_loaded_per_token_selected"},
    {"effective_budget", "/efficiency/effective_budget"},
    {"gpu_hit_fraction", "/efficiency/gpu_hit_fraction"},
    {"host_hit_fraction", "/efficiency/host_hit_fraction"},
    {"prefetch_precision", "/efficiency/prefetch_precision"},
    {"attention_mass_kept", "/attention_mass_kept/mean"},
};

struct Setting {
  Json first;
  std::map<std::string, std::pair<double, int>> sums;
  int replicas = 0;
  bool backlogged = false;
};

std::string key_of(const Json& row) { return row.at("label").get<std::string>() + "|" + row.at("axes").dump(); }

std::string number(const Json& value, const char* format) {
  return value.is_null() ? "-" : fmt::format(fmt::runtime(format), value.get<double>());
}

std::string axis_value(const Json& axes, const std::string& name) {
  if (!axes.contains(name) || axes.at(name).is_null()) return "-";
  const Json& value = axes.at(name);
  if (value.is_object()) return value.value("name", value.dump());
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

std::vector<Json> summarise_replicas(const std::vector<Json>& rows) {
  std::vector<std::string> order;
  std::map<std::string, Setting> settings;
  for (const Json& row : rows) {
    const std::string key = key_of(row);
    if (!settings.contains(key)) order.push_back(key);
    Setting& setting = settings[key];
    if (setting.replicas++ == 0) setting.first = row;
    setting.backlogged |= row.at("verdict") == "BACKLOGGED";
    for (const Figure& figure : kFigures) {
      const Json::json_pointer pointer(figure.pointer);
      if (!row.contains(pointer) || row.at(pointer).is_null()) continue;
      auto& [sum, count] = setting.sums[figure.name];
      sum += row.at(pointer).get<double>();
      ++count;
    }
  }
  std::vector<Json> result;
  for (const std::string& key : order) {
    const Setting& setting = settings[key];
    Json json = Json::object();
    for (const char* name : {"label", "system", "axes", "model", "profile", "profile_kind", "software_path",
                             "bottleneck", "timing_dependent"}) {
      json[name] = setting.first.at(name);
    }
    json["replicas"] = setting.replicas;
    json["measured_requests"] = setting.first.at("workload").at("measured_requests");
    json["verdict"] = setting.backlogged ? "BACKLOGGED" : "STABLE";
    const Json& ttft = setting.first.at("ttft");
    if (ttft.contains("p95_note")) json["p95_note"] = ttft["p95_note"];
    for (const Figure& figure : kFigures) {
      const auto found = setting.sums.find(figure.name);
      json[figure.name] =
          found == setting.sums.end() ? Json(nullptr) : Json(found->second.first / found->second.second);
    }
    result.push_back(std::move(json));
  }
  return result;
}

Json make_summary(const std::string& name, const std::string& description, const std::vector<std::string>& axis_names,
                  const std::vector<Json>& rows) {
  Json summary = {{"schema_version", 1}, {"name", name}, {"description", description}};
  summary["axes"] = axis_names;
  summary["points"] = Json::array();
  for (const Json& row : summarise_replicas(rows)) summary["points"].push_back(row);
  return summary;
}

std::string result_table(const std::vector<Json>& rows, const std::vector<std::string>& axis_names, TableForm form) {
  const std::vector<Json> settings = summarise_replicas(rows);
  const bool has_p95 = std::any_of(settings.begin(), settings.end(),
                                   [](const Json& setting) { return !setting["p95_ttft_ms"].is_null(); });
  const bool has_range = std::any_of(settings.begin(), settings.end(),
                                     [](const Json& setting) { return !setting["range_low_ms"].is_null(); });
  std::vector<std::string> header = {"system"};
  header.insert(header.end(), axis_names.begin(), axis_names.end());
  header.emplace_back("TTFT ms");
  if (has_range) header.emplace_back("90 % range");
  if (has_p95) header.emplace_back("P95 ms");
  for (const char* column : {"read MB", "amplif.", "kept", "GPU hit", "host hit", "mass", "bottleneck"}) {
    header.emplace_back(column);
  }
  TextTable table(header);
  for (const Json& setting : settings) {
    std::vector<std::string> line = {setting["label"].get<std::string>()};
    for (const std::string& axis : axis_names) line.push_back(axis_value(setting["axes"], axis));
    const bool backlogged = setting["verdict"] == "BACKLOGGED";
    const bool timing_dependent = setting["timing_dependent"].get<bool>();
    line.push_back(number(setting["mean_ttft_ms"], "{:.1f}") + (timing_dependent ? " ~" : "") +
                   (backlogged ? " !" : ""));
    if (has_range) {
      line.push_back(setting["range_low_ms"].is_null()
                         ? "-"
                         : fmt::format("{} .. {}", number(setting["range_low_ms"], "{:.1f}"),
                                       number(setting["range_high_ms"], "{:.1f}")));
    }
    if (has_p95) line.push_back(number(setting["p95_ttft_ms"], "{:.1f}"));
    line.push_back(number(Json(setting["requested_bytes_per_request"].get<double>() / 1e6), "{:.1f}"));
    line.push_back(number(setting["amplification_payload"], "{:.2f}"));
    line.push_back(number(setting["effective_budget"], "{:.3f}"));
    line.push_back(number(setting["gpu_hit_fraction"], "{:.3f}"));
    line.push_back(number(setting["host_hit_fraction"], "{:.3f}"));
    line.push_back(number(setting["attention_mass_kept"], "{:.3f}"));
    line.push_back(setting["bottleneck"].get<std::string>());
    table.add_row(line);
  }
  return form == TableForm::markdown ? table.to_markdown() : table.to_text();
}

}  // namespace reprefill::sim
