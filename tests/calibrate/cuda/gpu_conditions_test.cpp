#include "calibrate/cuda/gpu_conditions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace reprefill::calibrate {
namespace {

constexpr const char* kLine = "NVIDIA H100 80GB HBM3, 580.159.04, 1980, 2619, 41, 119.52, 4, 0, 0x0000000000000001\n";

TEST(GpuConditions, ALineOfNvidiaSmiIsRead) {
  const auto conditions = parse_gpu_conditions(kLine);
  ASSERT_TRUE(conditions.has_value());
  EXPECT_EQ(conditions->name, "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(conditions->sm_mhz, 1980);
  EXPECT_EQ(conditions->watts, 119.52);
  EXPECT_EQ(conditions->throttle_reasons, 1u);
  EXPECT_EQ(conditions->to_json()["celsius"], 41);
}

TEST(GpuConditions, WhatTheDeviceDoesNotShowIsAbsent) {
  const auto conditions = parse_gpu_conditions("X, 1, [N/A], [Not Supported], , 1x, 4, 0, 12");
  ASSERT_TRUE(conditions.has_value());
  EXPECT_FALSE(conditions->sm_mhz || conditions->memory_mhz || conditions->celsius || conditions->watts);
  EXPECT_EQ(conditions->used_mib, 4);
  EXPECT_FALSE(conditions->throttle_reasons.has_value());
  EXPECT_FALSE(conditions->to_json().contains("watts"));
}

TEST(GpuConditions, OtherTextIsNoReading) {
  for (const char* line : {"", "\n", "No devices were found", "a,b,c", ",1,2,3,4,5,6,7,8", "a,1,2,3,4,5,6,7,8,9"}) {
    EXPECT_FALSE(parse_gpu_conditions(line).has_value()) << line;
  }
}

TEST(GpuConditions, OtherProgramsAndThrottlingAreNoted) {
  GpuConditions before = *parse_gpu_conditions(kLine), after = before;
  EXPECT_TRUE(gpu_disturbances(before, after).empty()) << "idle is no throttling";
  before.busy_percent = 40;
  after.throttle_reasons = 0x20 | 0x4;
  EXPECT_THAT(gpu_disturbances(before, after),
              testing::ElementsAre(testing::HasSubstr("40 % busy"), testing::HasSubstr("power limit"),
                                   testing::HasSubstr("heat")));
}

}  // namespace
}  // namespace reprefill::calibrate
