#include "engine/executor/cpu/attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/units.hpp"
#include "engine/executor/cpu/query_block.hpp"

namespace reprefill::engine {
namespace {

constexpr RowState kNothingSeen = {-std::numeric_limits<float>::infinity(), 0};

/// Outputs of a block's rows before division by the denominator.
struct Partial {
  std::vector<RowState> states;
  std::vector<float> outputs;  // [rows][value_columns]

  void clear(int rows, std::size_t columns) {
    states.assign(static_cast<std::size_t>(rows), kNothingSeen);
    outputs.assign(static_cast<std::size_t>(rows) * columns, 0.0f);
  }
};

struct Scratch {
  QueryBlock block;
  std::vector<float> keys, values;
  Partial split, merged;
};

/// One KV head's attention for one block of queries.
class BlockAttention {
 public:
  BlockAttention(const Kernels& kernels, const KeyTiles& keys, const HeadGroup& group, Scratch& scratch)
      : kernels_(kernels), keys_(keys), group_(group), scratch_(scratch), columns_(keys.value_columns()) {
    scratch_.keys.resize(static_cast<std::size_t>(keys.shape().head_dim) * kTileKeys);
    scratch_.values.resize(kTileKeys * columns_);
  }

  void load(const Queries& queries, std::uint32_t block_idx, float scale) {
    scratch_.block.load(keys_, queries, group_, block_idx, scale);
  }
  std::uint32_t num_splits() const { return divide_rounding_up(scratch_.block.visible_keys(), kSplitKeys); }

  void add_split(std::uint32_t split_idx, Partial& out) {
    out.clear(scratch_.block.num_rows(), columns_);
    const std::uint32_t end = std::min((split_idx + 1) * kSplitKeys, scratch_.block.visible_keys());
    for (std::uint32_t first = split_idx * kSplitKeys; first < end; first += kTileKeys) add_tile(first, end, out);
  }

  /// In ascending order of splits. A row that sees none of a split's keys is unchanged.
  void merge(const Partial& split, bool is_first, Partial& into) const {
    if (is_first) {
      into = split;
      return;
    }
    for (std::size_t row = 0; row < split.states.size(); ++row) {
      const RowState part = split.states[row];
      RowState& state = into.states[row];
      if (part.maximum == kNothingSeen.maximum && part.sum == 0) continue;
      const float maximum = std::max(state.maximum, part.maximum);
      const float reference = maximum == kNothingSeen.maximum ? 0.0f : maximum;
      const float kept = std::exp(state.maximum - reference);
      const float added = std::exp(part.maximum - reference);
      float* outputs = into.outputs.data() + row * columns_;
      const float* part_outputs = split.outputs.data() + row * columns_;
      for (std::size_t i = 0; i < columns_; ++i) outputs[i] = outputs[i] * kept + part_outputs[i] * added;
      state = {maximum, state.sum * kept + part.sum * added};
    }
  }

  void write(const Partial& total, float* out, std::size_t out_stride) const {
    const auto dim = static_cast<std::size_t>(keys_.shape().head_dim);
    const auto heads = static_cast<std::size_t>(group_.num_heads);
    for (std::size_t row = 0; row < total.states.size(); ++row) {
      const std::size_t query = scratch_.block.first_query() + row / heads;
      float* target = out + query * out_stride + (static_cast<std::size_t>(group_.first_head) + row % heads) * dim;
      const float* outputs = total.outputs.data() + row * columns_;
      for (std::size_t i = 0; i < dim; ++i) target[i] = outputs[i] / total.states[row].sum;
    }
  }

