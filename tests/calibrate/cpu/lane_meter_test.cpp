#include "calibrate/session/lane_meter.hpp"

#include <thread>

#include <gtest/gtest.h>

#include "core/base/error.hpp"

namespace reprefill::calibrate {
namespace {

TEST(LaneMeter, TimesTheWorkAndNotTheWayToItAndRunsItOnTheLane) {
  ThreadLaneMeter lane;
  std::thread::id where;
  const LaneTiming timing = lane.run([&] {
    where = std::this_thread::get_id();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  EXPECT_NE(where, std::this_thread::get_id());
  EXPECT_GE(timing.service_ns, 5e6);
  EXPECT_GT(timing.start_ns, 0);
  EXPECT_GT(timing.notice_ns, 0);
}

TEST(LaneMeter, WhatTheWorkThrowsReachesTheDriverAndTheLaneGoesOn) {
  ThreadLaneMeter lane;
  EXPECT_THROW(lane.run([] { throw MachineError("broken"); }), MachineError);
  bool ran = false;
  lane.run([&] { ran = true; });
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace reprefill::calibrate
