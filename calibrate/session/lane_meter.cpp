#include "calibrate/session/lane_meter.hpp"

#include <poll.h>

#include <algorithm>

namespace reprefill::calibrate {

LaneTiming LaneMeter::run(std::function<void()> work) {
  engine::LaneJob job;
  job.work = std::move(work);
  job.lane = &lane_;
  job.mark = lane_.new_mark();
  const Nanoseconds handed_over = clock_.now();
  lane_.enqueue(job);
  done_.clear();
  while (done_.empty()) {
    pollfd event{.fd = completions_.event_fd(), .events = POLLIN, .revents = 0};
    ::poll(&event, 1, -1);
    completions_.drain(done_);
  }
  const Nanoseconds heard = clock_.now();
  const engine::LaneCompletion& completion = done_.front();
  if (completion.failure) std::rethrow_exception(completion.failure);
  // A device's clock meets the host's to a few microseconds.
  const auto nanoseconds = [](Nanoseconds from, Nanoseconds to) {
    return static_cast<double>(std::max<std::int64_t>(0, (to - from).value));
  };
  return {.start_ns = nanoseconds(handed_over, completion.start),
          .service_ns = nanoseconds(completion.start, completion.end),
          .notice_ns = nanoseconds(completion.end, heard)};
}

}  // namespace reprefill::calibrate
