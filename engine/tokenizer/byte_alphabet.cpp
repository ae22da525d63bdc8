#include "engine/tokenizer/byte_alphabet.hpp"

#include <array>
#include <cstdint>

#include <utf8proc.h>

namespace reprefill::engine {
namespace {

constexpr bool is_printable(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

/// Printable bytes stand for themselves (as Latin-1); the others follow from U+0100 on, in order.
constexpr std::array<std::uint16_t, 256> kCharacters = [] {
  std::array<std::uint16_t, 256> characters{};
  std::uint16_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    characters[static_cast<std::size_t>(byte)] = is_printable(byte) ? static_cast<std::uint16_t>(byte) : next++;
  }
  return characters;
}();

constexpr std::size_t kNumCharacters = 0x100 + 68;
constexpr std::array<std::int16_t, kNumCharacters> kBytes = [] {
  std::array<std::int16_t, kNumCharacters> bytes{};
  for (std::int16_t& byte : bytes) byte = -1;
  for (std::size_t byte = 0; byte < 256; ++byte) bytes[kCharacters[byte]] = static_cast<std::int16_t>(byte);
  return bytes;
}();

}  // namespace

std::optional<std::string> bytes_of_token(std::string_view text) {
  std::string bytes;
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  while (left > 0) {
    utf8proc_int32_t character = 0;
    const utf8proc_ssize_t used = utf8proc_iterate(at, left, &character);
    if (used <= 0 || character < 0 || static_cast<std::size_t>(character) >= kNumCharacters) return std::nullopt;
    const std::int16_t byte = kBytes[static_cast<std::size_t>(character)];
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
    at += used;
    left -= used;
  }
  return bytes;
}

std::string token_of_bytes(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    utf8proc_uint8_t encoded[4];
    const auto used = utf8proc_encode_char(kCharacters[static_cast<unsigned char>(byte)], encoded);
    text.append(reinterpret_cast<const char*>(encoded), static_cast<std::size_t>(used));
  }
  return text;
}

}  // namespace reprefill::engine
