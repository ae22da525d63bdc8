#include "engine/tokenizer/chat_template.hpp"

#include <cstdint>

#include "core/base/error.hpp"
#include "core/base/random.hpp"

namespace reprefill::engine {
namespace {

/// What stands around the default system message in both templates (\n as Jinja writes it, two characters).
constexpr std::string_view kBeforeDefault = R"('<|im_start|>system\n)";
constexpr std::string_view kAfterDefault = R"(<|im_end|>\n' }})";

/// Templates without their default system message: lengths and FNV-1a.
struct KnownTemplate {
  std::size_t bytes;
  std::uint64_t hash;
};
constexpr KnownTemplate kQwen25{2371, 0xc30e111fc4b600c5};
constexpr std::string_view kQwen2 =
    R"({% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %})"
    R"({{ '<|im_start|>system\n<|im_end|>\n' }}{% endif %})"
    R"({{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %})"
    R"({% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";

std::string without(std::string_view text, std::string_view part) {
  std::string rest;
  for (std::size_t found; !part.empty() && (found = text.find(part)) != std::string_view::npos;) {
    rest += text.substr(0, found);
    text.remove_prefix(found + part.size());
  }
  return rest.append(text);
}

bool is_known(std::string_view skeleton) {
  return skeleton == kQwen2 || (skeleton.size() == kQwen25.bytes && hash_name(skeleton) == kQwen25.hash);
}

}  // namespace

std::optional<std::string> default_system_of(std::string_view chat_template) {
  // Qwen2.5 opens a system message at three places; the one with its own end is the default.
  for (std::size_t at = 0; (at = chat_template.find(kBeforeDefault, at)) != std::string_view::npos;) {
    at += kBeforeDefault.size();
    const std::string_view rest = chat_template.substr(at);
    const std::string_view system = rest.substr(0, rest.find_first_of("'\\<{"));
    if (!rest.substr(system.size()).starts_with(kAfterDefault)) continue;
    if (is_known(without(chat_template, system))) return std::string(system);
  }
  return std::nullopt;
}

std::string write_chat(std::span<const ChatMessage> messages, std::string_view default_system) {
  if (messages.empty()) throw ConfigError("messages: found none; expected at least one");
  std::string text;
  const auto write = [&](std::string_view role, std::string_view content) {
    text += fmt::format("<|im_start|>{}\n{}<|im_end|>\n", role, content);
  };
  if (messages.front().role != "system") write("system", default_system);
  for (const ChatMessage& message : messages) {
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      throw ConfigError(
          fmt::format("messages: found the role \"{}\"; allowed: system, user, assistant (tool calls are "
                      "not supported)",
                      message.role));
    }
    write(message.role, message.content);
  }
  return text + "<|im_start|>assistant\n";
}

}  // namespace reprefill::engine
