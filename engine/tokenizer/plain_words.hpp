// Words of which texts with an exact number of tokens can be made.
#pragma once

#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer.hpp"

namespace reprefill::engine {

/// Words of lower-case ASCII letters whose token behind a space is one, in order of their ids: " " + word, any number
/// of times, encodes to as many ids, since the pattern splits at every space before a letter. Throws ConfigError naming
/// `origin` where the tokenizer has fewer than `at_least` of them.
std::vector<std::string> plain_words(const Tokenizer& tokenizer, std::string_view origin, std::size_t at_least);

}  // namespace reprefill::engine
