// Byte-level BPE as Qwen2 and Qwen2.5 use it, from the published tokenizer.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace reprefill::engine {

struct ChatMessage {
  std::string role;  // system, user or assistant
  std::string content;
};

enum class SpecialTokens : std::uint8_t { keep, skip };

/// Thread-safe after `open`.
class Tokenizer {
 public:
  /// Reads tokenizer.json and, if it is there, tokenizer_config.json beside it (for the chat template). Whatever would
  /// change ids and is not supported is refused with its place in the file. Throws ConfigError.
  static Tokenizer open(const std::filesystem::path& tokenizer_json);
  /// The same for text in memory; `origin` names it in messages.
  static Tokenizer parse(std::string_view tokenizer_json, std::string_view origin);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of a UTF-8 text; nothing is added at either end. Throws ConfigError naming the byte where it is not UTF-8.
  std::vector<std::int32_t> encode(std::string_view text) const;
  /// Bytes of the ids' tokens; what is not UTF-8 becomes U+FFFD, as in the original. Throws ConfigError for an id that
  /// there is not.
  std::string decode(std::span<const std::int32_t> ids, SpecialTokens special = SpecialTokens::keep) const;
  /// The bytes themselves, which need not be UTF-8.
  std::string_view token_bytes(std::int32_t id) const;

  /// One more than the largest id.
  std::int32_t num_ids() const;
  /// Throws ConfigError where a model's embedding has fewer rows than there are ids.
  void check_against_vocab(std::int64_t embedding_rows) const;

  /// The messages in the form of the Qwen2.5 instruct models (ChatML), up to where the assistant speaks. Throws
  /// ConfigError where the tokenizer has no chat template or another one.
  std::string apply_chat_template(std::span<const ChatMessage> messages) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace reprefill::engine
