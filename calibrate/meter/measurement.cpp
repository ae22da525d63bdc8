#include "calibrate/meter/measurement.hpp"

#include <algorithm>
#include <cmath>

#include "calibrate/meter/statistics.hpp"
#include "core/base/random.hpp"

namespace reprefill::calibrate {
namespace {

void add(Measured& cell, const SampleStore::Turn& turn) {
  for (const Sample& sample : turn.samples) {
    for (std::size_t metric = 0; metric < cell.values.size(); ++metric) {
      cell.values[metric].push_back(sample.values[metric]);
    }
    if (!sample.extra.is_null()) cell.extras.push_back(sample.extra);
  }
  cell.spent_s += turn.spent_s;
}

void check_sample(const CellSpec& spec, const Sample& sample) {
  REPREFILL_CHECK(sample.values.size() == spec.metrics.size(), "{}: a sample of {} values for {} metrics", spec.id,
                  sample.values.size(), spec.metrics.size());
  for (const double value : sample.values) {
    REPREFILL_CHECK(std::isfinite(value) && value >= 0, "{}: measured {}", spec.id, value);
  }
}

double largest_uncertainty(const Measured& cell) {
  double largest = 0;
  for (const auto& values : cell.values) largest = std::max(largest, median_uncertainty(values));
  return largest;
}

/// An estimate for the time left only: uncertainty falls with the square root of the number of samples.
double share_done(const Measured& cell, const StoppingRule& rule) {
  const auto count = static_cast<double>(cell.values[0].size());
  double share = std::min(1.0, count / rule.min_samples);
  const double uncertainty = largest_uncertainty(cell);
  if (std::isfinite(uncertainty) && uncertainty > rule.target) {
    share = std::min(share, std::pow(rule.target / uncertainty, 2));
  }
  share = std::max({share, cell.spent_s / rule.cap_s * (count >= rule.min_samples ? 1 : 0), count / rule.max_samples});
  return std::min(share, 0.99);
}

SampleStore::Turn take_turn(Cell& cell, const Measured& so_far, const StoppingRule& rule, Clock& clock) {
  SampleStore::Turn turn;
  const Nanoseconds start = clock.now();
  cell.prepare();
  // Another cell has run meanwhile: one sample brings caches and clocks back. At the first turn, as many as the rule
  // says. Long samples warm up by themselves.
  const bool first = so_far.values[0].empty();
  constexpr double kLong_s = 0.1;
  const int warm_up = cell.spec().expected_s > kLong_s ? std::min(1, first ? rule.warm_up : 0)
                                                       : (first ? rule.warm_up : std::min(1, rule.warm_up));
  for (int i = 0; i < warm_up; ++i) cell.sample();
  const int missing = rule.max_samples - static_cast<int>(so_far.values[0].size());
  for (int i = 0; i < std::min(rule.samples_per_turn, missing); ++i) {
    turn.samples.push_back(cell.sample());
    check_sample(cell.spec(), turn.samples.back());
  }
  cell.finish();
  turn.spent_s = to_seconds(clock.now() - start);
  return turn;
}

class Rounds {
 public:
  Rounds(std::span<const std::unique_ptr<Cell>> cells, const MeasureOptions& options, Clock& clock, SampleStore& store)
      : cells_(cells), options_(options), clock_(clock), store_(store) {
    for (const auto& cell : cells) {
      Measured measured{.spec = cell->spec()};
      measured.values.resize(measured.spec.metrics.size());
      for (const SampleStore::Turn& turn : store.turns_of(measured.spec.id)) add(measured, turn);
      measured_.push_back(std::move(measured));
    }
  }

  std::vector<Measured> run() {
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < cells_.size(); ++i) {
      if (!report(i)) open.push_back(i);
    }
    for (std::uint64_t round = 0; !open.empty(); ++round) {
      RandomStream random(options_.seed, round, "calibrate/order");
      for (std::size_t i = open.size(); i > 1; --i) std::swap(open[i - 1], open[random.below(i)]);
      std::erase_if(open, [&](std::size_t index) { return visit(index); });
    }
    for (Measured& cell : measured_) cell.converged = largest_uncertainty(cell) <= options_.rule.target;
    return std::move(measured_);
  }

 private:
  /// Whether the cell is done.
  bool visit(std::size_t index) {
    do {
      if (options_.interrupted != nullptr && options_.interrupted->load()) throw Interrupted();
      const SampleStore::Turn turn = take_turn(*cells_[index], measured_[index], options_.rule, clock_);
      store_.append(measured_[index].spec.id, turn);
      add(measured_[index], turn);
    } while (!report(index) && !measured_[index].spec.interleaved);
    return is_done(measured_[index], options_.rule);
  }

  bool report(std::size_t index) {
    const bool done = is_done(measured_[index], options_.rule);
    if (options_.on_progress) options_.on_progress(index, done ? 1 : share_done(measured_[index], options_.rule));
    return done;
  }

  std::span<const std::unique_ptr<Cell>> cells_;
  const MeasureOptions& options_;
  Clock& clock_;
  SampleStore& store_;
  std::vector<Measured> measured_;
};

}  // namespace

bool is_done(const Measured& cell, const StoppingRule& rule) {
  const auto count = static_cast<int>(cell.values[0].size());
  if (count < rule.min_samples) return count >= rule.fewest && cell.spent_s >= rule.cap_s;
  return count >= rule.max_samples || cell.spent_s >= rule.cap_s || largest_uncertainty(cell) <= rule.target;
}

std::vector<Measured> measure(std::span<const std::unique_ptr<Cell>> cells, const MeasureOptions& options, Clock& clock,
                              SampleStore& store) {
  REPREFILL_CHECK(options.rule.min_samples >= 1 && options.rule.max_samples >= options.rule.min_samples &&
                      options.rule.samples_per_turn >= 1,
                  "a rule that takes no samples");
  return Rounds(cells, options, clock, store).run();
}

Json summary_json(const Measured& cell) {
  Json json = Json::object();
  for (std::size_t metric = 0; metric < cell.values.size(); ++metric) {
    const Summary summary = summarise(cell.values[metric]);
    json[cell.spec.metrics[metric]] = {{"median", summary.median},
                                       {"p10", summary.p10},
                                       {"p90", summary.p90},
                                       {"minimum", summary.minimum},
                                       {"maximum", summary.maximum},
                                       {"spread", summary.spread},
                                       {"samples", summary.num_samples},
                                       {"outliers", summary.num_outliers}};
  }
  json["converged"] = cell.converged;
  return json;
}

}  // namespace reprefill::calibrate
