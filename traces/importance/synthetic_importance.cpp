#include "traces/importance/synthetic_importance.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/random.hpp"
#include "core/base/units.hpp"
#include "traces/importance/token_weights.hpp"
#include "traces/importance/weight_table.hpp"

namespace reprefill::traces {
namespace {

using detail::WeightTable;

using detail::kChunkTokens;
using detail::TokenWeights;

constexpr std::uint32_t kChunksPerBlock = 4;
constexpr std::uint32_t kBlockTokens = kChunkTokens * kChunksPerBlock;

constexpr std::size_t kSimilarityLevels = 16;
constexpr std::size_t kRecencySteps = 1024;
// Probed heads of one KV head are drawn together, so that they share the KV head's draws.
constexpr std::size_t kMaxProbesPerRun = 8;

/// Where a variate comes from: who owns it, and over which layers it stays the same.
enum Source : std::size_t { task_static, task_period, task_layer, request_static, request_period, request_layer };
constexpr std::size_t kNumSources = 6;
// Tokens and the own parts of probed heads have fewer sources: finer structure costs the most and matters least.
constexpr std::array<Source, 3> kTokenSources = {task_static, task_layer, request_layer};
constexpr std::array<Source, 2> kProbeSources = {task_static, request_layer};

using SourceKeys = std::array<std::uint64_t, kNumSources>;

/// Head groups as they key variates. All-heads scores and the common part of KV heads use a source's key as it is, so
/// that they correlate.
constexpr std::uint64_t kv_head_group(int head) { return 1 + static_cast<std::uint64_t>(head); }
constexpr std::uint64_t probe_group(std::size_t probe) { return (std::uint64_t{1} << 32) + probe; }
constexpr std::uint64_t kTokenLevel = std::uint64_t{1} << 40;

struct SplitWeights {
  WeightTable block;
  WeightTable chunk;
};

/// One block while its factors are being gathered: its mass, and the weights that split it.
struct BlockDraw {
  float mass = 1;
  std::array<float, kChunksPerBlock> chunks = {1, 1, 1, 1};

  void multiply(std::uint64_t bits, const SplitWeights& weights) {
    mass *= weights.block[bits & 0xff];
    for (std::uint32_t c = 0; c < kChunksPerBlock; ++c) chunks[c] *= weights.chunk[(bits >> (8 * (c + 1))) & 0xff];
  }
  float chunk_weights() const { return (chunks[0] + chunks[1]) + (chunks[2] + chunks[3]); }
};

using Four = float __attribute__((vector_size(16)));

/// The tokens of each chunk, so that they sum to its mass. Summed in lanes of four: a fixed order.
void scale_to_masses(std::span<float> tokens, std::span<const float> masses) {
  constexpr std::size_t kLanes = 4, kNumFours = kChunkTokens / kLanes;
  for (std::size_t chunk = 0; chunk < tokens.size() / kChunkTokens; ++chunk) {
    std::array<Four, kNumFours> fours;
    std::memcpy(fours.data(), tokens.data() + chunk * kChunkTokens, sizeof(fours));
    Four lanes{};
    for (const Four& four : fours) lanes += four;
    const float factor = masses[chunk] / ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]));
    for (Four& four : fours) four *= factor;
    std::memcpy(tokens.data() + chunk * kChunkTokens, fours.data(), sizeof(fours));
  }
}

/// One group's output, filled segment by segment.
class UnitSums {
 public:
  UnitSums() = default;
  UnitSums(std::span<float> out, std::uint32_t unit_tokens) : out_(out), unit_tokens_(unit_tokens) {
    std::fill(out.begin(), out.end(), 0.0f);
  }
  void add_chunk(std::size_t first_unit, std::uint32_t chunk_idx, float mass) {
    out_[first_unit + chunk_idx * kChunkTokens / unit_tokens_] += mass;
  }
  void add_tokens(std::size_t first_unit, std::uint32_t first_token, std::span<const float> masses) {
    std::size_t unit = first_unit + first_token / unit_tokens_;
    if (unit_tokens_ == 1) {
      for (std::size_t i = 0; i < masses.size(); ++i) out_[unit + i] += masses[i];
      return;
    }
    std::uint32_t left = unit_tokens_ - first_token % unit_tokens_;
    for (const float mass : masses) {
      out_[unit] += mass;
      if (--left == 0) {
        ++unit;
        left = unit_tokens_;
      }
    }
  }

