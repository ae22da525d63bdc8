// tokenizer.json, read strictly: what would change ids and is not supported is refused with its place in the file.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/added_tokens.hpp"
#include "engine/tokenizer/bpe.hpp"

namespace reprefill::engine {

struct TokenizerFile {
  std::vector<std::string> bytes_of_id;  // of vocabulary and added tokens
  std::vector<AddedToken> added;
  BytePairMerger merger;
  std::string pattern;
  bool normalises = false;        // NFC
  bool ignores_merges = false;    // a piece that is in the vocabulary is one token
};

/// Throws ConfigError naming `origin` and the key.
TokenizerFile parse_tokenizer_file(std::string_view json, std::string_view origin);

}  // namespace reprefill::engine
