// UTF-8 checks and NFC.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace reprefill::engine {

/// Offset of the first byte that is not well-formed UTF-8 (surrogates and overlong forms are not).
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// Replaces each maximal ill-formed part by U+FFFD (Unicode 15, 3.9, "Substitution of Maximal Subparts"; Rust's
/// from_utf8_lossy does the same).
std::string replace_invalid_utf8(std::string_view bytes);

/// How many bytes at the end are the beginning of a character that more bytes may complete: 0 to 3.
std::size_t unfinished_utf8_bytes(std::string_view bytes);

/// Unicode Normalization Form C of valid UTF-8, which may hold NUL. O(n log n).
/// Characters assigned after Unicode 9 stay as they are and separate what is around them: the library that made the
/// published tokenizers (unicode-normalization-alignments 0.1.12 in Hugging Face's tokenizers) knows Unicode 9.
std::string to_nfc(std::string_view text);

bool is_ascii(std::string_view text);

}  // namespace reprefill::engine
