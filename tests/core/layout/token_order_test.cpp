#include "core/layout/token_order.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/random.hpp"

namespace reprefill::layout {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(TokenOrder, PutsTheMostImportantTokenFirst) {
  const std::vector<float> importance = {0.5f, 3, 0, 2};
  const TokenOrder order = TokenOrder::by_importance(importance);
  EXPECT_THAT(order.token_at(), ElementsAre(1, 3, 0, 2));
  EXPECT_THAT(order.place_of(), ElementsAre(2, 0, 3, 1));
}

TEST(TokenOrder, TiesKeepTheTokensOwnOrder) {
  const std::vector<float> importance = {1, 2, 1, 2, 1};
  EXPECT_THAT(TokenOrder::by_importance(importance).token_at(), ElementsAre(1, 3, 0, 2, 4));
}

TEST(TokenOrder, RefusesAnImportanceThatIsNoNumber) {
  const std::vector<float> importance = {1, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THROW(TokenOrder::by_importance(importance), InvariantError);
}

TEST(TokenOrder, OfNoTokensIsEmpty) {
  EXPECT_THAT(TokenOrder::by_importance({}).place_of(), IsEmpty());
  EXPECT_EQ(TokenOrder(0), TokenOrder());
}

TEST(TokenOrder, FromAFileIsRefusedUnlessEachTokenIsThereOnce) {
  EXPECT_TRUE(TokenOrder::from_places({}));
  EXPECT_TRUE(TokenOrder::from_places({0}));
  EXPECT_TRUE(TokenOrder::from_places({2, 0, 1}));
  EXPECT_FALSE(TokenOrder::from_places({1}));
  EXPECT_FALSE(TokenOrder::from_places({0, 0}));
  EXPECT_FALSE(TokenOrder::from_places({0, 1, 0xffffffff}));
}

TEST(TokenOrder, PlacesAndTokensAreInverse) {
  RandomStream random(3, 0, "token order");
  for (const std::uint32_t num_tokens : {1u, 2u, 64u, 989u}) {
    std::vector<float> importance(num_tokens);
    for (float& value : importance) value = static_cast<float>(random.below(20));
    const TokenOrder order = TokenOrder::by_importance(importance);
    for (std::uint32_t place = 0; place < num_tokens; ++place) {
      ASSERT_EQ(order.place_of()[order.token_at()[place]], place);
      if (place == 0) continue;
      ASSERT_GE(importance[order.token_at()[place - 1]], importance[order.token_at()[place]]);
    }
    EXPECT_EQ(TokenOrder::from_places({order.token_at().begin(), order.token_at().end()}), order);
    EXPECT_EQ(TokenOrder::by_importance(std::vector<float>(num_tokens, 1)), TokenOrder(num_tokens));
  }
}

}  // namespace
}  // namespace reprefill::layout
