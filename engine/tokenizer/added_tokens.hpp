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
  bool is_special = false;     // left out where a decoder skips special tokens; makes no difference to finding it
  bool is_normalised = false;  // looked for after normalisation instead of before
};

/// Cuts a text at added tokens: the leftmost, of those that begin there the longest.
class AddedTokens {
 public:
  /// `content` as it stands in the text, not empty.
  void add(std::string content, std::int32_t id);
  bool empty() const { return tokens_.empty(); }

  /// Calls on_text(part) for what lies between, which is never empty, and on_token(id) for each found, in order.
  void split(std::string_view text, const std::function<void(std::string_view)>& on_text,
             const std::function<void(std::int32_t)>& on_token) const;

 private:
  struct Entry {
    std::string content;
    std::int32_t id;
  };
  const Entry* match(std::string_view text) const;

  std::vector<Entry> tokens_;
  std::array<std::vector<std::size_t>, 256> by_first_byte_;  // longest first
};

}  // namespace reprefill::engine
