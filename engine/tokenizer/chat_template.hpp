// The chat form of the Qwen2 and Qwen2.5 instruct models (ChatML), and how their published templates are known.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace reprefill::engine {

struct ChatMessage {
  std::string role;  // system, user or assistant
  std::string content;
};

/// The system message that a template puts before a conversation without one. nullopt where the template (Jinja, from
/// tokenizer_config.json) is neither Qwen2.5's nor Qwen2's, whatever its default system message.
std::optional<std::string> default_system_of(std::string_view chat_template);

/// What those templates write for messages without tools, up to where the assistant speaks. Throws ConfigError for no
/// messages and for another role: tool calls are not supported.
std::string write_chat(std::span<const ChatMessage> messages, std::string_view default_system);

}  // namespace reprefill::engine
