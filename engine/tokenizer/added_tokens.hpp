// Tokens that are found literally in the text, before anything else.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace reprefill::engine {

struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool is_special = false;
};

/// Cuts a text at added tokens: the leftmost, of those that begin there the longest.
class AddedTokens {
 public:
  void add(AddedToken token);
  const std::vector<AddedToken>& tokens() const { return tokens_; }

  /// Calls text(part) for what lies between, token(id) for each found.
  void split(std::string_view text, const std::function<void(std::string_view)>& on_text,
             const std::function<void(std::int32_t)>& on_token) const;

 private:
  const AddedToken* match(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  std::array<std::vector<std::size_t>, 256> by_first_byte_;
};

}  // namespace reprefill::engine
