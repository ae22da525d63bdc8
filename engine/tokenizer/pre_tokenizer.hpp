// Cuts text into the pieces that are merged by themselves, by the pattern in tokenizer.json.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace reprefill::engine {

/// A regular expression of the kind that Hugging Face's library gives to Oniguruma, run by PCRE2. Classes are Unicode's;
/// \s is Unicode's White_Space, which PCRE2's own differs from in U+180E. Letters and numbers are those of PCRE2's
/// Unicode version (14 in Debian 12): characters assigned later count as neither.
class PreTokenizer {
 public:
  /// Throws ConfigError, naming `origin`, for a pattern that PCRE2 does not accept.
  PreTokenizer(std::string_view pattern, std::string_view origin);

  /// Calls use(piece) for matches and for what lies between them, in order ("Isolated"). `text` is valid UTF-8.
  /// Thread-safe.
  void split(std::string_view text, const std::function<void(std::string_view)>& use) const;

 private:
  struct FreeCode {
    void operator()(void* code) const;
  };
  std::unique_ptr<void, FreeCode> code_;
};

}  // namespace reprefill::engine
