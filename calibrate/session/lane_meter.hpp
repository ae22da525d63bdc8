// Times work as the engine runs it: the driver hands it to a lane's thread or stream, sleeps, and is woken by its end.
#pragma once

#include <functional>

#include "engine/real_machine/work_lane.hpp"

namespace reprefill::calibrate {

struct LaneTiming {
  double start_ns = 0;    // from handing over until the work began
  double service_ns = 0;  // the work, by the lane's own clock
  double notice_ns = 0;   // from its end until the driver had heard of it
};

/// Of any lane: one that this owns, or another device's.
class LaneMeter {
 public:
  LaneMeter(engine::Lane& lane, engine::CompletionQueue& completions, const engine::RunClock& clock)
      : lane_(lane), completions_(completions), clock_(clock) {}
  /// Rethrows what the work throws.
  LaneTiming run(std::function<void()> work);

 private:
  engine::Lane& lane_;
  engine::CompletionQueue& completions_;
  const engine::RunClock& clock_;
  std::vector<engine::LaneCompletion> done_;
};

/// A thread of the CPU as a lane, with what it needs.
class ThreadLaneMeter {
 public:
  LaneTiming run(std::function<void()> work) { return meter_.run(std::move(work)); }

 private:
  engine::CompletionQueue completions_;
  engine::RunClock clock_;
  engine::WorkLane lane_{"calibrate", completions_, clock_};
  LaneMeter meter_{lane_, completions_, clock_};
};

}  // namespace reprefill::calibrate