 private:
  std::span<float> out_;
  std::uint32_t unit_tokens_ = 1;
};

SourceKeys source_keys(std::uint64_t seed, const ImportanceQuery& query, int period_idx) {
  const std::uint64_t task = combine64(combine64(seed, hash_name("task")), query.task);
  const std::uint64_t request = combine64(combine64(seed, hash_name("request")), query.request);
  const auto period = std::uint64_t{1} << 32 | static_cast<std::uint64_t>(period_idx);
  const auto layer = std::uint64_t{2} << 32 | static_cast<std::uint64_t>(query.layer_idx);
  return {combine64(task, 0),    combine64(task, period),    combine64(task, layer),
          combine64(request, 0), combine64(request, period), combine64(request, layer)};
}

/// Share of a level's variance that each source carries.
std::array<double, kNumSources> source_shares(const SyntheticImportanceParams& params) {
  const double layer_share = 1 - params.static_share - params.period_share;
  const std::array<double, 3> scopes = {params.static_share, params.period_share, layer_share};
  std::array<double, kNumSources> shares{};
  for (std::size_t scope = 0; scope < 3; ++scope) {
    shares[scope] = params.task_share * scopes[scope];
    shares[3 + scope] = (1 - params.task_share) * scopes[scope];
  }
  return shares;
}

/// The same over the token sources; what a period shares counts to its layers.
std::array<double, 3> token_shares(const SyntheticImportanceParams& params) {
  const double task = params.task_share;
  return {task * params.static_share, task * (1 - params.static_share), 1 - task};
}

void check(const SyntheticImportanceParams& params) {
  const auto is_share = [](double value) { return value >= 0 && value <= 1; };
  REPREFILL_CHECK(is_share(params.task_share) && is_share(params.static_share) && is_share(params.period_share) &&
                      is_share(params.static_share + params.period_share) && is_share(params.kv_head_common_share),
                  "importance shares must lie in [0, 1]");
  REPREFILL_CHECK(params.layers_per_period > 0 && params.recency_scale > 0 && params.recency_boost >= 0 &&
                      params.sink_mass >= 0 && params.static_hot_factor >= 0,
                  "importance parameters must not be negative");
  for (const MassSpread& spread : {params.all_heads, params.kv_head}) {
    // Beyond sigma 6 products of tables leave the range of float.
    REPREFILL_CHECK(std::max({spread.block_sigma, spread.chunk_sigma, spread.token_sigma}) <= 6 &&
                        std::min({spread.block_sigma, spread.chunk_sigma, spread.token_sigma}) >= 0,
                    "importance sigmas must lie in [0, 6]");
  }
}

}  // namespace

struct SyntheticImportance::Tables {
  struct ProbeOwn {
    std::array<SplitWeights, kProbeSources.size()> split;
    std::array<TokenWeights, kProbeSources.size()> tokens;
  };

  std::array<SplitWeights, kNumSources> all_heads, head_common, head_own;
  bool heads_differ = true;  // in blocks and chunks; else all of their own weights are 1
  std::array<TokenWeights, kTokenSources.size()> all_heads_tokens, head_tokens;
  std::array<ProbeOwn, kSimilarityLevels> probe_own;
  std::array<float, kRecencySteps> recency;  // by distance from the end, as a share of the prefix
  std::array<float, kChunkTokens> sink{};    // mass of the prefix's first tokens
  float sink_mass = 0;

