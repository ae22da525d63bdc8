#include "core/base/units.hpp"

#include <gtest/gtest.h>

#include "core/base/random.hpp"

namespace reprefill {
namespace {

TEST(TransferTime, IsRoundedUpToTheNanosecondOfTheLastByte) {
  EXPECT_EQ(transfer_time(Bytes{0}, BytesPerSecond{1e9}), Nanoseconds{0});
  EXPECT_EQ(transfer_time(Bytes{4096}, BytesPerSecond{1e9}), Nanoseconds{4096});
  EXPECT_EQ(transfer_time(Bytes{1}, BytesPerSecond{3e9}), Nanoseconds{1});
  EXPECT_EQ(transfer_time(Bytes{10}, BytesPerSecond{3e9}), Nanoseconds{4});
  EXPECT_EQ(transfer_time(Bytes{1'000'000'000}, BytesPerSecond{1}), Nanoseconds{1'000'000'000'000'000'000});
}

TEST(TransferTime, IsNotANanosecondLongWhereSecondsAreNotExact) {
  // 7 / 1e9 seconds times 1e9 is 7.000000000000001.
  for (std::uint64_t bytes = 0; bytes < 100'000; ++bytes) {
    ASSERT_EQ(transfer_time(Bytes{bytes}, BytesPerSecond{1e9}), Nanoseconds{static_cast<std::int64_t>(bytes)});
  }
}

TEST(TransferTime, EqualsIntegerArithmetic) {
  RandomStream random(1, 0, "transfer");
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t bytes = random.below(4'000'000), rate = 1'000'000 + random.below(30'000'000'000);
    const std::uint64_t expected = (bytes * 1'000'000'000 + rate - 1) / rate;
    ASSERT_EQ(transfer_time(Bytes{bytes}, BytesPerSecond{static_cast<double>(rate)}),
              Nanoseconds{static_cast<std::int64_t>(expected)})
        << bytes << " B at " << rate << " B/s";
  }
}

TEST(TransferTime, IsExactForWholeGigabytes) {
  EXPECT_EQ(transfer_time(Bytes{3'999'999'999}, BytesPerSecond{1e9}), Nanoseconds{3'999'999'999});
  EXPECT_EQ(transfer_time(Bytes{14'900'000}, BytesPerSecond{7.45e9}), Nanoseconds{2'000'000});
}

TEST(TransferTime, ASlowdownStretchesIt) {
  EXPECT_EQ(transfer_time(Bytes{1000}, BytesPerSecond{1e9}, 1.5), Nanoseconds{1500});
  EXPECT_EQ(transfer_time(Bytes{1001}, BytesPerSecond{1e9}, 1.5), Nanoseconds{1502});
}

TEST(Units, ArithmeticKeepsTheUnit) {
  EXPECT_EQ(3 * Bytes{4} + Bytes{1} - Bytes{2}, Bytes{11});
  EXPECT_EQ(Nanoseconds{5} * 3 - Nanoseconds{20}, Nanoseconds{-5});
  EXPECT_LT(Nanoseconds{-1}, Nanoseconds{0});
  EXPECT_EQ(to_milliseconds(Nanoseconds{1'500'000}), 1.5);
  EXPECT_EQ(divide_rounding_up<std::uint64_t>(0, 16), 0u);
  EXPECT_EQ(divide_rounding_up<std::uint64_t>(16, 16), 1u);
  EXPECT_EQ(divide_rounding_up<std::uint64_t>(17, 16), 2u);
}

}  // namespace
}  // namespace reprefill
