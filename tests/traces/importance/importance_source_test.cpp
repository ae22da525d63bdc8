#include "traces/importance/importance_source.hpp"

#include <vector>

#include <gtest/gtest.h>

namespace reprefill::traces {
namespace {

TEST(ImportanceUnits, RestartAtEachSegment) {
  const std::vector<SegmentSpan> prefix = {{SegmentId{0}, 64}, {SegmentId{1}, 40}};
  EXPECT_EQ(num_units(prefix, 16), 4u + 3u);
  EXPECT_EQ(num_units(prefix, 64), 2u);
  EXPECT_EQ(num_units(prefix, 256), 2u);
  EXPECT_EQ(num_units(prefix, 1), 104u);
  EXPECT_EQ(total_tokens(prefix), 104u);
}

TEST(ImportanceUnits, AnEmptyPrefixOrSegmentHasNone) {
  EXPECT_EQ(num_units({}, 16), 0u);
  const std::vector<SegmentSpan> prefix = {{SegmentId{0}, 0}, {SegmentId{1}, 1}};
  EXPECT_EQ(num_units(prefix, 16), 1u);
}

TEST(ImportanceUnits, RefuseAUnitWithoutTokens) { EXPECT_THROW(num_units({}, 0), InvariantError); }

}  // namespace
}  // namespace reprefill::traces
