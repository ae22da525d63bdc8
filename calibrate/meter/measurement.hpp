// Repeats measurements until they are good enough: which cell is next, when a cell is done, what is kept.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/meter/clock.hpp"
#include "core/base/json.hpp"

namespace reprefill::calibrate {

/// One thing to measure at one shape. `quantity` and `shape` are what fits look at: a CUDA device measures the same
/// quantities at the same shapes.
struct CellSpec {
  std::string id;        // unique in a plan, also across devices: "attend/qwen2.5-7b/queries=64/keys=1024"
  std::string quantity;  // "attend"
  Json shape = Json::object();
  std::vector<std::string> metrics = {"ns"};  // what one sample consists of
  double expected_s = 0.01;                   // of one sample, for the plan and the time left
  bool interleaved = true;                    // false: measured in one go, as a sustained phase must be
};

/// What one repetition brought: a value for each metric, and what is worth keeping beside them.
struct Sample {
  std::vector<double> values;
  Json extra = nullptr;
};

class Cell {
 public:
  explicit Cell(CellSpec spec) : spec_(std::move(spec)) {}
  virtual ~Cell() = default;
  const CellSpec& spec() const { return spec_; }
  /// Before samples are taken, each time the cell has its turn; sets up what is not timed.
  virtual void prepare() {}
  virtual Sample sample() = 0;
  /// After its turn: gives back what others may need.
  virtual void finish() {}

 private:
  CellSpec spec_;
};

/// A cell is done when the median of each metric is known to `target`, or at the caps: then it is marked, not waited
/// for (design 9).
struct StoppingRule {
  int warm_up = 1;           // samples that are thrown away at a cell's first turn
  int min_samples = 7;       // before anything else is asked
  int fewest = 3;            // of a cell whose cap is over before it has min_samples: seconds-long ones
  int max_samples = 200;     // never more
  double target = 0.01;      // uncertainty of the median (95 %), relative
  double cap_s = 2;          // spent on one cell, warm-up included
  int samples_per_turn = 3;  // then another cell has its turn: drifts hit all cells alike
};

struct Measured {
  CellSpec spec;
  std::vector<std::vector<double>> values = {};  // [metric][sample], outliers included
  std::vector<Json> extras = {};                 // of samples that had any
  double spent_s = 0;
  bool converged = false;

  std::span<const double> of(std::size_t metric = 0) const { return values[metric]; }
};

/// Samples that an earlier run took, and where new ones go. The default keeps none.
class SampleStore {
 public:
  virtual ~SampleStore() = default;
  struct Turn {
    std::vector<Sample> samples;
    double spent_s = 0;
  };
  virtual std::vector<Turn> turns_of(const std::string& /*cell_id*/) const { return {}; }
  virtual void append(const std::string& /*cell_id*/, const Turn& /*turn*/) {}
};

struct MeasureOptions {
  StoppingRule rule = {};
  std::uint64_t seed = 1;  // of the order in which cells have their turns
  const std::atomic<bool>* interrupted = nullptr;
  /// Share in [0, 1] of cell `index` that is done.
  std::function<void(std::size_t index, double share)> on_progress = nullptr;
};

/// Whether this cell needs no more samples.
bool is_done(const Measured& cell, const StoppingRule& rule);

/// Measures all cells in rounds of shuffled order. What `store` has counts: a resumed run takes only what is missing.
/// Throws Interrupted between turns.
std::vector<Measured> measure(std::span<const std::unique_ptr<Cell>> cells, const MeasureOptions& options, Clock& clock,
                              SampleStore& store);

/// {"median_ns": ..., "p10_ns", ..., "num_outliers", "converged"}, one object a metric.
Json summary_json(const Measured& cell);

}  // namespace reprefill::calibrate
