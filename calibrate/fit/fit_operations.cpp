#include "calibrate/fit/fit_operations.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "calibrate/fit/isotonic.hpp"
#include "calibrate/meter/statistics.hpp"
#include "core/model/costs.hpp"

namespace reprefill::calibrate {
namespace {

struct GridCell {
  std::vector<double> samples;
  bool converged = true;
};

/// Samples of one metric, by shape.
class Grid {
 public:
  void add(double queries, double keys, std::span<const double> samples, bool converged) {
    GridCell& cell = cells_[{queries, keys}];
    cell.samples.insert(cell.samples.end(), samples.begin(), samples.end());
    cell.converged &= converged;
    queries_.insert(queries);
    keys_.insert(keys);
  }
  /// Only whole rows are used: a model's limit of positions cuts off a corner.
  void drop_ragged(const std::string& name) {
    while (!is_whole()) {
      // Whichever loses fewer cells: the longest queries or the most keys.
      const auto missing = [this](bool rows) {
        const double last = rows ? *queries_.rbegin() : *keys_.rbegin();
        return std::ranges::count_if(
            cells_, [&](const auto& cell) { return (rows ? cell.first.first : cell.first.second) == last; });
      };
      const bool drop_row = missing(true) <= missing(false);
      auto& axis = drop_row ? queries_ : keys_;
      const double last = *axis.rbegin();
      axis.erase(last);
      std::erase_if(cells_,
                    [&](const auto& cell) { return (drop_row ? cell.first.first : cell.first.second) == last; });
      if (axis.empty()) throw ConfigError(fmt::format("{}: measured shapes are no grid", name));
    }
  }
  bool empty() const { return cells_.empty(); }
  std::vector<double> queries() const { return {queries_.begin(), queries_.end()}; }
  std::vector<double> keys() const { return {keys_.begin(), keys_.end()}; }
  const GridCell& at(double queries, double keys) const { return cells_.at({queries, keys}); }

