#include "engine/tokenizer/plain_words.hpp"

#include <algorithm>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

bool is_lower_case(char c) { return c >= 'a' && c <= 'z'; }

}  // namespace

std::vector<std::string> plain_words(const Tokenizer& tokenizer, std::string_view origin, std::size_t at_least) {
  std::vector<std::string> words;
  for (std::int32_t id = 0; id < tokenizer.num_ids(); ++id) {
    const std::string_view bytes = tokenizer.token_bytes(id);
    if (bytes.size() < 2 || bytes[0] != ' ' || !std::all_of(bytes.begin() + 1, bytes.end(), is_lower_case)) continue;
    // A token may stand in the vocabulary and yet not be what its text encodes to.
    if (tokenizer.encode(bytes) == std::vector<std::int32_t>{id}) words.emplace_back(bytes.substr(1));
  }
  if (words.size() < at_least) {
    throw ConfigError(
        fmt::format("{}: found {} words of lower-case letters that are one token behind a space; expected "
                    "at least {}",
                    origin, words.size(), at_least));
  }
  return words;
}

}  // namespace reprefill::engine
