#include "traces/workload/block_table.hpp"

#include <cstdint>
#include <limits>
#include <map>

#include <gtest/gtest.h>

#include "core/base/random.hpp"

namespace reprefill::traces::detail {
namespace {

TEST(BlockTable, KeepsIdsOnBothSidesOfTheDenseLimitApart) {
  BlockTable<int> table(8);
  table[7] = 1;
  table[8] = 2;
  table[0] = 3;
  table[std::numeric_limits<std::uint64_t>::max()] = 4;
  EXPECT_EQ(table[7], 1);
  EXPECT_EQ(table[8], 2);
  EXPECT_EQ(table[0], 3);
  EXPECT_EQ(table[std::numeric_limits<std::uint64_t>::max()], 4);
  EXPECT_EQ(table[3], 0) << "an id that was never written has the default";
}

TEST(BlockTable, WithoutADenseLimitIsAMapOfEverything) {
  BlockTable<int> table(0);
  table[0] = 5;
  EXPECT_EQ(table[0], 5);
}

TEST(BlockTable, AgreesWithAPlainMap) {
  RandomStream random(1, 0, "block_table_test");
  BlockTable<std::uint64_t> table(500);
  std::map<std::uint64_t, std::uint64_t> reference;
  for (std::uint64_t step = 1; step <= 20'000; ++step) {
    const std::uint64_t id = random.below(1000);
    ASSERT_EQ(table[id], reference[id]);
    table[id] = reference[id] = step;
  }
}

}  // namespace
}  // namespace reprefill::traces::detail
