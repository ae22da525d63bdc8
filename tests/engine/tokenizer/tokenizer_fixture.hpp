// The published tokenizer, and texts that tokenizers trip over.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/random.hpp"
#include "engine/tokenizer/tokenizer.hpp"
#include "tests/engine/tokenizer/tiny_tokenizer.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::engine::test_support {

using namespace reprefill::test_support;
using Ids = std::vector<std::int32_t>;

inline Tokenizer parse(const Json& json) { return Tokenizer::parse(json.dump(), "tiny.json"); }

/// A text of characters that matter: all classes of the pattern, combining marks, Hangul, edges of UTF-8's lengths,
/// unassigned and private code points, special tokens.
inline std::string random_text(RandomStream& random, std::size_t num_parts) {
  static const std::vector<std::string> kParts = {"a",
                                                  "e",
                                                  "s",
                                                  "T",
                                                  "the",
                                                  " the",
                                                  " ",
                                                  "  ",
                                                  "\t",
                                                  "\n",
                                                  "\r\n",
                                                  "\r",
                                                  "1",
                                                  "23",
                                                  ".",
                                                  ",",
                                                  "'s",
                                                  "'S",
                                                  "'ll",
                                                  "'",
                                                  "_",
                                                  "(",
                                                  ");\n",
                                                  "\xc2\xa0",
                                                  "\xe2\x80\x83",
                                                  "\xe3\x80\x80",
                                                  "\xc2\x85",
                                                  "\xe1\xa0\x8e",
                                                  "\xe2\x80\x8b",
                                                  "\xc3\xa9",
                                                  "e\xcc\x81",
                                                  "\xcc\x81",
                                                  "\xcc\xa7",
                                                  "\xcc\xb4",
                                                  "\xcd\x85",
                                                  "\xcc\xa8\xcc\x87",
                                                  "\xe4\xb8\xad",
                                                  "\xe6\x96\x87",
                                                  "\xe3\x81\x8b\xe3\x82\x99",
                                                  "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8",
                                                  "\xed\x95\x9c",
                                                  "\xea\xb0\x80\xe1\x86\xa8",
                                                  "\xd9\xa3",
                                                  "\xc2\xbd",
                                                  "\xe2\x85\xa7",
                                                  "\xf0\x9f\x98\x80",
                                                  "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb",
                                                  "\xef\xb8\x8f",
                                                  "\xc5\xbf",
                                                  "'\xc5\xbf",
                                                  "\xe2\x84\xaa",
                                                  "\xef\xac\x81",
                                                  "\xc3\x9f",
                                                  "\xcd\xb8",
                                                  "\xee\x80\x80",
                                                  "\xf4\x8f\xbf\xbf",
                                                  "\xef\xbf\xbf",
                                                  "\x7f",
                                                  "\xc2\x80",
                                                  "\xdf\xbf",
                                                  "\xe0\xa0\x80",
                                                  "\xf0\x90\x80\x80",
                                                  "\xe0\xa4\xa8\xe0\xa4\xbc",
                                                  "\xd7\xa9\xd6\xbc\xd7\x81",
                                                  "\xd8\xa7\xd9\x93",
                                                  "\xf0\x91\xa4\xb5\xf0\x91\xa4\xb0",
                                                  "\xe0\xa3\x8a",
                                                  "<|im_start|>",
                                                  "<|im_end|>",
                                                  "<|endoftext|>",
                                                  "<tool_call>",
                                                  "<|",
                                                  "|>",
                                                  "<|im_",
                                                  std::string(1, '\0'),
                                                  "\x01"};
  std::string text;
  for (std::size_t i = 0; i < num_parts; ++i) text += kParts[random.below(kParts.size())];
  return text;
}

/// The published tokenizer, opened once for all tests of this executable.
inline const Tokenizer* qwen_tokenizer() {
  static const std::optional<Tokenizer> tokenizer = [] {
    const auto folder = find_qwen_folder();
    return folder ? std::optional(Tokenizer::open(*folder / "tokenizer.json")) : std::nullopt;
  }();
  return tokenizer ? &*tokenizer : nullptr;
}

}  // namespace reprefill::engine::test_support
