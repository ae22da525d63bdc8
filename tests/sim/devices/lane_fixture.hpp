// Work on lanes that writes down when it ran.
#pragma once

#include <deque>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/devices/lanes.hpp"

namespace reprefill::sim {

/// One piece of work; kNone until it happens.
class RecordedWork final : public LaneClient {
 public:
  static constexpr std::int64_t kNone = -1;
  explicit RecordedWork(const Simulation& simulation) : simulation_(simulation) {}

  void on_lane_start() override { start = simulation_.now().value; }
  void on_lane_done() override {
    end = simulation_.now().value;
    if (then) then();
  }
  std::int64_t start = kNone;
  std::int64_t end = kNone;
  std::function<void()> then;

 private:
  const Simulation& simulation_;
};

class LaneTest : public testing::Test {
 protected:
  RecordedWork& enqueue(Lane& lane, Activity activity, std::int64_t duration_ns) {
    work_.emplace_back(simulation);
    lane.enqueue(work_.back(), activity, Nanoseconds{duration_ns});
    return work_.back();
  }
  void run_until(std::int64_t time_ns) { simulation.run_until(Nanoseconds{time_ns}); }

  Simulation simulation;

 private:
  std::deque<RecordedWork> work_;  // does not move what it holds
};

MATCHER_P2(Ran, start, end, "") {
  *result_listener << "ran from " << arg.start << " to " << arg.end;
  return arg.start == start && arg.end == end;
}

}  // namespace reprefill::sim
