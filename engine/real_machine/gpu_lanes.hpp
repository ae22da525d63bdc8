// Streams of a GPU as lanes: one thread submits for all of them, another waits for what was submitted.
#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "engine/gpu/gpu_memory.hpp"
#include "engine/real_machine/clock.hpp"
#include "engine/real_machine/completion_queue.hpp"
#include "engine/real_machine/lane.hpp"

namespace reprefill::engine {

enum class GpuLaneKind : std::uint8_t { compute, gather, copy, device_to_host };
inline constexpr std::size_t kNumGpuLanes = 4;

/// Jobs are submitted in the order in which they were enqueued, whatever their lane, so that a job can name others that
/// it runs behind before they are done. Spans are measured by events.
class GpuLanes {
 public:
  /// `compute` is the executor's stream. With `synchronous` the device is waited for after every job, as the published
  /// prototypes do (semantics 4).
  GpuLanes(Gpu& gpu, cudaStream_t compute, bool synchronous, CompletionQueue& completions, const RunClock& clock);
  ~GpuLanes();
  GpuLanes(const GpuLanes&) = delete;
  GpuLanes& operator=(const GpuLanes&) = delete;

  Lane& lane(GpuLaneKind kind) { return lanes_[static_cast<std::size_t>(kind)]; }
  cudaStream_t stream(GpuLaneKind kind) const { return lanes_[static_cast<std::size_t>(kind)].stream; }
  void stop();

 private:
  struct StreamLane final : Lane {
    void enqueue(LaneJob& job) override { owner->enqueue(job, *this); }
    void stop() override { owner->stop(); }
    bool is_stream() const override { return !owner->synchronous_; }
    GpuMarkRef new_mark() const override;
    GpuLanes* owner = nullptr;
    GpuStream own;  // the executor's lane has none
    cudaStream_t stream = nullptr;
  };
  struct Queued {
    LaneJob* job = nullptr;
    StreamLane* lane = nullptr;
  };
  struct Submitted {
    LaneJob* job = nullptr;
    GpuEventRef start;
    Nanoseconds recorded{0};  // just before that
    GpuEventRef end;
    std::exception_ptr failure;
  };

  void enqueue(LaneJob& job, StreamLane& lane);
  void submit_all();
  Submitted submit(const Queued& queued);
  void wait_all();
  LaneCompletion wait(Submitted& submitted);
  void keep_between(const GpuEvent& start, Nanoseconds recorded, const GpuEvent& end, Nanoseconds waited);
  void follow_clock(const GpuEventRef& end, Nanoseconds end_time);
  Nanoseconds time_of(const GpuEvent& event);

  Gpu& gpu_;
  bool synchronous_;
  CompletionQueue& completions_;
  const RunClock& clock_;
  std::array<StreamLane, kNumGpuLanes> lanes_;

  // An event and its time on the run's clock; replaced now and then, since distances between events lose precision and
  // clocks drift.
  GpuEventRef anchor_;
  Nanoseconds anchor_time_{0};
  Nanoseconds least_lag_{0};  // since then, from an event's time to the end of the wait for it
  std::size_t num_waits_ = 0;

  std::mutex mutex_;
  std::condition_variable to_submit_, to_wait_;
  std::deque<Queued> queued_;
  std::deque<Submitted> submitted_;
  bool stopping_ = false;
  bool all_submitted_ = false;
  std::thread submitter_, waiter_;
};

}  // namespace reprefill::engine
