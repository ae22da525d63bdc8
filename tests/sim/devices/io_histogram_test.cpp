#include "sim/devices/io_histogram.hpp"

#include <gtest/gtest.h>

namespace reprefill::sim {
namespace {

TEST(IoHistogram, ASizeBelongsToThePowerOfTwoBelowIt) {
  IoHistogram histogram;
  for (const std::uint64_t size : {4095, 4096, 8191, 8192}) histogram.count_read(Bytes{size});
  EXPECT_EQ(histogram.num_reads(11), 1u);
  EXPECT_EQ(histogram.num_reads(12), 2u);
  EXPECT_EQ(histogram.num_reads(13), 1u);
}

TEST(IoHistogram, TheEndsAreBucketsToo) {
  IoHistogram histogram;
  histogram.count_read(Bytes{0});
  histogram.count_read(Bytes{1});
  histogram.count_read(Bytes{~std::uint64_t{0}});
  EXPECT_EQ(histogram.num_reads(0), 2u);
  EXPECT_EQ(histogram.num_reads(IoHistogram::kNumBuckets - 1), 1u);
}

TEST(IoHistogram, TimeIsChargedToTheDepthThatLasted) {
  // depth: 0 until 10, 1 until 15, 3 until 40, 2 until 41, idle until 100
  IoHistogram histogram;
  histogram.set_depth(1, Nanoseconds{10});
  histogram.set_depth(3, Nanoseconds{15});
  histogram.set_depth(2, Nanoseconds{40});
  histogram.set_depth(0, Nanoseconds{41});
  histogram.set_depth(0, Nanoseconds{100});
  EXPECT_EQ(histogram.time_at_depth(0), Nanoseconds{5});
  EXPECT_EQ(histogram.time_at_depth(1), Nanoseconds{26});
  EXPECT_EQ(histogram.time_at_depth(2), Nanoseconds{0});
}

TEST(IoHistogram, WhatCameBeforeCanBeTakenOff) {
  IoHistogram histogram;
  histogram.count_read(Bytes{4096});
  histogram.set_depth(1, Nanoseconds{0});
  histogram.set_depth(1, Nanoseconds{10});
  const IoHistogram before = histogram;
  histogram.count_read(Bytes{4096});
  histogram.set_depth(0, Nanoseconds{25});
  EXPECT_EQ(histogram.since(before).num_reads(12), 1u);
  EXPECT_EQ(histogram.since(before).time_at_depth(0), Nanoseconds{15});
}

}  // namespace
}  // namespace reprefill::sim
