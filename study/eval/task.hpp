// Questions about long prefixes, and the answers that are right: what `reprefill eval` asks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace reprefill::study {

/// Bytes [begin, end) of the prefix that hold a fact which the answer needs.
struct AnswerSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct TaskItem {
  std::string name;
  std::string kind;  // "" where the file has none: reported apart
  std::string prefix;
  std::string suffix;
  std::vector<std::string> choices;  // as they continue the suffix, leading blank included
  std::size_t answer = 0;            // index of the right choice
  std::vector<AnswerSpan> answer_spans;
};

/// JSONL: {prefix, suffix, choices, answer} and optionally id, kind, answer_spans. `answer` is one of the choices or
/// its index. Throws ConfigError naming file, line and key.
std::vector<TaskItem> read_task(const std::filesystem::path& file);

}  // namespace reprefill::study