 private:
  void add_tile(std::uint32_t first, std::uint32_t end, Partial& out) {
    keys_.load_keys(kernels_, first, group_.stored_head, group_.own_head, scratch_.keys.data());
    keys_.load_values(kernels_, first, group_.own_head, scratch_.values.data());
    float* logits = scratch_.block.logits(kernels_, keys_, group_, first, scratch_.keys.data());
    const int rows = scratch_.block.num_rows();
    for (int row = 0; row < rows; ++row) {
      const auto idx = static_cast<std::size_t>(row);
      const float factor = kernels_.softmax_tile(logits + idx * kTileKeys, out.states[idx]);
      if (factor != 1.0f) kernels_.scale(out.outputs.data() + idx * columns_, columns_, factor);
    }
    const int inner = static_cast<int>(std::min<std::uint32_t>(kTileKeys, end - first));
    kernels_.multiply(logits, kTileKeys, rows, scratch_.values.data(), columns_, inner, out.outputs.data(), columns_,
                      static_cast<int>(columns_), true);
  }

  const Kernels& kernels_;
  const KeyTiles& keys_;
  const HeadGroup& group_;
  Scratch& scratch_;
  std::size_t columns_;
};

struct Plan {
  std::vector<HeadGroup> groups;
  std::uint32_t num_blocks = 0;

  std::size_t num_tasks() const { return groups.size() * num_blocks; }
};

Plan plan_blocks(const KeyTiles& keys, const Queries& queries) {
  Plan plan;
  const int group_size = queries.num_query_heads / keys.shape().num_kv_heads;
  for (int head = 0; head < keys.shape().num_kv_heads; ++head) {
    plan.groups.push_back(
        {.first_head = head * group_size, .num_heads = group_size, .stored_head = head, .own_head = head});
  }
  plan.num_blocks = divide_rounding_up(queries.count, block_tokens(plan.groups.front()));
  return plan;
}

}  // namespace

void attend(WorkerPool& pool, const Kernels& kernels, const KeyTiles& keys, const Queries& queries, float scale,
            float* out, std::size_t out_stride) {
  if (queries.count == 0) return;
  const Plan plan = plan_blocks(keys, queries);
  std::vector<Scratch> scratch(static_cast<std::size_t>(pool.num_threads()));
  const auto block_of = [&](std::size_t task, int thread_idx) {
    BlockAttention block(kernels, keys, plan.groups[task / plan.num_blocks],
                         scratch[static_cast<std::size_t>(thread_idx)]);
    block.load(queries, static_cast<std::uint32_t>(task % plan.num_blocks), scale);
    return block;
  };
  const std::size_t max_splits = divide_rounding_up(keys.num_keys(), kSplitKeys);
  if (plan.num_tasks() >= 4 * static_cast<std::size_t>(pool.num_threads()) || max_splits == 1) {
    pool.run(plan.num_tasks(), [&](std::size_t task, int thread_idx) {
      BlockAttention block = block_of(task, thread_idx);
      Scratch& own = scratch[static_cast<std::size_t>(thread_idx)];
      for (std::uint32_t split = 0; split < block.num_splits(); ++split) {
        block.add_split(split, own.split);
        block.merge(own.split, split == 0, own.merged);
      }
      block.write(own.merged, out, out_stride);
    });
    return;
  }
  // Few queries: splits of a block go to different threads, with the same sums merged in the same order.
  std::vector<Partial> partials(plan.num_tasks() * max_splits);
  pool.run(partials.size(), [&](std::size_t i, int thread_idx) {
    BlockAttention block = block_of(i / max_splits, thread_idx);
    const auto split = static_cast<std::uint32_t>(i % max_splits);
    if (split < block.num_splits()) block.add_split(split, partials[i]);
  });
  pool.run(plan.num_tasks(), [&](std::size_t task, int thread_idx) {
    const BlockAttention block = block_of(task, thread_idx);
    Partial& merged = scratch[static_cast<std::size_t>(thread_idx)].merged;
    for (std::uint32_t split = 0; split < block.num_splits(); ++split) {
      block.merge(partials[task * max_splits + split], split == 0, merged);
    }
    block.write(merged, out, out_stride);
  });
}

}  // namespace reprefill::engine
