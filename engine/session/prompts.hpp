// What a user asks the engine: one prompt, or a file of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer.hpp"

namespace reprefill::engine {

struct Prompt {
  std::string name = {};               // for output; its number where the file names none
  std::string text = {};               // empty where the file gives ids
  std::vector<std::int32_t> ids = {};  // of the whole prompt, stored prefix included
  std::uint32_t max_tokens = 1;        // to generate
  /// An earlier prompt of the same list, which comes first, with what was answered to it: the next turn of a
  /// conversation.
  std::optional<std::size_t> continues = std::nullopt;
};

/// JSONL, one request a line: `prompt`, or `prefix` and `suffix` (joined), or `messages` [{role, content}] (the
/// tokenizer's chat template), or `ids`; optional `id` and `max_tokens`, and with `prompt` or `ids` `continues`, the id
/// of an earlier line. Throws ConfigError naming file, line and key.
std::vector<Prompt> read_prompts(const std::filesystem::path& file, const Tokenizer& tokenizer,
                                 std::uint32_t default_max_tokens);

/// The prefixes in such a file, or in one of `eval`'s tasks: `prefix` where a line has it, else the whole prompt; each
/// once, in the order of appearance. Other keys are ignored.
std::vector<Prompt> read_prefixes(const std::filesystem::path& file, const Tokenizer& tokenizer);

}  // namespace reprefill::engine
