#include "engine/executor/cpu/score.hpp"

#include <algorithm>
#include <limits>

#include "core/base/error.hpp"
#include "core/base/units.hpp"

namespace reprefill::engine {
namespace {

constexpr RowState kNothingSeen = {-std::numeric_limits<float>::infinity(), 0};

struct Scratch {
  QueryBlock block;
  std::vector<float> keys;
  std::vector<float> columns;
};

/// The two passes share queries, keys and, per (group, query, head), the rows' denominators.
class ColumnScores {
 public:
  ColumnScores(WorkerPool& pool, const Kernels& kernels, const KeyTiles& keys, const Queries& queries,
               std::span<const HeadGroup> groups, float scale)
      : pool_(pool),
        kernels_(kernels),
        keys_(keys),
        queries_(queries),
        groups_(groups),
        scale_(scale),
        states_(groups.size()),
        scratch_(static_cast<std::size_t>(pool.num_threads())) {
    for (std::size_t i = 0; i < groups.size(); ++i) {
      states_[i].assign(static_cast<std::size_t>(groups[i].num_heads) * queries.count, kNothingSeen);
    }
  }

  void find_denominators() {
    std::vector<std::size_t> first_task = {0};
    for (const HeadGroup& group : groups_) first_task.push_back(first_task.back() + num_blocks(group));
    pool_.run(first_task.back(), [&](std::size_t task, int thread_idx) {
      const auto group_idx =
          static_cast<std::size_t>(std::ranges::upper_bound(first_task, task) - first_task.begin()) - 1;
      denominators_of_block(group_idx, static_cast<std::uint32_t>(task - first_task[group_idx]),
                            scratch_[static_cast<std::size_t>(thread_idx)]);
    });
  }

  void sum_columns(std::span<double> out) {
    const std::size_t num_tiles = divide_rounding_up<std::size_t>(keys_.num_stored(), kTileKeys);
    pool_.run(groups_.size() * num_tiles, [&](std::size_t task, int thread_idx) {
      const std::size_t group_idx = task / num_tiles;
      const auto first = static_cast<std::uint32_t>(task % num_tiles) * static_cast<std::uint32_t>(kTileKeys);
      const std::size_t count = std::min<std::size_t>(kTileKeys, keys_.num_stored() - first);
      columns_of_tile(group_idx, first, out.subspan(group_idx * keys_.num_stored() + first, count),
                      scratch_[static_cast<std::size_t>(thread_idx)]);
    });
  }

 private:
  std::uint32_t num_blocks(const HeadGroup& group) const {
    return divide_rounding_up(queries_.count, block_tokens(group));
  }

  const float* load_tile(const HeadGroup& group, std::uint32_t first, Scratch& scratch) const {
    scratch.keys.resize(static_cast<std::size_t>(keys_.shape().head_dim) * kTileKeys);
    keys_.load_keys(kernels_, first, group.stored_head, group.own_head, scratch.keys.data());
    return scratch.keys.data();
  }

  std::span<RowState> states_of(std::size_t group_idx, const QueryBlock& block) {
    const auto first =
        static_cast<std::size_t>(block.first_query()) * static_cast<std::size_t>(groups_[group_idx].num_heads);
    return std::span(states_[group_idx]).subspan(first, static_cast<std::size_t>(block.num_rows()));
  }

  void denominators_of_block(std::size_t group_idx, std::uint32_t block_idx, Scratch& scratch) {
    const HeadGroup& group = groups_[group_idx];
    scratch.block.load(keys_, queries_, group, block_idx, scale_);
    const std::span<RowState> states = states_of(group_idx, scratch.block);
    for (std::uint32_t first = 0; first < scratch.block.visible_keys(); first += kTileKeys) {
      float* logits = scratch.block.logits(kernels_, keys_, group, first, load_tile(group, first, scratch));
      for (std::size_t row = 0; row < states.size(); ++row) {
        kernels_.softmax_tile(logits + row * kTileKeys, states[row]);
      }
    }
  }

  void columns_of_tile(std::size_t group_idx, std::uint32_t first, std::span<double> out, Scratch& scratch) {
    const HeadGroup& group = groups_[group_idx];
    std::ranges::fill(out, 0.0);
    const float* tile = load_tile(group, first, scratch);
    for (std::uint32_t block_idx = 0; block_idx < num_blocks(group); ++block_idx) {
      scratch.block.load(keys_, queries_, group, block_idx, scale_);
      const std::span<const RowState> states = states_of(group_idx, scratch.block);
      const float* logits = scratch.block.logits(kernels_, keys_, group, first, tile);
      scratch.columns.assign(kTileKeys, 0.0f);
      for (std::size_t row = 0; row < states.size(); ++row) {
        kernels_.add_probabilities(logits + row * kTileKeys, states[row].maximum, 1.0f / states[row].sum,
                                   scratch.columns.data());
      }
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += static_cast<double>(scratch.columns[i]);
    }
  }

  WorkerPool& pool_;
  const Kernels& kernels_;
  const KeyTiles& keys_;
  const Queries& queries_;
  std::span<const HeadGroup> groups_;
  float scale_;
  std::vector<std::vector<RowState>> states_;  // per group: [query][head]
  std::vector<Scratch> scratch_;               // per thread
};

}  // namespace

void score_columns(WorkerPool& pool, const Kernels& kernels, const KeyTiles& keys, const Queries& queries,
                   std::span<const HeadGroup> groups, float scale, std::span<double> out) {
  REPREFILL_CHECK(out.size() == groups.size() * keys.num_stored(), "{} columns for {} groups of {} tokens", out.size(),
                  groups.size(), keys.num_stored());
  if (out.empty()) return;
  ColumnScores scores(pool, kernels, keys, queries, groups, scale);
  scores.find_denominators();
  scores.sum_columns(out);
}

}  // namespace reprefill::engine
