// What holds of every run, however many requests are in flight.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/session/session_fixture.hpp"

namespace reprefill::engine::test_support {

/// What a request needed was in a tier, was prefetched, or was read; with `leader_keys: reuse` a leader's pieces are
/// read without their keys.
inline void expect_bytes_add_up(const pipeline::RequestAccount& account, bool reuses_keys) {
  const Bytes demand = account.payload_read - account.prefetch_read;
  const Bytes found = account.payload_gpu_hits + account.payload_host_hits + account.prefetch_used + demand;
  if (reuses_keys) {
    EXPECT_LE(found, account.payload_needed);
  } else {
    EXPECT_EQ(found, account.payload_needed);
  }
  EXPECT_GE(account.payload_requested, account.payload_read);
  EXPECT_LE(account.prefetch_used, account.prefetch_read);
}

/// Memory holds what the caches say that the tiers hold, and nothing else.
inline void expect_only_tiers_hold_memory(const Session& session, Bytes pinned_keys) {
  const HeldMemory held = session.machine().held_memory();
  EXPECT_EQ(held.num_departing, 0u);
  EXPECT_EQ(held.num_open_layers, 0u);
  EXPECT_EQ(held.staging, Bytes{0});
  EXPECT_EQ(held.host, session.resident_bytes(cache::Tier::host) + pinned_keys);
  const Bytes zero_block{64 * 2 * 32 * 2};  // stands for blocks that are masked: 64 tokens of two heads' keys
  const Bytes resident = session.resident_bytes(cache::Tier::gpu);
  EXPECT_THAT(held.device, testing::AnyOf(resident, resident + zero_block));
}

inline Bytes pinned_keys(const Session& session, const Store& store) {
  const pipeline::System& system = session.system();
  if (!system.pins_identification_keys()) return Bytes{0};
  Bytes bytes;
  const layout::StoreLayout& layout = *const_cast<pipeline::System&>(system).store_layout();
  const PieceKind kind =
      layout.auxiliary().probe_heads.empty() ? PieceKind::identification_keys : PieceKind::probe_keys;
  for (std::uint32_t segment = 0; segment < store.num_segments(); ++segment) {
    const std::uint32_t tokens = store.segment(SegmentId{segment}).num_tokens();
    for (int layer = 0; layer < 10; ++layer) {
      if (kind == PieceKind::identification_keys && !layout.has_identification_keys(layer)) continue;
      bytes += layout.piece_bytes(PieceKey::make(SegmentId{segment}, layer, kind, tokens), tokens);
    }
  }
  return bytes;
}

}  // namespace reprefill::engine::test_support
