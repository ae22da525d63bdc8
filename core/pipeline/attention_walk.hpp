// What an attention goes through for a view: one rule, by which an engine lays out pages and masks and a simulator
// predicts durations.
#pragma once

#include "core/pipeline/machine.hpp"

namespace reprefill::pipeline {

/// `values`: every KV head keeps all keys and its own values; `keys`: what is not kept is there all the same.
enum class AttentionMask : std::uint8_t { none, keys, values };

struct AttentionWalk {
  std::uint32_t num_tokens = 0;  // of the pages, masked ones included: what kernels fetch and multiply
  AttentionMask mask = AttentionMask::none;
};

/// A selection for all heads lays out the kept tokens alone. One per KV head needs every token that any of them may
/// keep, so it lays out the whole prefix under a mask for each; `full_length` does so to spend the compute (semantics
/// 2).
inline AttentionWalk attention_walk(const KvView& view) {
  if (!view.kept) return {.num_tokens = view.prefix_tokens};
  if (view.grouping == traces::HeadGrouping::per_kv_head) return {view.prefix_tokens, AttentionMask::values};
  if (view.full_length) return {view.prefix_tokens, AttentionMask::keys};
  return {.num_tokens = view.kept_k_tokens};
}

}  // namespace reprefill::pipeline
