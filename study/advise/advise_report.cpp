#include "core/base/text_table.hpp"
#include "study/advise/advise.hpp"

namespace reprefill::study {
namespace {

constexpr std::size_t kShownSettings = 12;

std::string gigabytes(const Json& bytes) { return fmt::format("{:.3g} GB", bytes.get<double>() / 1e9); }
std::string milliseconds(const Json& value) { return fmt::format("{:.2f}", value.get<double>()); }
std::string share(const Json& value) { return fmt::format("{:.3f}", value.get<double>()); }
std::string text(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

std::string crossover_text(const Json& report) {
  const Json& crossovers = report.at("crossovers");
  if (crossovers.is_null()) return "Not for traces: their prefixes have the lengths they have.\n";
  TextTable table({"system", "loads faster than recomputing from", "examined up to"});
  for (const Json& entry : crossovers) {
    const Json& examined = entry.at("examined_tokens");
    std::string from = "never";
    if (!entry.at("from_prefix_tokens").is_null()) {
      from = fmt::format("{}{} tokens", entry.at("at_the_shortest_examined").get<bool>() ? "at most " : "",
                         entry.at("from_prefix_tokens").dump());
    }
    table.add_row({text(entry.at("system")), from, examined.empty() ? "-" : examined.back().dump()});
  }
  return table.to_markdown();
}

std::string baselines_text(const Json& report) {
  TextTable table({"system", "TTFT ms", "mass kept", "caches", "bottleneck"});
  for (const Json& row : report.at("baselines")) {
    table.add_row({text(row.at("system")), milliseconds(row.at("ttft_ms")), share(row.at("attention_mass_kept")),
                   gigabytes(row.at("cache_bytes")), text(row.at("bottleneck"))});
  }
  return table.to_markdown();
}

std::string pareto_text(const Json& report) {
  const Json& settings = report.at("pareto");
  if (settings.empty()) return "No setting keeps that much attention mass: lower --min-attention-mass.\n";
  TextTable table({"TTFT ms", "mass kept", "chunk", "period", "subperiod", "budget", "GPU cache", "host cache"});
  for (std::size_t i = 0; i < settings.size() && i < kShownSettings; ++i) {
    const Json& params = settings[i].at("params");
    table.add_row({milliseconds(settings[i].at("ttft_ms")), share(settings[i].at("attention_mass_kept")),
                   text(params.at("chunk_tokens")), text(params.at("period_layers")),
                   text(params.at("subperiod_layers")), text(params.at("budget")),
                   gigabytes(params.at("gpu_cache_bytes")), gigabytes(params.at("host_cache_bytes"))});
  }
  std::string result = table.to_markdown();
  if (settings.size() > kShownSettings) {
    result += fmt::format("\n{} more in summary.json.\n", settings.size() - kShownSettings);
  }
  return result;
}

std::string what_if_text(const Json& report) {
  TextTable table({"system", "change", "before ms", "after ms", "difference"});
  for (const Json& entry : report.at("what_if")) {
    const bool recommended = entry.at("is_recommended").get<bool>();
    table.add_row({text(entry.at("system")) + (recommended ? ", recommended" : ""), text(entry.at("change")),
                   milliseconds(entry.at("before_ms")), milliseconds(entry.at("after_ms")),
                   fmt::format("{:+.1f} %", 100 * entry.at("relative_change").get<double>())});
  }
  return table.to_markdown();
}

}  // namespace

std::string advise_markdown(const Json& report) {
  const Json& search = report.at("search");
  std::string result =
      fmt::format("# Advice for {} on {} ({})\n\nObjective: {} TTFT.\n", text(report.at("model")),
                  text(report.at("profile")), text(report.at("profile_kind")), text(report.at("objective")));
  result += "\n## Load or recompute? (nothing cached, one request in flight)\n" + crossover_text(report);
  result += "\n## Systems as they are\n" + baselines_text(report);
  result += fmt::format(
      "\n## Settings of contiguous_kv that no other one beats (time, mass, cache bytes; mass at least {})\n",
      report.at("min_attention_mass").dump());
  result += pareto_text(report);
  result += fmt::format("\n{} of {} settings tried: {} could not run, {} kept too little.\n",
                        search.at("trials").dump(), search.at("settings").dump(), search.at("infeasible").dump(),
                        search.at("below_min_attention_mass").dump());
  result += "\n## Faster parts (bandwidth doubled, latency halved)\n" + what_if_text(report);
  return result;
}

}  // namespace reprefill::study
