// What every system with a store and cache tiers has.
#pragma once

#include "core/pipeline/layer_runner.hpp"
#include "core/pipeline/prefix_units.hpp"
#include "core/pipeline/system_entry.hpp"

namespace reprefill::pipeline {

class TieredSystem : public System {
 public:
  const layout::StoreLayout* store_layout() const override { return &layout_; }
  cache::TieredCache* cache() override { return cache_.get(); }
  Bytes workspace() const override { return load_.workspace; }
  Bytes staging() const override { return load_.staging; }
  Bytes largest_read(std::uint32_t stored_tokens) const override;

 protected:
  /// `reserved_*` is taken out of a tier for buffers that live inside its budget.
  TieredSystem(const LoadParams& load, const layout::StoreLayout& layout, const SystemEnvironment& environment,
               const Json& policy_params, Bytes reserved_gpu = {}, Bytes reserved_host = {});
  /// With a policy that no scenario names.
  TieredSystem(const LoadParams& load, const layout::StoreLayout& layout, const SystemEnvironment& environment,
               std::unique_ptr<cache::EvictionPolicy> policy, Bytes reserved_gpu = {}, Bytes reserved_host = {});

  /// The part of the workspace that one request may hold.
  Bytes workspace_per_request() const {
    return Bytes{load_.workspace.value / static_cast<std::uint64_t>(environment_.max_in_flight)};
  }
  /// Appends the K and V (or K+V) pieces of the given blocks in one layer.
  static void add_pieces(std::vector<PieceKey>& pieces, const PrefixUnits& blocks,
                         std::span<const std::uint32_t> chosen, int layer_idx, std::initializer_list<PieceKind> kinds);
  /// All pieces of the given blocks in one layer, K+V or K and then V, as the layout has them.
  std::vector<PieceKey> kv_pieces(const PrefixUnits& blocks, std::span<const std::uint32_t> chosen,
                                  int layer_idx) const;
  /// Keys for scoring: one object per segment of the prefix.
  PieceList identification_pieces(const Request& request, int layer_idx, PieceKind kind) const;
  /// K (or V) bytes of one token in one layer, all KV heads.
  Bytes tensor_bytes_per_token() const;

  LoadParams load_;
  const SystemEnvironment& environment_;
  layout::StoreLayout layout_;
  std::unique_ptr<cache::TieredCache> cache_;
  Loader loader_;
};

/// 0, 1, ..., count - 1.
std::vector<std::uint32_t> all_units(std::uint32_t count);

struct TouchedBlocks {
  std::vector<std::uint32_t> blocks;      // ascending
  std::vector<std::uint32_t> num_tokens;  // chosen tokens in each
};
/// The blocks that hold chosen tokens (ascending token numbers).
TouchedBlocks blocks_of_tokens(std::span<const std::uint32_t> tokens, std::uint32_t block_tokens);

}  // namespace reprefill::pipeline
