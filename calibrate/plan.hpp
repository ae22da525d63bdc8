// What a calibration will measure, before it does: parts, cells, time.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/cpu/operation_cells.hpp"
#include "calibrate/storage/cells.hpp"
#include "calibrate/storage/guard.hpp"

namespace reprefill::calibrate {

enum class Effort : std::uint8_t { quick, full };

struct CalibrateOptions {
  std::string device = "cpu";
  std::optional<std::filesystem::path> storage;  // absent: no storage part
  std::optional<Bytes> span;
  std::optional<std::filesystem::path> fio;  // its result stands in for our reads
  std::vector<std::string> models;
  std::filesystem::path models_folder;  // scenarios/models
  Effort effort = Effort::quick;
  std::optional<double> cell_seconds;  // the most that one cell gets; the effort's own otherwise
  bool unregistered_buffers = false;
  int threads = 0;
  int gpu_index = 0;
  bool on_gpu() const { return device == "cuda"; }
};

/// A model to measure: any config.json (random weights), or a checkpoint's folder (its weights, its tokenizer).
struct ModelSource {
  ModelGeometry geometry;
  std::filesystem::path config;
  std::filesystem::path checkpoint;  // empty: random weights
  std::filesystem::path tokenizer;   // empty: none
  int num_layers = 1;                // of random weights
  bool weights_cached = true;        // the whole model's widened weights fit the executor's cache
};

struct PlannedPart {
  std::string name;
  std::size_t num_cells = 0;
  double expected_s = 0;
};

struct Plan {
  CalibrateOptions options;
  StoppingRule rule;
  int sustained_s = 5;
  StorageGrid storage_grid;
  OperationGrid operation_grid;
  std::optional<StorageSite> site;
  std::vector<ModelSource> models;
  std::vector<PlannedPart> parts;
  double expected_s() const;
  /// What --resume compares: everything that decides what a sample means.
  Json to_json() const;
};

/// Of the reads at a calibration's end: a turn or two each, since only their drift is asked for.
StoppingRule read_again_rule(StoppingRule rule);

/// Throws ConfigError for a device that this build has not, a storage site that is refused, models that cannot be read
/// or that the engine does not run, and where nothing is left to measure.
Plan make_plan(const CalibrateOptions& options);

/// A guess of what one cell takes under the rule.
double expected_cell_s(const CellSpec& spec, const StoppingRule& rule);

}  // namespace reprefill::calibrate
