// UTF-8 checks and NFC.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace reprefill::engine {

/// Offset of the first byte that is not well-formed UTF-8 (surrogates and overlong forms are not).
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// Replaces each maximal ill-formed part by U+FFFD (Unicode 15, 3.9, "Substitution of Maximal Subparts").
std::string replace_invalid_utf8(std::string_view bytes);

/// Unicode Normalization Form C. `text` is valid UTF-8 and may hold NUL.
std::string to_nfc(std::string_view text);
inline bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

}  // namespace reprefill::engine
