// Where operations run, one after the other: a thread of the CPU, or a stream of a GPU.
#pragma once

#include <functional>
#include <memory>
#include <vector>

namespace reprefill::engine {

/// A place in a stream's order, filled in when the job is submitted to the device.
struct GpuMark;
using GpuMarkRef = std::shared_ptr<GpuMark>;

class Lane;

/// Work for a lane. The owner keeps it alive until its completion has been drained.
class LaneJob {
 public:
  virtual ~LaneJob() = default;
  std::function<void()> work;    // on the lane's thread; for a GPU it submits
  std::function<void()> finish;  // when what was submitted is done, before the completion; may be empty
  Lane* lane = nullptr;          // where it runs
  // Of lanes on a GPU:
  GpuMarkRef mark;                // its own
  std::vector<GpuMarkRef> after;  // jobs of other lanes that it runs behind
};

/// First in, first out. What a job throws travels with its completion.
class Lane {
 public:
  virtual ~Lane() = default;
  virtual void enqueue(LaneJob& job) = 0;
  /// Drops what has not begun and waits for what has; so does destruction. Nothing runs afterwards.
  virtual void stop() = 0;
  /// Whether jobs are enqueued in the order of a device, so that one may be enqueued before another is done.
  virtual bool is_stream() const { return false; }
  virtual GpuMarkRef new_mark() const { return nullptr; }
};

}  // namespace reprefill::engine