  explicit Tables(const SyntheticImportanceParams& params) {
    const auto levels = detail::normal_levels();
    const auto weights = [&](double sigma, double share, double hot_factor = 1) {
      return detail::make_weights(levels, sigma * std::sqrt(share), hot_factor);
    };
    const auto split = [&](const MassSpread& spread, double share, double hot_factor = 1) {
      return SplitWeights{.block = weights(spread.block_sigma, share, hot_factor),
                          .chunk = weights(spread.chunk_sigma, share)};
    };
    const auto shares = source_shares(params);
    const double common = params.kv_head_common_share;
    heads_differ = common < 1;
    for (std::size_t s = 0; s < kNumSources; ++s) {
      const double hot_factor = s == task_static || s == request_static ? params.static_hot_factor : 1.0;
      all_heads[s] = split(params.all_heads, shares[s], hot_factor);
      head_common[s] = split(params.kv_head, shares[s] * common, hot_factor);
      head_own[s] = split(params.kv_head, shares[s] * (1 - common), hot_factor);
    }
    const auto of_tokens = token_shares(params);
    for (std::size_t s = 0; s < kTokenSources.size(); ++s) {
      all_heads_tokens[s] = TokenWeights(weights(params.all_heads.token_sigma, of_tokens[s]));
      head_tokens[s] = TokenWeights(weights(params.kv_head.token_sigma, of_tokens[s]));
    }
    for (std::size_t level = 0; level < kSimilarityLevels; ++level) {
      const double at = static_cast<double>(level) / static_cast<double>(kSimilarityLevels - 1);
      const double own = params.probe_own_sigma_low + at * (params.probe_own_sigma_high - params.probe_own_sigma_low);
      const std::array<double, 2> probe_shares = {own * own * params.task_share, own * own * (1 - params.task_share)};
      for (std::size_t s = 0; s < kProbeSources.size(); ++s) {
        probe_own[level].split[s] = split(params.kv_head, probe_shares[s]);
        probe_own[level].tokens[s] = TokenWeights(weights(params.kv_head.token_sigma, probe_shares[s]));
      }
    }
    for (std::size_t step = 0; step < kRecencySteps; ++step) {
      const double distance = (static_cast<double>(step) + 0.5) / static_cast<double>(kRecencySteps);
      recency[step] = static_cast<float>(1 + params.recency_boost * std::exp(-distance / params.recency_scale));
    }
    // Each token of the sink has half the mass of the one before; the first takes what is left.
    for (std::size_t t = 0; t < kChunkTokens; ++t) {
      sink[t] = static_cast<float>(params.sink_mass * std::ldexp(1.0, -static_cast<int>(t) - 1));
    }
    sink_mass = static_cast<float>(params.sink_mass);
    sink[0] += static_cast<float>(params.sink_mass * std::ldexp(1.0, -static_cast<int>(kChunkTokens)));
  }
};

/// Draws groups that share their variates: all heads, one KV head, or probed heads of one KV head.
class SyntheticImportance::Draw {
 public:
  struct Run {
    int kv_head = -1;  // -1: all heads in one group
    std::size_t first_group = 0;
    std::size_t num_probes = 0;  // 0: the KV head's own scores
    std::size_t num_groups() const { return std::max<std::size_t>(num_probes, 1); }
  };

  /// Of one question: its groups use it one after the other.
  struct Scratch {
    std::vector<BlockDraw> common;   // of the prefix's blocks
    std::vector<float> masses;       // of a segment's chunks, for each group
    std::vector<float> shared, own;  // of a segment's tokens
  };

  Draw(const SyntheticImportance& source, const ImportanceQuery& query, int unit_tokens, const Run& run,
       Scratch& scratch, std::span<float> out)
      : tables_(*source.tables_),
        scratch_(scratch),
        run_(run),
        unit_tokens_(static_cast<std::uint32_t>(unit_tokens)),
        chunk_level_(unit_tokens % static_cast<int>(kChunkTokens) == 0),
        num_tokens_(total_tokens(query.prefix)),
        keys_(source_keys(source.seed_, query, query.layer_idx / source.layers_per_period_)) {
    const std::size_t num_out = out.size() / run.num_groups();
    for (std::size_t g = 0; g < run.num_groups(); ++g) {
      sums_[g] = UnitSums(out.subspan(g * num_out, num_out), unit_tokens_);
    }
    // Attention mass sums to about 1, whatever the prefix's length and the number of groups.
    scale_ = static_cast<float>(kBlockTokens) / static_cast<float>(std::max<std::uint64_t>(num_tokens_, 1));
    sink_scale_ = 1;
    if (run.kv_head >= 0) {
      scale_ /= static_cast<float>(source.heads_.num_kv_heads);
      sink_scale_ /= static_cast<float>(source.heads_.num_kv_heads);
    }
    const std::uint64_t similarity = combine64(keys_[request_layer], hash_name("similarity"));
    probe_own_ = &tables_.probe_own[similarity % kSimilarityLevels];
  }

