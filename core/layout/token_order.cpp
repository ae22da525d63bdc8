#include "core/layout/token_order.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/error.hpp"

namespace reprefill::layout {

TokenOrder::TokenOrder(std::uint32_t num_tokens) : token_at_(num_tokens) {
  std::iota(token_at_.begin(), token_at_.end(), 0u);
  place_of_ = token_at_;
}

std::optional<TokenOrder> TokenOrder::from_places(std::vector<std::uint32_t> token_at) {
  constexpr std::uint32_t kNowhere = ~0u;
  TokenOrder order;
  order.place_of_.assign(token_at.size(), kNowhere);
  for (std::uint32_t place = 0; place < token_at.size(); ++place) {
    const std::uint32_t token = token_at[place];
    if (token >= token_at.size() || order.place_of_[token] != kNowhere) return std::nullopt;
    order.place_of_[token] = place;
  }
  order.token_at_ = std::move(token_at);
  return order;
}

TokenOrder TokenOrder::by_importance(std::span<const float> importance) {
  for (const float value : importance) REPREFILL_CHECK(!std::isnan(value), "an importance that is not a number");
  TokenOrder order(static_cast<std::uint32_t>(importance.size()));
  std::stable_sort(order.token_at_.begin(), order.token_at_.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return importance[a] > importance[b]; });
  for (std::uint32_t place = 0; place < order.token_at_.size(); ++place)
    order.place_of_[order.token_at_[place]] = place;
  return order;
}

}  // namespace reprefill::layout
