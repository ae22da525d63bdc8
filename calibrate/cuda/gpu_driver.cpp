#include "calibrate/cuda/gpu_driver.hpp"

#include <poll.h>

#include "core/base/error.hpp"

namespace reprefill::calibrate {
namespace {

engine::GpuLaneKind kind_of(StepLane lane) {
  switch (lane) {
    case StepLane::gather:
      return engine::GpuLaneKind::gather;
    case StepLane::copy:
      return engine::GpuLaneKind::copy;
    case StepLane::device_to_host:
      return engine::GpuLaneKind::device_to_host;
    default:
      return engine::GpuLaneKind::compute;
  }
}

engine::Gpu& gpu_of(engine::Executor& executor) {
  REPREFILL_CHECK(executor.gpu() != nullptr, "{} has no GPU to drive", executor.describe());
  return *executor.gpu();
}

}  // namespace

GpuDriver::GpuDriver(engine::Executor& executor)
    : executor_(executor),
      copier_(gpu_of(executor)),
      host_("rp-host", completions_, clock_),
      lanes_(*executor.gpu(), executor.stream(), false, completions_, clock_) {}

cudaStream_t GpuDriver::stream(StepLane lane) const { return lanes_.stream(kind_of(lane)); }

engine::Lane& GpuDriver::lane_of(StepLane lane) {
  if (lane == StepLane::host) return host_;
  return lanes_.lane(kind_of(lane));
}

std::vector<StepTimes> GpuDriver::run(std::span<const Step> steps) {
  std::vector<engine::LaneJob> jobs(steps.size());
  std::vector<StepTimes> times(steps.size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    engine::Lane& lane = lane_of(steps[i].lane);
    jobs[i].work = steps[i].work;
    jobs[i].finish = steps[i].finish;
    jobs[i].lane = &lane;
    jobs[i].mark = lane.new_mark();
    times[i].enqueued = clock_.now();
    lane.enqueue(jobs[i]);
  }
  std::exception_ptr failure;
  std::vector<engine::LaneCompletion> done;
  for (std::size_t num_done = 0; num_done < steps.size(); num_done += done.size()) {
    pollfd event{.fd = completions_.event_fd(), .events = POLLIN, .revents = 0};
    ::poll(&event, 1, -1);
    done.clear();
    completions_.drain(done);
    for (const engine::LaneCompletion& completion : done) {
      StepTimes& step = times[static_cast<std::size_t>(completion.job - jobs.data())];
      step.start = completion.start;
      step.end = completion.end;
      step.drained = clock_.now();
      if (completion.failure && !failure) failure = completion.failure;
    }
  }
  if (failure) std::rethrow_exception(failure);
  return times;
}

}  // namespace reprefill::calibrate
