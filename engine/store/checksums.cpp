#include "engine/store/checksums.hpp"

#include <array>
#include <bit>
#include <charconv>

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/base/error.hpp"

namespace reprefill::engine {

static_assert(std::endian::native == std::endian::little, "store files are little-endian and read in place");

std::uint64_t checksum64(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string SegmentKey::to_hex() const { return fmt::format("{:016x}{:016x}", high, low); }

std::optional<SegmentKey> SegmentKey::from_hex(std::string_view text) {
  if (text.size() != 32 || text.find_first_not_of("0123456789abcdef") != std::string_view::npos) return std::nullopt;
  SegmentKey key;
  std::from_chars(text.data(), text.data() + 16, key.high, 16);
  std::from_chars(text.data() + 16, text.data() + 32, key.low, 16);
  return key;
}

SegmentKey make_segment_key(std::uint64_t model_fingerprint, const std::optional<ParentLink>& parent,
                            std::span<const std::int32_t> token_ids) {
  const ParentLink link = parent.value_or(ParentLink{});
  const std::array<std::uint64_t, 4> fixed = {model_fingerprint, link.key.high, link.key.low, link.num_tokens};
  XXH3_state_t state{};  // the reset looks at the old seed
  XXH3_128bits_reset(&state);
  XXH3_128bits_update(&state, fixed.data(), sizeof fixed);
  XXH3_128bits_update(&state, token_ids.data(), token_ids.size_bytes());
  const XXH128_hash_t hash = XXH3_128bits_digest(&state);
  return {hash.high64, hash.low64};
}

}  // namespace reprefill::engine
