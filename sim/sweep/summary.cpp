#include "sim/sweep/summary.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include "core/base/text_table.hpp"
#include "core/record/bootstrap.hpp"

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
  std::map<std::string, std::vector<double>> values;                  // one a replica
  std::vector<std::pair<std::string, std::vector<double>>> attained;  // by objective, in the order of rows
  int replicas = 0;
  bool backlogged = false;
};

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// 95 % intervals over replicas; of tails only where there are seeds enough.
void add_intervals(const Setting& setting, Json& json) {
  const std::pair<const char*, std::size_t> figures[] = {{"mean_ttft_ms", record::kMinReplicasForInterval},
                                                         {"median_ttft_ms", record::kMinReplicasForInterval},
                                                         {"p95_ttft_ms", record::kMinReplicasForTail},
                                                         {"p99_ttft_ms", record::kMinReplicasForTail}};
  for (const auto& [name, min_replicas] : figures) {
    const auto found = setting.values.find(name);
    if (found == setting.values.end() || found->second.size() < min_replicas) continue;
    if (const auto interval = record::bootstrap_interval(found->second)) {
      json[fmt::format("{}_ci95", name)] = {interval->first, interval->second};
    }
  }
}

std::string key_of(const Json& row) { return row.at("label").get<std::string>() + "|" + row.at("axes").dump(); }

std::string number(const Json& value, const char* format) {
  return value.is_null() ? "-" : fmt::format(fmt::runtime(format), value.get<double>());
}

std::string interval_text(const Json& setting) {
  if (!setting.contains("mean_ttft_ms_ci95")) return "-";
  const Json& ends = setting.at("mean_ttft_ms_ci95");
  return fmt::format("{:.1f}-{:.1f}", ends.at(0).get<double>(), ends.at(1).get<double>());
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
    if (row.contains("slo_attainment")) {
      for (const auto& [objective, share] : row.at("slo_attainment").items()) {
        if (share.is_null()) continue;
        auto found = std::find_if(setting.attained.begin(), setting.attained.end(),
                                  [&, &name = objective](const auto& entry) { return entry.first == name; });
        if (found == setting.attained.end()) found = setting.attained.insert(found, {objective, {}});
        found->second.push_back(share.get<double>());
      }
    }
    for (const Figure& figure : kFigures) {
      const Json::json_pointer pointer(figure.pointer);
      if (!row.contains(pointer) || row.at(pointer).is_null()) continue;
      setting.values[figure.name].push_back(row.at(pointer).get<double>());
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
      const auto found = setting.values.find(figure.name);
      json[figure.name] = found == setting.values.end() ? Json(nullptr) : Json(mean_of(found->second));
    }
    add_intervals(setting, json);
    for (const auto& [objective, shares] : setting.attained) json["slo_attainment"][objective] = mean_of(shares);
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
  const bool has_interval = std::any_of(settings.begin(), settings.end(),
                                        [](const Json& setting) { return setting.contains("mean_ttft_ms_ci95"); });
  const bool has_range = std::any_of(settings.begin(), settings.end(),
                                     [](const Json& setting) { return !setting["range_low_ms"].is_null(); });
  std::vector<std::string> objectives;
  for (const Json& setting : settings) {
    if (!setting.contains("slo_attainment") || !objectives.empty()) continue;
    for (const auto& [objective, share] : setting.at("slo_attainment").items()) objectives.push_back(objective);
  }
  std::vector<std::string> header = {"system"};
  header.insert(header.end(), axis_names.begin(), axis_names.end());
  header.emplace_back("TTFT ms");
  if (has_interval) header.emplace_back("95 % CI");
  if (has_range) header.emplace_back("90 % range");
  if (has_p95) header.emplace_back("P95 ms");
  for (const std::string& objective : objectives)
    header.push_back(fmt::format("in {} ms %", objective.substr(0, objective.find("_ms"))));
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
    if (has_interval) line.push_back(interval_text(setting));
    if (has_range) {
      line.push_back(setting["range_low_ms"].is_null()
                         ? "-"
                         : fmt::format("{} .. {}", number(setting["range_low_ms"], "{:.1f}"),
                                       number(setting["range_high_ms"], "{:.1f}")));
    }
    if (has_p95) line.push_back(number(setting["p95_ttft_ms"], "{:.1f}"));
    for (const std::string& objective : objectives) {
      const Json::json_pointer share("/slo_attainment/" + objective);
      line.push_back(setting.contains(share) ? fmt::format("{:.1f}", 100 * setting.at(share).get<double>()) : "-");
    }
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
