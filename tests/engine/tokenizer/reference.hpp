// A slow, obvious tokenizer: Qwen2's pattern by hand, merges by scanning all pairs. Shares nothing with the one under
// test but NFC, which has tests of its own.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace reprefill::engine::test_support {

class ReferenceTokenizer {
 public:
  using Symbols = std::vector<std::string>;  // byte strings

  std::map<std::string, int> id_of;                          // byte strings
  std::map<std::pair<std::string, std::string>, int> ranks;  // of merges
  std::map<std::string, int> added;

  std::vector<int> encode(const std::string& text) const;
  Symbols merge(const std::string& piece) const;
  /// `text` in NFC, without added tokens.
  static std::vector<std::string> split(const std::string& text);
};

}  // namespace reprefill::engine::test_support
