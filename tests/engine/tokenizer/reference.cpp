#include "tests/engine/tokenizer/reference.hpp"

#include <algorithm>
#include <climits>

#include <utf8proc.h>

#include "engine/tokenizer/unicode.hpp"

namespace reprefill::engine::test_support {
namespace {

using Characters = std::vector<utf8proc_int32_t>;

Characters characters_of(const std::string& text) {
  Characters characters;
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t c = 0;
    at += static_cast<std::size_t>(utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                                                    static_cast<utf8proc_ssize_t>(text.size() - at), &c));
    characters.push_back(c);
  }
  return characters;
}

std::string text_of(const Characters& characters, std::size_t first, std::size_t last) {
  std::string text;
  for (std::size_t i = first; i < last; ++i) {
    utf8proc_uint8_t bytes[4];
    const auto count = utf8proc_encode_char(characters[i], bytes);
    text.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(count));
  }
  return text;
}

bool is_letter(utf8proc_int32_t c) {
  const auto category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool is_number(utf8proc_int32_t c) {
  const auto category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}
bool is_space(utf8proc_int32_t c) {
  return (c >= 9 && c <= 13) || c == 0x85 || utf8proc_category(c) == UTF8PROC_CATEGORY_ZS ||
         utf8proc_category(c) == UTF8PROC_CATEGORY_ZL || utf8proc_category(c) == UTF8PROC_CATEGORY_ZP;
}
bool is_break(utf8proc_int32_t c) { return c == '\r' || c == '\n'; }
utf8proc_int32_t fold(utf8proc_int32_t c) { return c == 0x17f ? 's' : utf8proc_tolower(c); }

/// Where the piece that begins at `at` ends: the alternatives of the pattern in their order.
std::size_t end_of_piece(const Characters& text, std::size_t at) {
  const std::size_t size = text.size();
  const auto run = [&](std::size_t from, auto&& is_in) {
    while (from < size && is_in(text[from])) ++from;
    return from;
  };
  const auto is_other = [](utf8proc_int32_t c) { return !is_space(c) && !is_letter(c) && !is_number(c); };
  for (const std::string ending : {"s", "t", "re", "ve", "m", "ll", "d"}) {
    if (text[at] != '\'' || at + 1 + ending.size() > size) continue;
    bool is_same = true;
    for (std::size_t i = 0; i < ending.size(); ++i) is_same = is_same && fold(text[at + 1 + i]) == ending[i];
    if (is_same) return at + 1 + ending.size();
  }
  if (is_letter(text[at])) return run(at, is_letter);
  if (!is_break(text[at]) && !is_number(text[at]) && at + 1 < size && is_letter(text[at + 1]))
    return run(at + 1, is_letter);
  if (is_number(text[at])) return at + 1;
  const std::size_t others = text[at] == ' ' ? at + 1 : at;
  if (others < size && is_other(text[others])) return run(run(others, is_other), is_break);
  const std::size_t spaces = run(at, is_space);
  for (std::size_t end = spaces; end > at; --end) {
    if (is_break(text[end - 1])) return end;
  }
  return spaces < size && spaces - at > 1 ? spaces - 1 : spaces;
}

}  // namespace

std::vector<std::string> ReferenceTokenizer::split(const std::string& text) {
  const Characters characters = characters_of(text);
  std::vector<std::string> pieces;
  for (std::size_t at = 0; at < characters.size();) {
    const std::size_t end = end_of_piece(characters, at);
    pieces.push_back(text_of(characters, at, end));
    at = end;
  }
  return pieces;
}

ReferenceTokenizer::Symbols ReferenceTokenizer::merge(const std::string& piece) const {
  Symbols symbols;
  for (const char c : piece) symbols.emplace_back(1, c);
  for (;;) {
    int best_rank = INT_MAX;
    std::size_t best = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find({symbols[i], symbols[i + 1]});
      if (found != ranks.end() && found->second < best_rank) {
        best_rank = found->second;
        best = i;
      }
    }
    if (best_rank == INT_MAX) return symbols;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

std::vector<int> ReferenceTokenizer::encode(const std::string& text) const {
  std::vector<int> ids;
  const auto encode_plain = [&](const std::string& part) {
    for (const std::string& piece : split(to_nfc(part))) {
      for (const std::string& symbol : merge(piece)) ids.push_back(id_of.at(symbol));
    }
  };
  std::string part;
  for (std::size_t at = 0; at < text.size();) {
    std::pair<std::string, int> longest;
    for (const auto& token : added) {
      if (text.compare(at, token.first.size(), token.first) == 0 && token.first.size() > longest.first.size())
        longest = token;
    }
    if (longest.first.empty()) {
      part += text[at++];
      continue;
    }
    encode_plain(part);
    part.clear();
    ids.push_back(longest.second);
    at += longest.first.size();
  }
  encode_plain(part);
  return ids;
}

}  // namespace reprefill::engine::test_support