  void all(std::span<const SegmentSpan> prefix) {
    for (const SegmentSpan& span : prefix) {
      set_segment(span.segment);
      add_segment(span);
      first_block_ += divide_rounding_up(span.num_tokens, kBlockTokens);
      first_unit_ += divide_rounding_up(span.num_tokens, unit_tokens_);
      first_token_ += span.num_tokens;
    }
  }

 private:
  void set_segment(SegmentId segment) {
    for (std::size_t s = 0; s < kNumSources; ++s) {
      const std::uint64_t key = combine64(keys_[s], segment.value);
      common_keys_[s] = key;
      if (run_.kv_head >= 0) own_keys_[s] = mix64(key + kv_head_group(run_.kv_head));
    }
    for (std::size_t s = 0; s < kTokenSources.size(); ++s) {
      const SourceKeys& keys = run_.kv_head >= 0 ? own_keys_ : common_keys_;
      token_keys_[s] = mix64(keys[kTokenSources[s]] + kTokenLevel);
    }
    for (std::size_t p = 0; p < run_.num_probes; ++p) {
      for (std::size_t s = 0; s < kProbeSources.size(); ++s) {
        probe_keys_[p][s] = mix64(common_keys_[kProbeSources[s]] + probe_group(run_.first_group + p));
        probe_token_keys_[p][s] = mix64(probe_keys_[p][s] + kTokenLevel);
      }
    }
  }

  /// What all KV heads have in common is drawn for the first of them.
  BlockDraw common_draw(std::uint32_t block_idx) {
    const std::size_t place = first_block_ + block_idx;
    if (place < scratch_.common.size()) return scratch_.common[place];
    BlockDraw draw;
    const auto& weights = run_.kv_head < 0 ? tables_.all_heads : tables_.head_common;
    for (std::size_t s = 0; s < kNumSources; ++s) draw.multiply(mix64(common_keys_[s] + block_idx), weights[s]);
    scratch_.common.push_back(draw);
    return draw;
  }

  BlockDraw draw_block(std::uint32_t block_idx) {
    BlockDraw draw = common_draw(block_idx);
    if (run_.kv_head < 0 || !tables_.heads_differ) return draw;
    for (std::size_t s = 0; s < kNumSources; ++s) draw.multiply(mix64(own_keys_[s] + block_idx), tables_.head_own[s]);
    return draw;
  }

  std::span<float> masses_of(std::size_t group, std::uint32_t num_chunks) {
    return std::span(scratch_.masses).subspan(group * num_chunks, num_chunks);
  }

  /// Of the segment's chunks, whole blocks of them, for each group.
  void draw_masses(std::uint32_t num_blocks) {
    const std::uint32_t num_chunks = num_blocks * kChunksPerBlock;
    scratch_.masses.resize(run_.num_groups() * num_chunks);
    for (std::uint32_t block = 0; block < num_blocks; ++block) {
      const BlockDraw shared = draw_block(block);
      const std::uint64_t distance_tokens = num_tokens_ - (first_token_ + block * kBlockTokens) - 1;
      const float place = scale_ * tables_.recency[distance_tokens * kRecencySteps / num_tokens_];
      for (std::size_t g = 0; g < run_.num_groups(); ++g) {
        BlockDraw draw = shared;
        for (std::size_t s = 0; run_.num_probes > 0 && s < kProbeSources.size(); ++s) {
          draw.multiply(mix64(probe_keys_[g][s] + block), probe_own_->split[s]);
        }
        const float factor = place * draw.mass / draw.chunk_weights();
        float* mass = masses_of(g, num_chunks).data() + block * kChunksPerBlock;
        for (std::uint32_t c = 0; c < kChunksPerBlock; ++c) mass[c] = factor * draw.chunks[c];
      }
    }
  }

