#include "engine/session/prompts.hpp"

#include <algorithm>
#include <fstream>

#include "core/base/json.hpp"

namespace reprefill::engine {
namespace {

constexpr std::int64_t kMaxTokens = 1 << 20;

std::vector<ChatMessage> read_messages(const JsonValue& list) {
  std::vector<ChatMessage> messages;
  list.require_array();
  for (std::size_t i = 0; i < list.json().size(); ++i) {
    const JsonValue message = list.element(i);
    message.require_object().refuse_unknown_keys({"role", "content"});
    messages.push_back({.role = message.key("role").as_string(), .content = message.key("content").as_string()});
  }
  return messages;
}

std::vector<std::int32_t> read_ids(const JsonValue& list) {
  std::vector<std::int32_t> ids;
  list.require_array();
  for (std::size_t i = 0; i < list.json().size(); ++i) {
    ids.push_back(static_cast<std::int32_t>(list.element(i).as_integer(0, (1 << 30), "token id")));
  }
  if (ids.empty()) list.fail_expected("at least one token id");
  return ids;
}

Prompt read_prompt(const JsonValue& line, const Tokenizer& tokenizer, std::size_t number,
                   std::uint32_t default_max_tokens) {
  Prompt prompt{.name = std::to_string(number), .max_tokens = default_max_tokens};
  if (line.has("id")) {
    const JsonValue id = line.key("id");
    prompt.name = id.json().is_number_integer() ? id.json().dump() : id.as_string();
  }
  if (line.has("max_tokens")) {
    prompt.max_tokens = static_cast<std::uint32_t>(line.key("max_tokens").as_integer(1, kMaxTokens, "tokens"));
  }
  const int num_forms = line.has("prompt") + line.has("prefix") + line.has("messages") + line.has("ids");
  if (num_forms != 1) line.fail_expected("one of prompt, prefix with suffix, messages, ids");
  if (line.has("prompt")) prompt.text = line.key("prompt").as_string();
  if (line.has("prefix")) prompt.text = line.key("prefix").as_string() + line.key("suffix").as_string();
  if (line.has("messages")) prompt.text = tokenizer.apply_chat_template(read_messages(line.key("messages")));
  if (line.has("ids")) prompt.ids = read_ids(line.key("ids"));
  if (prompt.text.empty() && prompt.ids.empty()) line.fail_expected("a prompt that is not empty");
  return prompt;
}

/// Calls use(line, number of the line that is not empty, where it is).
template <typename Use>
void for_each_line(const std::filesystem::path& file, Use&& use) {
  std::ifstream in(file);
  if (!in) throw ConfigError(fmt::format("{}: cannot open the file of requests", file.string()));
  std::string text;
  std::size_t count = 0;
  for (std::size_t number = 1; std::getline(in, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string origin = fmt::format("{}: line {}", file.string(), number);
    const Json json = parse_json(text, origin);
    use(JsonValue(json, origin), count++);
  }
  if (count == 0) throw ConfigError(fmt::format("{}: no requests in it", file.string()));
}

/// The line's number among those before it; of two with one id, the later.
std::size_t find_continued(const JsonValue& line, const std::vector<Prompt>& before) {
  if (!line.has("prompt") && !line.has("ids")) line.fail_expected("prompt or ids with continues");
  const JsonValue wanted = line.key("continues");
  const std::string name = wanted.json().is_number_integer() ? wanted.json().dump() : wanted.as_string();
  for (std::size_t i = before.size(); i-- > 0;) {
    if (before[i].name == name) return i;
  }
  wanted.fail_expected("the id of an earlier line");
}

}  // namespace

std::vector<Prompt> read_prompts(const std::filesystem::path& file, const Tokenizer& tokenizer,
                                 std::uint32_t default_max_tokens) {
  std::vector<Prompt> prompts;
  for_each_line(file, [&](const JsonValue& line, std::size_t number) {
    line.require_object().refuse_unknown_keys(
        {"id", "prompt", "prefix", "suffix", "messages", "ids", "max_tokens", "continues"});
    Prompt prompt = read_prompt(line, tokenizer, number, default_max_tokens);
    if (line.has("continues")) prompt.continues = find_continued(line, prompts);
    prompts.push_back(std::move(prompt));
  });
  return prompts;
}

std::vector<Prompt> read_prefixes(const std::filesystem::path& file, const Tokenizer& tokenizer) {
  std::vector<Prompt> prefixes;
  for_each_line(file, [&](const JsonValue& line, std::size_t number) {
    Prompt prefix{.name = std::to_string(number)};
    if (line.require_object().has("continues")) line.fail("continues: the answer before it is not known here");
    if (line.has("prefix")) {
      prefix.text = line.key("prefix").as_string();
    } else {
      prefix = read_prompt(line, tokenizer, number, 1);
    }
    const auto same = [&](const Prompt& other) { return other.text == prefix.text && other.ids == prefix.ids; };
    if (std::none_of(prefixes.begin(), prefixes.end(), same)) prefixes.push_back(std::move(prefix));
  });
  return prefixes;
}

}  // namespace reprefill::engine