 private:
  bool is_whole() const { return cells_.size() == queries_.size() * keys_.size(); }
  std::map<std::pair<double, double>, GridCell> cells_;
  std::set<double> queries_, keys_;
};

std::vector<double> without(std::vector<double> values, std::size_t index) {
  values.erase(values.begin() + static_cast<std::ptrdiff_t>(index));
  return values;
}

sim::DurationTable fit_table(const std::vector<double>& queries, const std::vector<double>& keys,
                             const std::vector<double>& medians) {
  return {queries, keys, isotonic_durations(medians, queries.size(), keys.size())};
}

/// Medians of the grid without one row or column.
std::vector<double> medians_of(const Grid& grid, const std::vector<double>& queries, const std::vector<double>& keys) {
  std::vector<double> medians;
  for (const double q : queries) {
    for (const double k : keys) medians.push_back(median(grid.at(q, k).samples));
  }
  return medians;
}

/// The prediction of each point by tables that were not shown its row, or its column: of both, the worse. Points at an
/// edge that neither encloses have none.
std::map<std::pair<std::size_t, std::size_t>, double> held_out(const Grid& grid) {
  const std::vector<double> queries = grid.queries(), keys = grid.keys();
  std::map<std::pair<std::size_t, std::size_t>, double> predictions;
  const auto keep_worse = [&](std::size_t i, std::size_t j, double predicted) {
    const double truth = median(grid.at(queries[i], keys[j]).samples);
    const auto [place, is_new] = predictions.try_emplace({i, j}, predicted);
    if (!is_new && std::abs(predicted - truth) > std::abs(place->second - truth)) place->second = predicted;
  };
  for (std::size_t i = 1; i + 1 < queries.size(); ++i) {
    const std::vector<double> rest = without(queries, i);
    const sim::DurationTable table = fit_table(rest, keys, medians_of(grid, rest, keys));
    for (std::size_t j = 0; j < keys.size(); ++j) keep_worse(i, j, table.at(queries[i], keys[j]).ns);
  }
  for (std::size_t j = 1; j + 1 < keys.size(); ++j) {
    const std::vector<double> rest = without(keys, j);
    const sim::DurationTable table = fit_table(queries, rest, medians_of(grid, queries, rest));
    for (std::size_t i = 0; i < queries.size(); ++i) keep_worse(i, j, table.at(queries[i], keys[j]).ns);
  }
  return predictions;
}

sim::DurationTable fit_grid(Grid& grid, const std::string& name, bool over_keys, std::vector<FitReport>& reports) {
  grid.drop_ragged(name);
  const std::vector<double> queries = grid.queries(), keys = grid.keys();
  const sim::DurationTable table = fit_table(queries, keys, medians_of(grid, queries, keys));
  const auto predictions = held_out(grid);
  FitReport report{.name = name,
                   .rule = over_keys ? "isotonic in queries and keys, linear between; held out: each inner row and "
                                       "column of the grid, the worse of both"
                                     : "isotonic in queries, linear between; held out: each inner point",
                   .points = {}};
  for (std::size_t i = 0; i < queries.size(); ++i) {
    for (std::size_t j = 0; j < keys.size(); ++j) {
      const GridCell& cell = grid.at(queries[i], keys[j]);
      FitPoint point{.shape = {{"queries", queries[i]}},
                     .measured = median(cell.samples),
                     .spread = relative_spread(cell.samples),
                     .converged = cell.converged,
                     .fitted = table.value(i, j)};
      if (over_keys) point.shape["keys"] = keys[j];
      if (const auto found = predictions.find({i, j}); found != predictions.end()) point.held_out = found->second;
      report.points.push_back(std::move(point));
    }
  }
  reports.push_back(std::move(report));
  return table;
}

}  // namespace

namespace {

sim::DurationTable scaled(const sim::DurationTable& table, double factor) {
  std::vector<double> ns;
  for (std::size_t i = 0; i < table.queries().size(); ++i) {
    for (std::size_t j = 0; j < table.keys().size(); ++j) ns.push_back(factor * table.value(i, j));
  }
  return {table.queries(), table.keys(), std::move(ns)};
}

/// A stall beyond this many medians counts as so many: one of a second says nothing of the next run.
constexpr double kLongestStall = 8;

double mean_of(std::span<const double> samples) {
  const double middle = median(samples);
  double sum = 0;
  for (const double sample : samples) sum += std::min(sample, kLongestStall * middle);
  return sum / static_cast<double>(samples.size());
}

}  // namespace

double mean_to_median(const std::vector<Measured>& cells, const std::string& model, const std::string& quantity,
                      std::size_t metric) {
  double sum = 0;
  int count = 0;
  for (const Measured& cell : cells) {
    if (cell.spec.quantity != quantity || metric >= cell.values.size() || cell.spec.shape.at("model") != model)
      continue;
    sum += std::log(mean_of(cell.of(metric)) / median(cell.of(metric)));
    ++count;
  }
  return count == 0 ? 1 : std::max(1.0, std::exp(sum / count));
}

OperationFit fit_operations(const ModelGeometry& geometry, const std::vector<Measured>& cells, int num_probe_heads) {
  Grid begin, project, attend, score, score_probe;
  OperationFit fit{.tables = {.shape = geometry, .project = {}, .attend = {}, .score = {}}, .reports = {}};
  for (const Measured& cell : cells) {
    if (!cell.spec.shape.contains("model") || cell.spec.shape.at("model") != geometry.name) continue;
    if (cell.spec.quantity == "first_token") {
      fit.tables.first_token_ns = mean_of(cell.of());
      fit.reports.push_back({.name = "first_token/" + geometry.name,
                             .rule = "mean",
                             .points = {{.shape = Json::object(),
                                         .measured = median(cell.of()),
                                         .spread = relative_spread(cell.of()),
                                         .converged = cell.converged,
                                         .fitted = fit.tables.first_token_ns}}});
    }
    if (cell.spec.quantity == "begin") begin.add(cell.spec.shape.at("queries").get<double>(), 0, cell.of(), true);
    if (cell.spec.quantity != "layer") continue;
    const auto q = cell.spec.shape.at("queries").get<double>(), k = cell.spec.shape.at("keys").get<double>();
    project.add(q, 0, cell.of(0), true);
    attend.add(q, k, cell.of(1), cell.converged);
    if (k == 0) continue;
    score.add(q, k, cell.of(2), cell.converged);
    score_probe.add(q, k, cell.of(3), cell.converged);
  }
  if (score.empty() || fit.tables.first_token_ns == 0) {
    throw ConfigError(fmt::format("{}: no layers with keys, or no first token, were measured", geometry.name));
  }
  fit.tables.project = fit_grid(project, "project/" + geometry.name, false, fit.reports);
  fit.tables.attend = fit_grid(attend, "attend/" + geometry.name, true, fit.reports);
  fit.tables.score = fit_grid(score, "score/" + geometry.name, true, fit.reports);
  fit.tables.score_probe = fit_grid(score_probe, "score_probe/" + geometry.name, true, fit.reports);
  fit.tables.probe_query_heads = num_probe_heads;
  if (!begin.empty()) fit.tables.begin = fit_grid(begin, "begin/" + geometry.name, false, fit.reports);
  // Durations of a request add up, and medians do not: on a machine with other programs their mean is what a request
  // pays. One ratio for all shapes, since each has few samples.
  const auto scale = [&](sim::DurationTable& table, std::size_t metric) {
    table = scaled(table, mean_to_median(cells, geometry.name, "layer", metric));
  };
  scale(fit.tables.project, 0);
  scale(fit.tables.attend, 1);
  scale(fit.tables.score, 2);
  scale(*fit.tables.score_probe, 3);
  return fit;
}

double residual_sigma(const std::vector<Measured>& cells, const std::string& quantity, std::size_t metric) {
  std::vector<double> distances;
  for (const Measured& cell : cells) {
    if (cell.spec.quantity != quantity || metric >= cell.values.size() || cell.of(metric).size() < 2) continue;
    const double middle = median(cell.of(metric));
    for (const double sample : cell.of(metric)) distances.push_back(std::abs(std::log(sample / middle)));
  }
  return distances.empty() ? 0 : std::min(2.0, 1.4826 * median(distances));
}

RooflineFit fit_roofline(const std::vector<ModelGeometry>& models, const std::vector<OperationFit>& fits,
                         const std::vector<Measured>& cells) {
  double gemm = 0, attention = 0, memory = 0;
  for (std::size_t i = 0; i < models.size(); ++i) {
    const OperationCosts costs(models[i]);
    const sim::ModelOperations& tables = fits[i].tables;
    for (const double q : tables.project.queries()) {
      gemm = std::max(gemm, costs.project(static_cast<std::uint64_t>(q)).flops / tables.project.at(q, 0).ns * 1e9);
    }
    for (const double q : tables.score.queries()) {
      for (const double k : tables.score.keys()) {
        const OperationCost cost = costs.score(static_cast<std::uint64_t>(q), static_cast<std::uint64_t>(k),
                                               models[i].num_query_heads, models[i].num_kv_heads);
        attention = std::max(attention, cost.flops / tables.score.at(q, k).ns * 1e9);
      }
    }
    const double bytes = static_cast<double>(costs.first_token().bytes_moved.value);
    memory = std::max(memory, bytes / tables.first_token_ns * 1e9);
  }
  // A small model's head fits a cache or is over before a bandwidth shows: memory is no slower than copies in it.
  for (const Measured& cell : cells) {
    if (cell.spec.quantity != "copy") continue;
    memory = std::max(memory, cell.spec.shape.at("bytes").get<double>() / median(cell.of()) * 1e9);
  }
  const double peak = std::max(gemm, attention);
  return {.peak_flops_per_s = peak,
          .gemm_efficiency = std::max(0.001, gemm / peak),
          .attention_efficiency = std::max(0.001, attention / peak),
          .memory_bandwidth_bytes_per_s = memory,
          .residual_sigma = residual_sigma(cells, "layer", 1)};
}

}  // namespace reprefill::calibrate
