// tokenizer.json, read strictly: what would change ids and is not supported is refused with its place in the file.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "engine/tokenizer/added_tokens.hpp"
#include "engine/tokenizer/bpe.hpp"

namespace reprefill::engine {

/// Lets maps with keys of std::string be asked with string_view.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using IdOfText = boost::unordered_flat_map<std::string, std::int32_t, TextHash, std::equal_to<>>;

struct TokenizerFile {
  std::vector<std::string> tokens;    // as the file writes them, by id; no holes
  IdOfText id_of;                     // the reverse
  std::vector<std::int32_t> bpe_ids;  // of the BPE vocabulary itself, in the file's order
  std::vector<AddedToken> added;      // in the file's order
  BytePairMerger merger;
  std::string pattern;
  bool normalises = false;      // NFC
  bool ignores_merges = false;  // a piece that is in the BPE vocabulary is one token
};

/// Throws ConfigError naming `origin` and the key.
TokenizerFile parse_tokenizer_file(std::string_view json, std::string_view origin);

}  // namespace reprefill::engine
