// Byte-level BPE as Qwen2 and Qwen2.5 use it, from the published tokenizer.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/chat_template.hpp"

namespace reprefill::engine {

enum class SpecialTokens : std::uint8_t { keep, skip };

/// Ids equal those of Hugging Face's tokenizers, on whose engines' Unicode versions see pre_tokenizer.hpp and
/// unicode.hpp. Thread-safe after `open`.
class Tokenizer {
 public:
  /// Reads tokenizer.json and, if it is there, tokenizer_config.json beside it (for the chat template; it may not
  /// contradict tokenizer.json). Whatever would change ids and is not supported is refused with its place in the file.
  /// Throws ConfigError.
  static Tokenizer open(const std::filesystem::path& tokenizer_json);
  /// tokenizer.json alone, from memory; `origin` names it in messages.
  static Tokenizer parse(std::string_view tokenizer_json, std::string_view origin);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of a UTF-8 text of at most 1 GiB; nothing is added at either end. Added tokens in the text are found, special
  /// ones too. Throws ConfigError naming the byte where it is not UTF-8: the original takes nothing else either.
  std::vector<std::int32_t> encode(std::string_view text) const;
  /// The ids' tokens as text; what is not UTF-8 becomes U+FFFD, as in the original. Throws ConfigError for an id that
  /// there is not (the original leaves such ids out).
  std::string decode(std::span<const std::int32_t> ids, SpecialTokens special = SpecialTokens::keep) const;

  /// The bytes that an id stands for, which need not be UTF-8.
  std::string_view token_bytes(std::int32_t id) const;
  /// A token as the file writes it ("Ġthe"), and the reverse.
  std::string_view token_of(std::int32_t id) const;
  std::optional<std::int32_t> id_of(std::string_view token) const;

  /// One more than the largest id; there are no holes.
  std::int32_t num_ids() const;
  /// Ids of the tokens marked special, ascending.
  std::span<const std::int32_t> special_ids() const;
  bool is_special(std::int32_t id) const;
  /// Throws ConfigError where a model's embedding has fewer rows than there are ids.
  void check_against_vocab(std::int64_t embedding_rows) const;

  /// The messages in the form of the Qwen2 and Qwen2.5 instruct models (ChatML), up to where the assistant speaks.
  /// Throws ConfigError where the tokenizer has no chat template or another one, and for roles of tool calls.
  std::string apply_chat_template(std::span<const ChatMessage> messages) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Text of ids that come one by one: holds back what is not a whole character yet. All that it returns, in order, is
/// what `decode` gives. The tokenizer must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, SpecialTokens special = SpecialTokens::keep)
      : tokenizer_(&tokenizer), special_(special) {}
  std::string add(std::int32_t id);
  /// What was held back, as U+FFFD.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  SpecialTokens special_;
  std::string held_back_;
};

}  // namespace reprefill::engine
