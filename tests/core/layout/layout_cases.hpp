// Every layout that the property tests of this folder go through.
#pragma once

#include <string>
#include <vector>

#include "core/layout/store_layout.hpp"
#include "tests/core/model/model_fixture.hpp"

namespace reprefill::layout {

struct LayoutCase {
  std::string name;
  ModelGeometry geometry;
  KvLayout kv;
  AuxiliarySlabs auxiliary;

  StoreLayout layout() const { return {geometry, kv, auxiliary}; }
};

/// Orders x placements x shapes: 3 layers with periods of 2 (a partial last period), 24 with periods of 8 and 5 (full
/// and partial); blocks that divide a segment of 64 tokens and blocks that do not.
inline std::vector<LayoutCase> all_layout_cases() {
  std::vector<LayoutCase> cases;
  for (const KvOrder order : {KvOrder::layer_major, KvOrder::period_major, KvOrder::chunk_major}) {
    for (const KvPlacement kv : {KvPlacement::adjacent, KvPlacement::apart}) {
      for (const std::uint32_t block_tokens : {1u, 16u, 48u, 64u, 256u}) {
        const std::string name = fmt::format("{}, {}, {} tokens", enum_name(order), enum_name(kv), block_tokens);
        const auto add = [&](const ModelGeometry& geometry, int period, AuxiliarySlabs auxiliary) {
          cases.push_back({fmt::format("{}, {}, period {}, identification {}, probes {}", geometry.name, name, period,
                                       auxiliary.identification_period, auxiliary.probe_heads.size()),
                           geometry, KvLayout{order, kv, block_tokens, period}, std::move(auxiliary)});
        };
        add(test_support::tiny_model(), 2, {.identification_period = 2, .probe_heads = {0, 1}});
        add(test_support::tiny_model(), 8, {.identification_period = 0, .probe_heads = {1, 3}});
        add(test_support::qwen_0_5b(), 8, {.identification_period = 8});
        add(test_support::tiny_model(), 2,
            {.identification_period = 2, .probe_heads = {0}, .digest = KeyDigest::mean, .digest_tokens = 16});
        add(test_support::tiny_model(), 8,
            {.identification_period = 1, .digest = KeyDigest::minmax, .digest_tokens = 48});
        add(test_support::qwen_0_5b(), 5, {.identification_period = 5, .digest = KeyDigest::int4});
        add(test_support::qwen_0_5b(), 5, {});
      }
    }
  }
  return cases;
}

}  // namespace reprefill::layout
