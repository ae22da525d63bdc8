#include "study/eval/task.hpp"

#include <algorithm>
#include <fstream>

#include "core/base/json.hpp"

namespace reprefill::study {
namespace {

std::size_t read_answer(const JsonValue& answer, const std::vector<std::string>& choices) {
  if (answer.json().is_number()) {
    return static_cast<std::size_t>(answer.as_integer(0, static_cast<std::int64_t>(choices.size()) - 1, "choice"));
  }
  const auto found = std::find(choices.begin(), choices.end(), answer.as_string());
  if (found == choices.end()) answer.fail_expected("one of the choices, or its index");
  return static_cast<std::size_t>(found - choices.begin());
}

std::vector<AnswerSpan> read_spans(const JsonValue& list, std::size_t prefix_bytes) {
  std::vector<AnswerSpan> spans;
  list.require_array();
  const auto limit = static_cast<std::int64_t>(prefix_bytes);
  for (std::size_t i = 0; i < list.json().size(); ++i) {
    const JsonValue span = list.element(i);
    if (span.require_array().json().size() != 2) span.fail_expected("[begin, end) in bytes of the prefix");
    const std::int64_t begin = span.element(0).as_integer(0, limit, "bytes");
    spans.push_back({.begin = static_cast<std::size_t>(begin),
                     .end = static_cast<std::size_t>(span.element(1).as_integer(begin, limit, "bytes"))});
  }
  return spans;
}

TaskItem read_item(const JsonValue& line, std::size_t number) {
  line.require_object().refuse_unknown_keys({"id", "kind", "prefix", "suffix", "choices", "answer", "answer_spans"});
  TaskItem item;
  item.name = !line.has("id")                             ? std::to_string(number)
              : line.key("id").json().is_number_integer() ? line.key("id").json().dump()
                                                          : line.key("id").as_string();
  if (line.has("kind")) item.kind = line.key("kind").as_string();
  item.prefix = line.key("prefix").as_string();
  item.suffix = line.key("suffix").as_string();
  if (item.suffix.empty()) line.key("suffix").fail_expected("a text that is not empty");
  const JsonValue choices = line.key("choices").require_array();
  for (std::size_t i = 0; i < choices.json().size(); ++i) {
    item.choices.push_back(choices.element(i).as_string());
    if (item.choices.back().empty()) choices.element(i).fail_expected("a text that is not empty");
  }
  if (item.choices.size() < 2) choices.fail_expected("at least two choices");
  item.answer = read_answer(line.key("answer"), item.choices);
  if (line.has("answer_spans")) item.answer_spans = read_spans(line.key("answer_spans"), item.prefix.size());
  return item;
}

}  // namespace

std::vector<TaskItem> read_task(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw ConfigError(fmt::format("{}: cannot open the task", file.string()));
  std::vector<TaskItem> items;
  std::string text;
  for (std::size_t number = 1; std::getline(in, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string origin = fmt::format("{}: line {}", file.string(), number);
    const Json json = parse_json(text, origin);
    items.push_back(read_item(JsonValue(json, origin), items.size()));
  }
  if (items.empty()) throw ConfigError(fmt::format("{}: no items in it", file.string()));
  return items;
}

}  // namespace reprefill::study
