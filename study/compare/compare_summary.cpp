#include "study/compare/compare_summary.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/text_table.hpp"
#include "core/pipeline/account_metrics.hpp"

namespace reprefill::study {
namespace {

void append(std::vector<Cell>& to, std::span<const Cell> cells) { to.insert(to.end(), cells.begin(), cells.end()); }

/// Where the model is wrong most, seen from the TTFT: the kind of span, and on which point.
Json worst_span_of(std::span<const sim::Point> points, std::span<const PointComparison> comparisons) {
  Json worst = nullptr;
  double worst_share = -1;
  for (std::size_t i = 0; i < comparisons.size(); ++i) {
    for (const Cell& span : comparisons[i].spans) {
      const double difference = span.predicted_ms - span.real_ms;
      const double share = std::abs(difference) / comparisons[i].ttft.real_ms;
      if (share <= worst_share) continue;
      worst_share = share;
      worst = {{"span", span.name},
               {"point", points[i].index},
               {"label", points[i].label},
               {"real_ms", span.real_ms},
               {"predicted_ms", span.predicted_ms},
               {"difference_share_of_ttft", difference / comparisons[i].ttft.real_ms}};
    }
  }
  return worst;
}

Json summarise_equality(std::span<const PointComparison> comparisons) {
  std::size_t checked = 0, equal = 0;
  for (const PointComparison& comparison : comparisons) {
    checked += comparison.equality.is_checked;
    equal += comparison.equality.is_equal;
  }
  return {{"checked_points", checked}, {"equal_points", equal}};
}

Json summarise_ranges(std::span<const sim::Point> points, std::span<const PointComparison> comparisons) {
  std::size_t inside = 0, total = 0;
  for (const PointComparison& comparison : comparisons) {
    for (const RangeCoverage& range : comparison.ranges) {
      inside += range.inside;
      total += range.total;
    }
  }
  return {{"nominal", 0.9},
          {"common_mode", !points.empty() && points.front().profile.common_mode.has_value()},
          {"real_values", total},
          {"covered", pipeline::ratio(static_cast<double>(inside), static_cast<double>(total))}};
}

std::string percent(const Json& value) {
  return value.is_null() ? "-" : fmt::format("{:.1f} %", 100 * value.get<double>());
}
std::string signed_percent(const Json& value) {
  return value.is_null() ? "-" : fmt::format("{:+.1f} %", 100 * value.get<double>());
}
std::string milliseconds(const Json& value) { return fmt::format("{:.3f}", value.get<double>()); }

std::string setting_of(const Json& row) {
  std::string text;
  for (const auto& [axis, value] : row.at("axes").items()) {
    if (value.is_null()) continue;
    const std::string shown = value.is_object() ? value.value("name", value.dump()) : value.dump();
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", axis, shown);
  }
  return text.empty() ? "-" : text;
}

std::string points_table(std::span<const Json> rows) {
  const bool drive_then = std::ranges::any_of(rows, [](const Json& row) { return !row.at("drive_then").is_null(); });
  std::vector<std::string> columns = {"point",   "system", "setting",      "in flight", "bound",
                                      "real ms", "spread", "predicted ms", "error",     "verdict"};
  if (drive_then) columns.insert(columns.end(), {"drive as then ms", "error then"});
  columns.insert(columns.end(), {"bytes and decisions", "worst span"});
  TextTable table(columns);
  for (const Json& row : rows) {
    const Json& ttft = row.at("ttft");
    const Json& equal = row.at("equality").at("equal");
    std::vector<std::string> cells = {row.at("point").dump(),
                                      row.at("label").get<std::string>(),
                                      setting_of(row),
                                      row.at("requests_in_flight").dump(),
                                      row.at("bound").get<std::string>(),
                                      milliseconds(ttft.at("real_ms")),
                                      percent(ttft.at("spread")),
                                      milliseconds(ttft.at("predicted_ms")),
                                      signed_percent(ttft.at("error")),
                                      ttft.at("verdict").get<std::string>()};
    if (drive_then && row.at("drive_then").is_null()) cells.insert(cells.end(), {"-", "-"});
    if (drive_then && !row.at("drive_then").is_null()) {
      const Json& then = row.at("drive_then").at("ttft");
      cells.insert(cells.end(), {milliseconds(then.at("predicted_ms")), signed_percent(then.at("error"))});
    }
    cells.push_back(equal.is_null() ? "not compared" : equal.get<bool>() ? "equal" : "DIFFERENT");
    cells.push_back(row.at("worst_span").get<std::string>());
    table.add_row(cells);
  }
  return table.to_markdown();
}

/// What reads took beside the runs, and when the profile's drive was calibrated.
std::string drive_section(const Json& drive) {
  std::string text = fmt::format("\n## The drive beside the runs\n{}\n", drive.at("in_words").get<std::string>());
  if (!drive.contains("cells")) return text;
  TextTable table({"reads", "in flight", "calibrated us", "then us", "change", "round by round us"});
  for (const Json& cell : drive.at("cells")) {
    std::string rounds;
    for (const Json& ns : cell.at("rounds_ns")) {
      rounds += fmt::format("{}{:.1f}", rounds.empty() ? "" : ", ", ns.get<double>() / 1e3);
    }
    table.add_row({fmt::format("{} KiB", cell.at("bytes").get<std::uint64_t>() >> 10), cell.at("depth").dump(),
                   fmt::format("{:.1f}", cell.at("calibrated_ns").get<double>() / 1e3),
                   fmt::format("{:.1f}", cell.at("then_ns").get<double>() / 1e3),
                   signed_percent(cell.at("ratio").get<double>() - 1), rounds});
  }
  return text + "\n" + table.to_markdown() +
         "\nTime from one random read of the store's files to the next. Verdicts are of the profile as it is; \"drive "
         "as "
         "then\" is the same\nprofile with its drive's reads rescaled by this table alone.\n";
}

std::string errors_table(const Json& summary) {
  TextTable table({"cells", "number", "median error", "p95 error", "within", "outside", "undecidable"});
  for (const auto& [name, group] : summary.at("errors").items()) {
    table.add_row({name, group.at("cells").dump(), percent(group.at("median_error")), percent(group.at("p95_error")),
                   percent(group.at("within")), percent(group.at("outside")), percent(group.at("undecidable"))});
  }
  return table.to_markdown();
}

std::string parts_table(std::span<const Json> rows, const char* key) {
  TextTable table({"point", "system", "part", "real ms", "spread", "predicted ms", "error", "verdict"});
  for (const Json& row : rows) {
    for (const Json& cell : row.at(key)) {
      if (cell.at("real_ms").get<double>() == 0 && cell.at("predicted_ms").get<double>() == 0) continue;
      table.add_row({row.at("point").dump(), row.at("label").get<std::string>(), cell.at("name").get<std::string>(),
                     milliseconds(cell.at("real_ms")), percent(cell.at("spread")),
                     milliseconds(cell.at("predicted_ms")), signed_percent(cell.at("error")),
                     cell.at("verdict").get<std::string>()});
    }
  }
  return table.to_markdown();
}

std::string distribution_table(std::span<const Json> rows) {
  TextTable table({"point", "system", "quantile", "real ms", "spread", "predicted ms", "error", "distance"});
  bool any = false;
  for (const Json& row : rows) {
    for (const Json& cell : row.at("distribution")) {
      any = true;
      table.add_row({row.at("point").dump(), row.at("label").get<std::string>(), cell.at("name").get<std::string>(),
                     milliseconds(cell.at("real_ms")), percent(cell.at("spread")),
                     milliseconds(cell.at("predicted_ms")), signed_percent(cell.at("error")),
                     fmt::format("{:.2f}", row.at("distribution_distance").get<double>())});
    }
  }
  return any ? "\n## Requests in flight: distributions\n" + table.to_markdown() : "";
}

}  // namespace

Json summarise_comparison(std::span<const sim::Point> points, std::span<const PointComparison> comparisons) {
  std::vector<Cell> requests, compute, io, means, classes, spans;
  std::vector<Cell> then_means, then_requests, then_io;
  std::vector<std::pair<std::string, std::vector<Cell>>> alternatives;
  for (const PointComparison& comparison : comparisons) {
    means.push_back(comparison.ttft);
    append(requests, comparison.requests);
    append(comparison.is_io_bound ? io : compute, comparison.requests);
    append(classes, comparison.classes);
    append(spans, comparison.spans);
    if (comparison.drive_then) {
      then_means.push_back(comparison.drive_then->mean);
      append(then_requests, comparison.drive_then->requests);
      if (comparison.is_io_bound) append(then_io, comparison.drive_then->requests);
    }
    alternatives.resize(comparison.alternatives.size());
    for (std::size_t i = 0; i < comparison.alternatives.size(); ++i) {
      alternatives[i].first = comparison.alternatives[i].name;
      append(alternatives[i].second, comparison.alternatives[i].requests);
    }
  }
  Json summary = {{"schema_version", kCompareSchemaVersion}, {"kind", "compare"}};
  summary["errors"] = {
      {"ttft of requests", summarise(requests)},      {"ttft of requests, compute-bound", summarise(compute)},
      {"ttft of requests, I/O-bound", summarise(io)}, {"mean ttft of points", summarise(means)},
      {"time classes", summarise(classes)},           {"kinds of spans", summarise(spans)}};
  if (!then_means.empty()) {
    summary["errors"]["mean ttft of points, drive as then"] = summarise(then_means);
    summary["errors"]["ttft of requests, drive as then"] = summarise(then_requests);
    summary["errors"]["ttft of requests, I/O-bound, drive as then"] = summarise(then_io);
  }
  for (const auto& [name, cells] : alternatives) summary["errors"][name] = summarise(cells);
  summary["equality"] = summarise_equality(comparisons);
  const KendallTau tau = kendall_tau(means);
  summary["ranking"] = {{"kendall_tau", tau.tau ? Json(*tau.tau) : Json(nullptr)},
                        {"pairs", tau.num_pairs},
                        {"pairs_within_spread", tau.num_undecided}};
  summary["range_90"] = summarise_ranges(points, comparisons);
  summary["worst_span"] = worst_span_of(points, comparisons);
  return summary;
}

std::string compare_markdown(std::span<const Json> rows, const Json& summary) {
  std::string text = "# Predicted and measured\n\n";
  text += points_table(rows);
  text += "\nReal: median of the repeats; spread: (p90 - p10) / (2 median). Verdicts: docs/fidelity.md.\n";
  text += "\n## Errors\n" + errors_table(summary);
  text +=
      "\nThe last five predict the TTFT of requests in another way: two formulas, and this model without a part.\n\n";
  const Json& equality = summary.at("equality");
  text += fmt::format("- Bytes, reads and cache decisions: equal on {} of {} points with one request in flight.\n",
                      equality.at("equal_points").dump(), equality.at("checked_points").dump());
  const Json& ranking = summary.at("ranking");
  text += fmt::format(
      "- Ranking of points: Kendall tau {} over {} pairs that differ by more than their spread ({} do not).\n",
      ranking.at("kendall_tau").is_null() ? "-" : fmt::format("{:.2f}", ranking.at("kendall_tau").get<double>()),
      ranking.at("pairs").dump(), ranking.at("pairs_within_spread").dump());
  const Json& range = summary.at("range_90");
  text += fmt::format("- The 90 % range covers {} of {} real values.{}\n", percent(range.at("covered")),
                      range.at("real_values").dump(),
                      range.at("common_mode").get<bool>() || range.at("real_values") == 0
                          ? ""
                          : " It is of single operations: the profile has no common_mode, the term of what all "
                            "operations share.");
  if (const Json& worst = summary.at("worst_span"); !worst.is_null()) {
    text += fmt::format("- Worst span: {} on point {} ({}): {} ms real, {} ms predicted, {} of the TTFT.\n",
                        worst.at("span").get<std::string>(), worst.at("point").dump(),
                        worst.at("label").get<std::string>(), milliseconds(worst.at("real_ms")),
                        milliseconds(worst.at("predicted_ms")), signed_percent(worst.at("difference_share_of_ttft")));
  }
  for (const Json& row : rows) {
    const std::string difference = row.at("equality").at("first_difference").get<std::string>();
    if (!difference.empty()) text += fmt::format("- Point {} differs: {}\n", row.at("point").dump(), difference);
  }
  text += distribution_table(rows);
  text += drive_section(summary.at("drive"));
  text += "\n## Time classes, mean per request\n" + parts_table(rows, "classes");
  text += "\n## Spans, summed service per request\n" + parts_table(rows, "spans");
  return text;
}

}  // namespace reprefill::study