  void add_segment(const SegmentSpan& span) {
    const std::uint32_t num_blocks = divide_rounding_up(span.num_tokens, kBlockTokens);
    draw_masses(num_blocks);
    const std::uint32_t num_whole = chunk_level_ ? span.num_tokens / kChunkTokens : 0;
    for (std::size_t g = 0; g < run_.num_groups(); ++g) {
      const std::span<const float> masses = masses_of(g, num_blocks * kChunksPerBlock);
      for (std::uint32_t chunk = 0; chunk < num_whole; ++chunk) {
        const bool has_sink = chunk == 0 && first_token_ == 0;
        const float sink = has_sink ? sink_scale_ * tables_.sink_mass : 0.0f;
        sums_[g].add_chunk(first_unit_, chunk, masses[chunk] + sink);
      }
    }
    add_tokens(num_whole, span.num_tokens, num_blocks * kChunksPerBlock);
  }

  /// The tokens of the chunks from `first_chunk` on, drawn one by one. Tokens beyond the segment's last one keep their
  /// share of the chunk: a longer segment does not change the others.
  void add_tokens(std::uint32_t first_chunk, std::uint32_t segment_tokens, std::uint32_t num_masses) {
    const std::uint32_t num_chunks = divide_rounding_up(segment_tokens, kChunkTokens) - first_chunk;
    if (num_chunks == 0) return;
    scratch_.shared.assign(std::size_t{num_chunks} * kChunkTokens, 1.0f);
    const auto& weights = run_.kv_head < 0 ? tables_.all_heads_tokens : tables_.head_tokens;
    for (std::size_t s = 0; s < weights.size(); ++s) {
      multiply_tokens(scratch_.shared, token_keys_[s], first_chunk, weights[s]);
    }
    for (std::size_t g = 0; g < run_.num_groups(); ++g) {
      std::vector<float>& draws = run_.num_probes > 0 ? scratch_.own : scratch_.shared;
      if (run_.num_probes > 0) {
        scratch_.own = scratch_.shared;
        for (std::size_t s = 0; s < kProbeSources.size(); ++s) {
          multiply_tokens(draws, probe_token_keys_[g][s], first_chunk, probe_own_->tokens[s]);
        }
      }
      const std::span<const float> masses = masses_of(g, num_masses).subspan(first_chunk);
      scale_to_masses(draws, masses);
      if (first_chunk == 0 && first_token_ == 0) {
        for (std::size_t t = 0; t < kChunkTokens; ++t) draws[t] += sink_scale_ * tables_.sink[t];
      }
      sums_[g].add_tokens(first_unit_, first_chunk * kChunkTokens,
                          std::span(draws).first(segment_tokens - first_chunk * kChunkTokens));
    }
  }

  const Tables& tables_;
  Scratch& scratch_;
  const Run run_;
  const std::uint32_t unit_tokens_;
  const bool chunk_level_;
  const std::uint64_t num_tokens_;
  const SourceKeys keys_;
  const Tables::ProbeOwn* probe_own_ = nullptr;
  float scale_ = 1;
  float sink_scale_ = 1;
  std::array<UnitSums, kMaxProbesPerRun> sums_;

  SourceKeys common_keys_{}, own_keys_{};
  std::array<std::uint64_t, kTokenSources.size()> token_keys_{};
  std::array<std::array<std::uint64_t, kProbeSources.size()>, kMaxProbesPerRun> probe_keys_{}, probe_token_keys_{};
  std::size_t first_unit_ = 0;
  std::size_t first_block_ = 0;
  std::uint64_t first_token_ = 0;
};

