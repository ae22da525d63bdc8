// Names of what a Re-Prefill pipeline selects, reads and caches (semantics 1 and design 3).
#pragma once

#include <compare>
#include <cstdint>
#include <span>

#include "core/base/error.hpp"

namespace reprefill {

/// Number of a segment in its store, in order of first appearance. A segment is a run of stored tokens under a parent.
struct SegmentId {
  std::uint32_t value = 0;
  constexpr auto operator<=>(const SegmentId&) const = default;
};

/// A leading part of a prefix: `num_tokens` tokens of one segment, from the segment's first token on.
/// A request's stored prefix is a path of these, root first.
struct SegmentSpan {
  SegmentId segment;
  std::uint32_t num_tokens = 0;
  constexpr bool operator==(const SegmentSpan&) const = default;
};

enum class PieceKind : std::uint8_t { key, value, key_value, identification_keys, probe_keys };

/// One object of the store: K, V or K+V of one chunk in one layer (index: the chunk's number in its segment), or the
/// identification or probe keys of a segment's leading tokens in one layer (index: how many tokens). Packed so that it
/// hashes and compares as one integer.
struct PieceKey {
  std::uint64_t packed = 0;

  static constexpr int kSegmentBits = 27, kLayerBits = 9, kIndexBits = 25, kKindBits = 3;

  static PieceKey make(SegmentId segment, int layer_idx, PieceKind kind, std::uint32_t index) {
    REPREFILL_CHECK(segment.value < (1u << kSegmentBits) && layer_idx >= 0 && layer_idx < (1 << kLayerBits) &&
                        index < (1u << kIndexBits),
                    "piece (segment {}, layer {}, index {}) is out of range", segment.value, layer_idx, index);
    return PieceKey{
        ((((std::uint64_t{segment.value} << kLayerBits) | static_cast<std::uint64_t>(layer_idx)) << kIndexBits | index)
         << kKindBits) |
        static_cast<std::uint64_t>(kind)};
  }
  constexpr SegmentId segment() const {
    return SegmentId{static_cast<std::uint32_t>(packed >> (kLayerBits + kIndexBits + kKindBits))};
  }
  constexpr int layer_idx() const {
    return static_cast<int>((packed >> (kIndexBits + kKindBits)) & ((1u << kLayerBits) - 1));
  }
  constexpr std::uint32_t index() const {
    return static_cast<std::uint32_t>((packed >> kKindBits) & ((1u << kIndexBits) - 1));
  }
  constexpr PieceKind kind() const { return static_cast<PieceKind>(packed & ((1u << kKindBits) - 1)); }
  constexpr auto operator<=>(const PieceKey&) const = default;
};

}  // namespace reprefill
