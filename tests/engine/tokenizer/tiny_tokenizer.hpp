// Tokenizers made by hand. Without GoogleTest: fuzz targets use them too.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/base/json.hpp"
#include "engine/tokenizer/byte_alphabet.hpp"

namespace reprefill::engine::test_support {

inline const std::string kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Byte b has the id b, merge i the id 256 + i, and <|end|> follows, marked special.
inline Json tiny_tokenizer(const std::vector<std::pair<std::string, std::string>>& merges) {
  Json json = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  json["normalizer"] = {{"type", "NFC"}};
  json["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       Json::array(
           {{{"type", "Split"}, {"pattern", {{"Regex", kQwenPattern}}}, {"behavior", "Isolated"}, {"invert", false}},
            {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}}})}};
  json["post_processor"] = nullptr;
  json["decoder"] = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  Json vocab = Json::object(), pairs = Json::array();
  for (int byte = 0; byte < 256; ++byte) {
    const char single = static_cast<char>(byte);
    vocab[token_of_bytes({&single, 1})] = byte;
  }
  for (const auto& [left, right] : merges) {
    const auto next = static_cast<int>(vocab.size());
    if (!vocab.contains(left + right)) vocab[left + right] = next;
    pairs.push_back(left + " " + right);
  }
  json["added_tokens"] = Json::array({{{"id", vocab.size()},
                                       {"content", "<|end|>"},
                                       {"single_word", false},
                                       {"lstrip", false},
                                       {"rstrip", false},
                                       {"normalized", false},
                                       {"special", true}}});
  json["model"] = {{"type", "BPE"},          {"dropout", nullptr}, {"unk_token", nullptr},
                   {"byte_fallback", false}, {"vocab", vocab},     {"merges", pairs}};
  return json;
}

inline Json added_token(int id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", false}};
}

}  // namespace reprefill::engine::test_support
