#include "engine/tokenizer/unicode.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include <utf8proc.h>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

struct ByteRange {
  unsigned char low, high;
};

/// Length of the longest well-formed beginning of a character, and whether it is a whole one or could become one.
struct Prefix {
  std::size_t bytes = 0;
  bool is_whole = false;
  bool is_cut_off = false;
};

/// Table 3-7 of the Unicode Standard.
Prefix well_formed_prefix(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return {1, true, false};
  std::size_t length = 0;
  ByteRange second{0x80, 0xbf};
  if (first >= 0xc2 && first <= 0xdf) length = 2;
  if (first >= 0xe0 && first <= 0xef) length = 3;
  if (first >= 0xf0 && first <= 0xf4) length = 4;
  if (length == 0) return {1, false, false};
  if (first == 0xe0) second.low = 0xa0;
  if (first == 0xed) second.high = 0x9f;
  if (first == 0xf0) second.low = 0x90;
  if (first == 0xf4) second.high = 0x8f;
  for (std::size_t i = 1; i < length; ++i) {
    const ByteRange allowed = i == 1 ? second : ByteRange{0x80, 0xbf};
    if (i >= text.size()) return {i, false, true};
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < allowed.low || byte > allowed.high) return {i, false, false};
  }
  return {length, true, false};
}

/// Bytes below 0x80 at the beginning, eight at a time: most text is ASCII.
std::size_t ascii_prefix(std::string_view text) {
  std::size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, text.data() + at, 8);
    if ((eight & 0x8080808080808080u) != 0) break;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

struct CodePointRange {
  utf8proc_int32_t first, last;
};

/// Assigned in Unicode 10 to 15 and with a combining class or a canonical decomposition, or the second half of one
/// (U+11930): all that a newer NFC treats differently. Made from DerivedAge.txt and UnicodeData.txt (Perl 5.36: not
/// Present_In 9.0, ccc not 0 or Decomposition_Type Canonical) and the additions of Unicode 15. A test holds it against
/// the installed utf8proc.
constexpr CodePointRange kNewerThanUnicode9[] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0xece, 0xece},     {0x1715, 0x1715},   {0x1abf, 0x1ace},
    {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},   {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943},
    {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42},
    {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f},
    {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}};

bool is_newer_than_unicode_9(utf8proc_int32_t character) {
  if (character < kNewerThanUnicode9[0].first) return false;
  const auto* range = std::lower_bound(std::begin(kNewerThanUnicode9), std::end(kNewerThanUnicode9), character,
                                       [](const CodePointRange& r, utf8proc_int32_t c) { return r.last < c; });
  return range != std::end(kNewerThanUnicode9) && range->first <= character;
}

/// NFC step by step, since utf8proc_map is quadratic in a run of combining marks.
class Composer {
 public:
  explicit Composer(std::size_t expected_bytes) { composed_.reserve(expected_bytes); }

  void add(utf8proc_int32_t character) {
    if (is_newer_than_unicode_9(character)) {
      flush();
      append(character);
      return;
    }
    const utf8proc_property_t* property = utf8proc_get_property(character);
    // What stands before a starter is settled unless the starter composes with it or with what follows; only characters
    // that do neither may end a run. (comb_index also marks second halves of compositions.)
    const bool is_inert = property->combining_class == 0 && property->comb_index == UINT16_MAX &&
                          property->decomp_seqindex == UINT16_MAX && !is_hangul(character);
    if (!is_inert) {
      decompose(character);
      return;
    }
    flush();
    append(character);
  }

  /// ASCII characters that an ASCII character follows: nothing composes with them.
  void add_settled(std::string_view ascii) {
    flush();
    composed_ += ascii;
  }

  std::string finish() {
    flush();
    return std::move(composed_);
  }

 private:
  static bool is_hangul(utf8proc_int32_t character) {
    return (character >= 0x1100 && character < 0x1200) || (character >= 0xac00 && character < 0xd7a4);
  }

  void append(utf8proc_int32_t character) {
    utf8proc_uint8_t encoded[4];
    const utf8proc_ssize_t bytes = utf8proc_encode_char(character, encoded);
    composed_.append(reinterpret_cast<const char*>(encoded), static_cast<std::size_t>(bytes));
  }

  void decompose(utf8proc_int32_t character) {
    utf8proc_int32_t parts[8];  // a canonical decomposition has at most 4
    int last_boundary_class = 0;
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(character, parts, 8, UTF8PROC_DECOMPOSE, &last_boundary_class);
    REPREFILL_CHECK(count > 0 && count <= 8, "U+{:04X} decomposes into {} characters", character, count);
    run_.insert(run_.end(), parts, parts + count);
  }

  void flush() {
    if (run_.empty()) return;
    const auto class_of = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
    for (auto first = run_.begin(); first != run_.end();) {
      if (class_of(*first) == 0) {
        ++first;
        continue;
      }
      const auto last = std::find_if(first, run_.end(), [&](utf8proc_int32_t c) { return class_of(c) == 0; });
      std::stable_sort(first, last, [&](utf8proc_int32_t a, utf8proc_int32_t b) { return class_of(a) < class_of(b); });
      first = last;
    }
    const utf8proc_ssize_t count =
        utf8proc_normalize_utf32(run_.data(), static_cast<utf8proc_ssize_t>(run_.size()),
                                 static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    REPREFILL_CHECK(count >= 0, "NFC of valid UTF-8 failed: {}", utf8proc_errmsg(count));
    for (utf8proc_ssize_t i = 0; i < count; ++i) append(run_[static_cast<std::size_t>(i)]);
    run_.clear();
  }

  std::string composed_;
  std::vector<utf8proc_int32_t> run_;  // decomposed, not yet ordered
};

}  // namespace

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0;;) {
    at += ascii_prefix(text.substr(at));
    if (at == text.size()) return std::nullopt;
    const Prefix prefix = well_formed_prefix(text.substr(at));
    if (!prefix.is_whole) return at;
    at += prefix.bytes;
  }
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const std::size_t valid = find_invalid_utf8(bytes).value_or(bytes.size());
    text += bytes.substr(0, valid);
    bytes.remove_prefix(valid);
    if (bytes.empty()) break;
    text += kReplacement;
    bytes.remove_prefix(well_formed_prefix(bytes).bytes);
  }
  return text;
}

std::size_t unfinished_utf8_bytes(std::string_view bytes) {
  for (std::size_t count = 1; count <= 3 && count <= bytes.size(); ++count) {
    const Prefix prefix = well_formed_prefix(bytes.substr(bytes.size() - count));
    if (prefix.is_cut_off && prefix.bytes == count) return count;
  }
  return 0;
}

bool is_ascii(std::string_view text) { return ascii_prefix(text) == text.size(); }

std::string to_nfc(std::string_view text) {
  Composer composer(text.size());
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (auto left = static_cast<utf8proc_ssize_t>(text.size()); left > 0;) {
    if (const std::size_t ascii = ascii_prefix(text.substr(text.size() - static_cast<std::size_t>(left))); ascii > 1) {
      composer.add_settled({reinterpret_cast<const char*>(at), ascii - 1});
      at += ascii - 1;
      left -= static_cast<utf8proc_ssize_t>(ascii - 1);
    }
    utf8proc_int32_t character = 0;
    const utf8proc_ssize_t used = utf8proc_iterate(at, left, &character);
    REPREFILL_CHECK(used > 0, "NFC of what is not UTF-8");
    composer.add(character);
    at += used;
    left -= used;
  }
  return composer.finish();
}

}  // namespace reprefill::engine
