// Cuts text into the pieces that are merged by themselves, by the pattern in tokenizer.json.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace reprefill::engine {

/// A regular expression of the kind that Hugging Face's library gives to Oniguruma, run by PCRE2 (pattern.hpp). Letters
/// and numbers are those of Unicode 16, as in tokenizers 0.23.2; versions up to 0.21.0 know Unicode 14
/// (Oniguruma 6.9.8) and cut otherwise behind letters and around digits that were assigned since.
class PreTokenizer {
 public:
  /// Throws ConfigError, naming `origin`, for a pattern that is not supported.
  PreTokenizer(std::string_view pattern, std::string_view origin);

  /// Calls use(piece) for matches and for what lies between them, in order ("Isolated"). `text` is valid UTF-8.
  /// Thread-safe. Throws ConfigError for a pattern that tries too much, MachineError where matching runs out of memory.
  void split(std::string_view text, const std::function<void(std::string_view)>& use) const;

 private:
  struct FreeCode {
    void operator()(void* code) const;
  };
  std::unique_ptr<void, FreeCode> code_;
};

}  // namespace reprefill::engine
