// Parameters of the importance generator, and the published or measured statistics that each preset is fitted to.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/budget.hpp"

namespace reprefill::traces {

/// Standard deviation of ln(mass), level by level.
struct MassSpread {
  double block_sigma = 1;  // between 64-token blocks
  double chunk_sigma = 1;  // between the 16-token chunks of a block
  double token_sigma = 1;  // between the tokens of a chunk
};

/// Standard deviation of ln(score as a digest tells it / score by keys), of a chunk. About what gives the recall that
/// was measured on models/recall-small at 10 % (docs/studies/identification.md): 0.29, 0.28, 0.92. No larger model's is
/// known.
struct DigestErrors {
  double mean = 2.5;
  double minmax = 2.5;
  double int4 = 0.12;
};

/// All dimensionless. Every fitted value is a property of this generator, not a measurement; what it was fitted to is
/// the preset's list of targets.
struct SyntheticImportanceParams {
  MassSpread all_heads;  // scores summed over the KV heads, drawn as one group
  MassSpread kv_head;    // scores of one KV head; probed heads add a part of their own

  double kv_head_common_share = 0;  // share of a KV head's block and chunk variance that all KV heads have in common
  double probe_own_sigma_low = 0;   // a probed head's own part, as a multiple of its KV head's sigmas; drawn for each
  double probe_own_sigma_high = 0;  //   (request, layer) between these, since only some layers fall back [ref 3.2]

  double task_share = 0;  // of every variance: the hot set that requests on one prefix share; the rest is the request's
  double static_share = 0;       // of every variance: the same in all layers
  double period_share = 0;       // of every variance: the same within a period; the rest is the layer's own
  double static_hot_factor = 1;  // scales what lies above the median of a block's static part: below 1, blocks that are
                                 //   cold in all layers stand out more than blocks that are hot in all layers
  int layers_per_period = 8;

  double recency_boost = 0;  // mass at the end of the prefix is (1 + boost) times that in the middle
  double recency_scale = 1;  // share of the prefix over which the boost falls to 1/e
  double sink_mass = 0;      // mass of the first tokens, where all other mass is 1 on average (without recency)

  DigestErrors digest_errors = {};
};

/// A statistic that a preset should show, with the range that counts as met.
struct ImportanceTarget {
  std::string statistic;  // a name in ImportanceStatistics
  Budget budget;
  double low = 0;
  double high = 0;
  std::string source;
};

struct ImportancePreset {
  std::string name;
  std::string doc;
  SyntheticImportanceParams params;
  std::vector<ImportanceTarget> targets;
};

/// Presets are never mixed: their sources contradict each other (semantics 8).
std::span<const ImportancePreset> importance_presets();

/// Throws ConfigError naming `origin` and the known presets.
const ImportancePreset& importance_preset(std::string_view name, std::string_view origin);

}  // namespace reprefill::traces
