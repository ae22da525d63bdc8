#include "engine/tokenizer/added_tokens.hpp"

#include <algorithm>

namespace reprefill::engine {

void AddedTokens::add(std::string content, std::int32_t id) {
  std::vector<std::size_t>& same_start = by_first_byte_[static_cast<unsigned char>(content.front())];
  const auto shorter = std::find_if(same_start.begin(), same_start.end(),
                                    [&](std::size_t i) { return tokens_[i].content.size() < content.size(); });
  same_start.insert(shorter, tokens_.size());
  tokens_.push_back({std::move(content), id});
}

const AddedTokens::Entry* AddedTokens::match(std::string_view text) const {
  for (const std::size_t i : by_first_byte_[static_cast<unsigned char>(text.front())]) {
    if (text.starts_with(tokens_[i].content)) return &tokens_[i];
  }
  return nullptr;
}

void AddedTokens::split(std::string_view text, const std::function<void(std::string_view)>& on_text,
                        const std::function<void(std::int32_t)>& on_token) const {
  std::size_t done = 0;
  for (std::size_t at = empty() ? text.size() : 0; at < text.size();) {
    const Entry* token = match(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    if (at > done) on_text(text.substr(done, at - done));
    on_token(token->id);
    at += token->content.size();
    done = at;
  }
  if (done < text.size()) on_text(text.substr(done));
}

}  // namespace reprefill::engine
