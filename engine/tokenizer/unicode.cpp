#include "engine/tokenizer/unicode.hpp"

#include <cstdlib>
#include <memory>
#include <new>

#include <utf8proc.h>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

struct Range {
  unsigned char low, high;
};

/// Length of the longest well-formed beginning of a character at `text`, and whether it is a whole one.
struct Prefix {
  std::size_t bytes = 0;
  bool is_whole = false;
};

/// Table 3-7 of the Unicode Standard.
Prefix well_formed_prefix(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return {1, true};
  std::size_t length = 0;
  Range second{0x80, 0xbf};
  if (first >= 0xc2 && first <= 0xdf) length = 2;
  if (first >= 0xe0 && first <= 0xef) length = 3;
  if (first >= 0xf0 && first <= 0xf4) length = 4;
  if (length == 0) return {1, false};
  if (first == 0xe0) second.low = 0xa0;
  if (first == 0xed) second.high = 0x9f;
  if (first == 0xf0) second.low = 0x90;
  if (first == 0xf4) second.high = 0x8f;
  for (std::size_t i = 1; i < length; ++i) {
    const Range allowed = i == 1 ? second : Range{0x80, 0xbf};
    if (i >= text.size()) return {i, false};
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < allowed.low || byte > allowed.high) return {i, false};
  }
  return {length, true};
}

}  // namespace

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const Prefix prefix = well_formed_prefix(text.substr(at));
    if (!prefix.is_whole) return at;
    at += prefix.bytes;
  }
  return std::nullopt;
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string text;
  for (std::size_t at = 0; at < bytes.size();) {
    const Prefix prefix = well_formed_prefix(bytes.substr(at));
    if (prefix.is_whole) {
      text += bytes.substr(at, prefix.bytes);
    } else {
      text += "\xef\xbf\xbd";
    }
    at += prefix.bytes;
  }
  return text;
}

std::string to_nfc(std::string_view text) {
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &composed, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(composed, &std::free);
  if (length == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  REPREFILL_CHECK(length >= 0, "NFC of valid UTF-8 failed: {}", utf8proc_errmsg(length));
  return {reinterpret_cast<const char*>(composed), static_cast<std::size_t>(length)};
}

}  // namespace reprefill::engine