SyntheticImportance::SyntheticImportance(const SyntheticImportanceParams& params, ImportanceHeads heads,
                                         std::uint64_t seed)
    : heads_(std::move(heads)),
      seed_(seed),
      digest_errors_(params.digest_errors),
      layers_per_period_(params.layers_per_period) {
  check(params);
  if (heads_.num_kv_heads < 1)
    throw ConfigError(fmt::format("importance: {} KV heads; at least 1", heads_.num_kv_heads));
  for (const int head : heads_.probe_kv_heads) {
    if (head < 0 || head >= heads_.num_kv_heads) {
      throw ConfigError(fmt::format("importance: a probed head lies in KV head {}; the model has KV heads 0 to {}",
                                    head, heads_.num_kv_heads - 1));
    }
  }
  tables_ = std::make_unique<const Tables>(params);
}

SyntheticImportance::~SyntheticImportance() = default;

int SyntheticImportance::num_groups(HeadGrouping grouping) const {
  switch (grouping) {
    case HeadGrouping::all_heads:
      return 1;
    case HeadGrouping::per_kv_head:
      return heads_.num_kv_heads;
    case HeadGrouping::probe_heads:
      return static_cast<int>(heads_.probe_kv_heads.size());
  }
  REPREFILL_CHECK(false, "head grouping {}", static_cast<int>(grouping));
  return 0;
}

void SyntheticImportance::unit_scores(const ImportanceQuery& query, int unit_tokens, std::span<float> out) const {
  const std::size_t num_out = num_units(query.prefix, unit_tokens);
  const auto groups = static_cast<std::size_t>(num_groups(query.grouping));
  REPREFILL_CHECK(out.size() == groups * num_out, "room for {} scores, {} groups of {} units", out.size(), groups,
                  num_out);
  REPREFILL_CHECK(query.layer_idx >= 0, "layer {}", query.layer_idx);
  const bool is_probe = query.grouping == HeadGrouping::probe_heads;
  Draw::Scratch scratch;
  scratch.common.reserve(num_units(query.prefix, kBlockTokens));
  for (std::size_t first = 0; first < groups;) {
    Draw::Run run{.first_group = first};
    if (query.grouping == HeadGrouping::per_kv_head) run.kv_head = static_cast<int>(first);
    if (is_probe) {
      run.kv_head = heads_.probe_kv_heads[first];
      while (first + run.num_probes < groups && run.num_probes < kMaxProbesPerRun &&
             heads_.probe_kv_heads[first + run.num_probes] == run.kv_head) {
        ++run.num_probes;
      }
    }
    Draw(*this, query, unit_tokens, run, scratch, out.subspan(first * num_out, run.num_groups() * num_out))
        .all(query.prefix);
    first += run.num_groups();
  }
  if (query.digest != KeyDigest::none) blur(query, unit_tokens, out);
}

/// An error of its own for each (request, layer, group, segment, unit). Nearly normal: the sum of four uniform
/// variates.
void SyntheticImportance::blur(const ImportanceQuery& query, int unit_tokens, std::span<float> out) const {
  const double sigma = query.digest == KeyDigest::mean     ? digest_errors_.mean
                       : query.digest == KeyDigest::minmax ? digest_errors_.minmax
                                                           : digest_errors_.int4;
  const std::uint64_t owner = combine64(combine64(seed_, hash_name(enum_name(query.digest))), query.request);
  const std::uint64_t layer = combine64(owner, static_cast<std::uint64_t>(query.layer_idx));
  const auto groups = static_cast<std::size_t>(num_groups(query.grouping));
  float* score = out.data();
  for (std::size_t group = 0; group < groups; ++group) {
    for (const SegmentSpan& span : query.prefix) {
      const std::uint64_t segment = combine64(combine64(layer, group), span.segment.value);
      const std::uint64_t units =
          divide_rounding_up<std::uint64_t>(span.num_tokens, static_cast<std::uint64_t>(unit_tokens));
      for (std::uint64_t unit = 0; unit < units; ++unit) {
        const std::uint64_t bits = mix64(segment + unit);
        double sum = 0;
        for (int part = 0; part < 4; ++part) sum += static_cast<double>((bits >> (16 * part)) & 0xffff) / 0xffff;
        *score++ *= static_cast<float>(std::exp(sigma * std::sqrt(3.0) * (sum - 2)));
      }
    }
  }
}

}  // namespace reprefill::traces
