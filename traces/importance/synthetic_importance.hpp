// The importance generator (semantics 8): counter-based and hierarchical, so that any score costs only what it needs.
//
// ln(mass of a 64-token block) is a sum of normal variates, each a pure function of (seed, owner, segment, scope, head
// group, block): the owner is the task (its hot set, shared by requests on the same prefix) or the request, the scope
// is all layers, one period of layers, or one layer. The block's mass is split among its four 16-token chunks by
// weights drawn the same way, and a chunk's mass among its tokens, which are drawn only when a caller asks for them.
// Two components depend on the place in the prefix instead: recency multiplies a block's mass, growing towards the end
// of the prefix; the attention sink adds mass to its first tokens.
//
// What a scorer sees that reads digests instead of keys is a unit's mass times a log-normal error of its own, drawn the
// same way; how much of the right units it still chooses, rows say (`chosen_recall`).
//
// Sums are taken in token order: a unit of whole chunks sums chunk masses, any other sums token masses.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "traces/importance/importance_presets.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::traces {

/// The heads that the groups stand for. Query heads 0, 1, 2 lie in KV head 0 of Qwen2.5 (A5).
struct ImportanceHeads {
  int num_kv_heads = 4;
  std::vector<int> probe_kv_heads = {0, 0, 0};  // for each probed query head, its KV head
};

class SyntheticImportance final : public ImportanceSource {
 public:
  /// Throws ConfigError if a probed head's KV head does not exist or there are no heads.
  SyntheticImportance(const SyntheticImportanceParams& params, ImportanceHeads heads, std::uint64_t seed);
  ~SyntheticImportance() override;

  int num_groups(HeadGrouping grouping) const override;
  void unit_scores(const ImportanceQuery& query, int unit_tokens, std::span<float> out) const override;
  bool has_channel(HeadGrouping) const override { return true; }
  int granularity_tokens(HeadGrouping) const override { return 1; }

 private:
  void blur(const ImportanceQuery& query, int unit_tokens, std::span<float> out) const;

  struct Tables;
  class Draw;

  ImportanceHeads heads_;
  std::uint64_t seed_;
  DigestErrors digest_errors_;
  int layers_per_period_;
  std::unique_ptr<const Tables> tables_;
};

}  // namespace reprefill::traces
