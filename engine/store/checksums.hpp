// XXH3 over what a store holds, and the names of segments.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace reprefill::engine {

std::uint64_t checksum64(std::span<const std::byte> bytes);

/// Name of a segment in every store of its model: 128 bits, so that two runs of tokens never share one by chance.
struct SegmentKey {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  constexpr auto operator<=>(const SegmentKey&) const = default;
  /// 32 lower-case hexadecimal digits: the segment's folder.
  std::string to_hex() const;
  static std::optional<SegmentKey> from_hex(std::string_view text);
};

/// The part of the parent that a segment extends.
struct ParentLink {
  SegmentKey key;
  std::uint32_t num_tokens = 0;  // leading tokens of the parent
  constexpr bool operator==(const ParentLink&) const = default;
};

/// hash(model fingerprint, parent's key, parent's tokens that it extends, its token ids) (semantics 1).
SegmentKey make_segment_key(std::uint64_t model_fingerprint, const std::optional<ParentLink>& parent,
                            std::span<const std::int32_t> token_ids);

}  // namespace reprefill::engine
