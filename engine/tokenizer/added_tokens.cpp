#include "engine/tokenizer/added_tokens.hpp"

namespace reprefill::engine {

void AddedTokens::add(AddedToken token) {
  by_first_byte_[static_cast<unsigned char>(token.content.front())].push_back(tokens_.size());
  tokens_.push_back(std::move(token));
}

const AddedToken* AddedTokens::match(std::string_view text) const {
  const AddedToken* longest = nullptr;
  for (const std::size_t i : by_first_byte_[static_cast<unsigned char>(text.front())]) {
    const AddedToken& token = tokens_[i];
    if (!text.starts_with(token.content)) continue;
    if (longest == nullptr || token.content.size() > longest->content.size()) longest = &token;
  }
  return longest;
}

void AddedTokens::split(std::string_view text, const std::function<void(std::string_view)>& on_text,
                        const std::function<void(std::int32_t)>& on_token) const {
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* token = match(text.substr(at));
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
