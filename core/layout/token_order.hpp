// The order in which a segment's tokens lie in its payload, where it is not their own: IMPRESS packs those that matter
// to many requests into the same blocks (reference 3.2).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace reprefill::layout {

/// Of one segment in one layer. Always a permutation of [0, num_tokens).
class TokenOrder {
 public:
  TokenOrder() = default;
  /// The tokens' own order.
  explicit TokenOrder(std::uint32_t num_tokens);
  /// From the token at each place. nullopt where that is no permutation: such numbers come from files.
  static std::optional<TokenOrder> from_places(std::vector<std::uint32_t> token_at);
  /// Descending; ties keep the tokens' own order. Throws InvariantError on NaN.
  static TokenOrder by_importance(std::span<const float> importance);

  std::uint32_t num_tokens() const { return static_cast<std::uint32_t>(token_at_.size()); }
  /// [place] -> token
  std::span<const std::uint32_t> token_at() const { return token_at_; }
  /// [token] -> place
  std::span<const std::uint32_t> place_of() const { return place_of_; }
  bool operator==(const TokenOrder&) const = default;

 private:
  std::vector<std::uint32_t> token_at_, place_of_;
};

}  // namespace reprefill::layout
