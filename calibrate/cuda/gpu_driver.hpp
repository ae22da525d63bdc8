// The lanes of a session on a GPU, driven as the machine drives them, around nothing but what is to be timed.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "engine/executor/executor.hpp"
#include "engine/real_machine/completion_queue.hpp"
#include "engine/real_machine/copier.hpp"
#include "engine/real_machine/gpu_lanes.hpp"
#include "engine/real_machine/work_lane.hpp"

namespace reprefill::calibrate {

enum class StepLane : std::uint8_t { compute, gather, copy, device_to_host, host };

/// Work as an operation would hand it to its lane.
struct Step {
  StepLane lane = StepLane::compute;
  std::function<void()> work = nullptr;
  std::function<void()> finish = nullptr;  // when a device is done with it, on the thread that waited
};

/// All on one clock: events of the GPU are placed on it by the lanes, to a few microseconds.
struct StepTimes {
  Nanoseconds enqueued{0};
  Nanoseconds start{0};
  Nanoseconds end{0};
  Nanoseconds drained{0};  // the driver knows
  double service_ns() const { return static_cast<double>((end - start).value); }
  /// From the host's wish to its fulfilment on the device, as something that waits on the device sees it.
  double latency_ns() const { return std::max(0.0, static_cast<double>((end - enqueued).value)); }
};

class GpuDriver {
 public:
  explicit GpuDriver(engine::Executor& executor);

  /// Enqueues all steps at once, so that the host runs ahead of the device as it does between two decisions, and waits
  /// for all. Rethrows what a step threw once every step is over.
  std::vector<StepTimes> run(std::span<const Step> steps);
  StepTimes run(const Step& step) { return run({&step, 1}).front(); }

  engine::Executor& executor() const { return executor_; }
  engine::Gpu& gpu() const { return *executor_.gpu(); }
  /// Of a stream lane.
  cudaStream_t stream(StepLane lane) const;
  engine::GpuCopier& copier() { return copier_; }

 private:
  engine::Lane& lane_of(StepLane lane);

  engine::Executor& executor_;
  engine::CompletionQueue completions_;
  engine::RunClock clock_;
  engine::GpuCopier copier_;
  engine::WorkLane host_;
  engine::GpuLanes lanes_;
};

}  // namespace reprefill::calibrate
