// A tolerance that a broken implementation passes tests nothing: these broken ones must fail it by far.
#include "tests/engine/executor/comparison.hpp"

#include <gtest/gtest.h>

#include "tests/engine/executor/attention_fixture.hpp"

namespace reprefill::engine::test {
namespace {

double error_of(const Fault& fault) {
  RandomLayer layer({.num_query_heads = 14, .num_kv_heads = 2, .page_tokens = {64, 100}, .num_own = 9});
  layer.mask_at_random(0.8);
  PlainAttention broken = layer.plain();
  broken.fault = fault;
  return relative_error(broken.outputs(), layer.plain().outputs());
}

TEST(RelativeError, IsZeroForEqualAndInfiniteForWhatCannotBeCompared) {
  const std::vector<double> values = {1, -2, 3};
  EXPECT_EQ(relative_error(values, values), 0);
  EXPECT_EQ(relative_error(std::vector<float>{1, 2}, values), std::numeric_limits<double>::infinity());
  EXPECT_EQ(relative_error(std::vector<float>{1, std::nanf(""), 3}, values), std::numeric_limits<double>::infinity());
  EXPECT_EQ(relative_error(std::vector<float>{1, INFINITY, 3}, values), std::numeric_limits<double>::infinity());
}

TEST(RelativeError, JudgesByTheScaleOfTheRow) {
  const std::vector<double> expected = {3, 0, 4, 0};  // root mean square 2.5
  EXPECT_DOUBLE_EQ(relative_error(std::vector<double>{3, 0.25, 4, 0}, expected), 0.1);
}

TEST(RelativeError, OfDeliberatelyBrokenAttentionIsFarAboveTheBound) {
  EXPECT_EQ(error_of({}), 0);
  EXPECT_GT(error_of({.scale_factor = 1.01}), 100 * kAttentionBound);
  EXPECT_GT(error_of({.ignores_masks = true}), 100 * kAttentionBound);
  EXPECT_GT(error_of({.sees_own_future = true}), 100 * kAttentionBound);
}

}  // namespace
}  // namespace reprefill::engine::test
