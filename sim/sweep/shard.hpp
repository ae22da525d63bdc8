// A part of a sweep for one job of a batch system, and how the parts become the result of one process again.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/json.hpp"
#include "sim/scenario/scenario.hpp"

namespace reprefill::sim {

struct Shard {
  std::size_t index = 0;  // 0 .. count - 1
  std::size_t count = 1;

  bool operator==(const Shard&) const = default;
};

/// "3/16". Throws ConfigError.
Shard parse_shard(const std::string& text);

/// The points of a shard, ascending: every point is in exactly one, and shards cost about the same. Points that share a
/// warm-up which must be simulated stay together where there are enough such groups.
std::vector<std::size_t> points_of_shard(const Scenario& scenario, const Shard& shard);

/// DIR/shard-03-of-16: each shard has a folder of its own, with its own lock and journal.
std::filesystem::path shard_folder(const std::filesystem::path& out, const Shard& shard);

/// What a shard's resolved.json says besides the inputs of the whole sweep: which part it is, and what merging needs.
Json shard_description(const Scenario& scenario, const Shard& shard);

struct MergedSweep {
  Json resolved;           // as one process would have written it
  std::vector<Json> rows;  // in point order
  std::vector<std::string> axis_names;
  Json summary;
};

/// Reads all shards under `out`. Throws ConfigError: none there, of different sweeps, missing or unfinished ones (each
/// is named with what it lacks), one that is still running.
MergedSweep read_shards(const std::filesystem::path& out);

}  // namespace reprefill::sim
