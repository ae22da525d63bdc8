// What `reprefill trace importance` prints: the statistics of an importance source that the literature reports, so that
// a preset or a recorded trace can be held against them (semantics 8).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/json.hpp"
#include "traces/importance/importance_presets.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::traces {

/// One request whose importance is looked at.
struct ImportanceSample {
  std::uint64_t request = 0;
  std::uint64_t task = 0;
  std::vector<SegmentSpan> prefix;
};

/// `count` requests, two on each prefix, so that what requests on one prefix share shows too.
std::vector<ImportanceSample> make_importance_samples(std::uint32_t prefix_tokens, int count);

struct ImportanceStatisticsOptions {
  std::vector<Budget> budgets = {Budget(1, 20), Budget(1, 10), Budget(1, 4), Budget(1, 2)};
  int num_layers = 28;
  int layers_per_period = 8;
  int chunk_tokens = 16;
  int block_tokens = 64;
  bool with_tokens = true;           // also what KV heads and probed heads choose token by token: most of the work
  double similarity_exponent = 0.6;  // A7: threshold E^0.6, E = r / (2 - r)
};

/// Means over requests and layers, for one budget. Every name is a statistic that a preset may have a target for;
/// absent where the source lacks the channel, or there is nothing to average over.
struct ImportanceStatistics {
  struct Value {
    std::string name;
    std::string meaning;
    std::optional<double> mean;
  };
  Budget budget;
  std::vector<Value> values;

  std::optional<double> mean(std::string_view name) const;
};

std::vector<ImportanceStatistics> compute_importance_statistics(const ImportanceSource& source,
                                                                std::span<const ImportanceSample> samples,
                                                                const ImportanceStatisticsOptions& options);

/// Whether `statistics` meets a target; nullopt where the budget or the statistic was not computed.
std::optional<bool> meets_target(std::span<const ImportanceStatistics> statistics, const ImportanceTarget& target);

/// One object per budget and statistic; `targets` (may be empty) are set beside what was achieved.
Json to_json(std::span<const ImportanceStatistics> statistics, std::span<const ImportanceTarget> targets);
/// The same as a table.
std::string to_text(std::span<const ImportanceStatistics> statistics, std::span<const ImportanceTarget> targets);

}  // namespace reprefill::traces
