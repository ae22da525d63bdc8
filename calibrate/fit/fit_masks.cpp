#include "calibrate/fit/fit_masks.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "calibrate/fit/isotonic.hpp"
#include "calibrate/meter/statistics.hpp"

namespace reprefill::calibrate {
namespace {

struct MaskedCell {
  double queries = 0, keys = 0, share = 0;
  double masked = 0, plain = 0;  // medians
  const Measured* cell = nullptr;
};

std::vector<MaskedCell> cells_under(const std::string& model, const std::string& mask,
                                    const std::vector<Measured>& cells) {
  std::vector<MaskedCell> found;
  for (const Measured& cell : cells) {
    if (cell.spec.quantity != "attend_masked") continue;
    const Json& shape = cell.spec.shape;
    if (shape.at("model") != model || shape.at("mask") != mask) continue;
    found.push_back({shape.at("queries").get<double>(), shape.at("keys").get<double>(),
                     shape.at("kept_share").get<double>(), median(cell.of(0)), median(cell.of(1)), &cell});
  }
  return found;
}

bool is_fitted(const MaskedCell& cell) { return cell.share == kMaskShare; }

/// Of the grid's cells without those of one line, if any. Absent where nothing is left, or no grid.
std::optional<sim::DurationTable> table_without(const std::vector<MaskedCell>& cells,
                                                std::optional<double> left_out_queries,
                                                std::optional<double> left_out_keys) {
  std::map<std::pair<double, double>, double> costs;
  std::set<double> queries, keys = {0};
  for (const MaskedCell& cell : cells) {
    if (!is_fitted(cell) || cell.queries == left_out_queries || cell.keys == left_out_keys) continue;
    costs[{cell.queries, cell.keys}] = std::max(0.0, cell.masked - cell.plain);
    queries.insert(cell.queries);
    keys.insert(cell.keys);
  }
  if (costs.empty() || costs.size() != queries.size() * (keys.size() - 1)) return std::nullopt;
  std::vector<double> ns;
  for (const double q : queries) {
    for (const double k : keys) ns.push_back(k == 0 ? 0 : costs.at({q, k}));
  }
  return sim::DurationTable({queries.begin(), queries.end()}, {keys.begin(), keys.end()},
                            isotonic_grid(ns, queries.size(), keys.size()));
}

/// By tables that were not shown the cell's row, or its column: of both, the worse. Absent at an edge.
std::optional<double> held_out(const std::vector<MaskedCell>& cells, const MaskedCell& cell) {
  std::optional<double> worst;
  const auto judge = [&](const std::optional<sim::DurationTable>& table) {
    if (!table || !table->at(cell.queries, cell.keys).inside) return;
    const double predicted = cell.plain + table->at(cell.queries, cell.keys).ns;
    if (!worst || std::abs(predicted - cell.masked) > std::abs(*worst - cell.masked)) worst = predicted;
  };
  judge(table_without(cells, cell.queries, std::nullopt));
  judge(table_without(cells, std::nullopt, cell.keys));
  return worst;
}

FitReport report_of(const std::string& name, const std::vector<MaskedCell>& cells, const sim::DurationTable& table) {
  FitReport report{
      .name = name,
      .rule = fmt::format("an attention without a mask, and isotonic in queries and keys what the mask adds "
                          "at {} % kept; held out: each inner row and column, and other shares",
                          100 * kMaskShare),
      .points = {}};
  for (const MaskedCell& cell : cells) {
    FitPoint point{.shape = {{"queries", cell.queries}, {"keys", cell.keys}, {"kept_share", cell.share}},
                   .measured = cell.masked,
                   .spread = relative_spread(cell.cell->of(0)),
                   .converged = cell.cell->converged,
                   .fitted = cell.plain + table.at(cell.queries, cell.keys).ns};
    point.held_out = is_fitted(cell) ? held_out(cells, cell) : point.fitted;
    report.points.push_back(std::move(point));
  }
  return report;
}

}  // namespace

MaskFit fit_masks(const ModelGeometry& geometry, const std::vector<Measured>& cells) {
  MaskFit fit{.keys = std::nullopt, .values = std::nullopt, .reports = {}};
  for (const auto& [mask, table] : {std::pair{"keys", &fit.keys}, std::pair{"values", &fit.values}}) {
    const std::vector<MaskedCell> measured = cells_under(geometry.name, mask, cells);
    *table = table_without(measured, std::nullopt, std::nullopt);
    if (*table) {
      fit.reports.push_back(report_of(fmt::format("attend_mask_{}/{}", mask, geometry.name), measured, **table));
    }
  }
  return fit;
}

std::optional<FitReport> judge_pages(const ModelGeometry& geometry, const std::vector<Measured>& cells,
                                     const sim::DurationTable& attend) {
  FitReport report{.name = "attend_pages/" + geometry.name,
                   .rule = "attend's table, which was measured on other pages; held out: all",
                   .points = {}};
  for (const Measured& cell : cells) {
    const Json& shape = cell.spec.shape;
    if (cell.spec.quantity != "attend_pages" || shape.at("model") != geometry.name) continue;
    const double predicted = attend.at(shape.at("queries").get<double>(), shape.at("keys").get<double>()).ns;
    report.points.push_back({.shape = {{"queries", shape.at("queries")},
                                       {"keys", shape.at("keys")},
                                       {"page_tokens", shape.at("page_tokens")}},
                             .measured = median(cell.of()),
                             .spread = relative_spread(cell.of()),
                             .converged = cell.converged,
                             .fitted = predicted,
                             .held_out = predicted});
  }
  return report.points.empty() ? std::nullopt : std::optional(std::move(report));
}

}  // namespace reprefill::calibrate
