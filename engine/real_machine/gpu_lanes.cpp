#include "engine/real_machine/gpu_lanes.hpp"

#include <pthread.h>

namespace reprefill::engine {

struct GpuMark {
  GpuEventRef end;  // written and read by the submitting thread only
};

namespace {

/// CUDA gives distances in milliseconds as fp32: after half a second they are good to 0.03 us.
constexpr Nanoseconds kAnchorAge{500'000'000};
constexpr std::size_t kEnoughWaits = 8;
/// Ends that are closer are brought together by `follow_clock` alone, without a jump back.
constexpr Nanoseconds kMostLate{5'000};

}  // namespace

GpuLanes::GpuLanes(Gpu& gpu, cudaStream_t compute, bool synchronous, CompletionQueue& completions,
                   const RunClock& clock)
    : gpu_(gpu), synchronous_(synchronous), completions_(completions), clock_(clock) {
  for (StreamLane& lane : lanes_) {
    lane.owner = this;
    if (&lane != &lanes_.front()) lane.own = GpuStream(gpu);
    lane.stream = &lane == &lanes_.front() ? compute : lane.own;
  }
  gpu_.synchronize(compute);
  anchor_ = gpu_.record(compute);
  gpu_.synchronize(*anchor_);
  anchor_time_ = clock_.now();
  submitter_ = std::thread([this] { submit_all(); });
  waiter_ = std::thread([this] { wait_all(); });
  pthread_setname_np(submitter_.native_handle(), "rp-gpu");
  pthread_setname_np(waiter_.native_handle(), "rp-gpu-wait");
}

GpuLanes::~GpuLanes() { stop(); }

void GpuLanes::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    queued_.clear();
  }
  to_submit_.notify_one();
  if (submitter_.joinable()) submitter_.join();
  if (waiter_.joinable()) waiter_.join();
}

GpuMarkRef GpuLanes::StreamLane::new_mark() const { return std::make_shared<GpuMark>(); }

void GpuLanes::enqueue(LaneJob& job, StreamLane& lane) {
  {
    const std::lock_guard lock(mutex_);
    queued_.push_back({&job, &lane});
  }
  to_submit_.notify_one();
}

void GpuLanes::submit_all() {
  for (;;) {
    Queued next;
    {
      std::unique_lock lock(mutex_);
      to_submit_.wait(lock, [this] { return stopping_ || !queued_.empty(); });
      if (stopping_) {
        all_submitted_ = true;
        to_wait_.notify_one();
        return;
      }
      next = queued_.front();
      queued_.pop_front();
    }
    Submitted submitted = submit(next);
    {
      const std::lock_guard lock(mutex_);
      submitted_.push_back(std::move(submitted));
    }
    to_wait_.notify_one();
  }
}

GpuLanes::Submitted GpuLanes::submit(const Queued& queued) {
  Submitted submitted{.job = queued.job, .start = nullptr, .recorded = {}, .end = nullptr, .failure = nullptr};
  try {
    for (const GpuMarkRef& mark : queued.job->after) {
      if (mark->end) gpu_.wait(queued.lane->stream, *mark->end);
    }
    submitted.recorded = clock_.now();
    submitted.start = gpu_.record(queued.lane->stream);
    if (queued.job->work) queued.job->work();
    submitted.end = gpu_.record(queued.lane->stream);
    if (queued.job->mark) queued.job->mark->end = submitted.end;
    if (synchronous_) gpu_.synchronize_device();
  } catch (...) {
    submitted.failure = std::current_exception();
  }
  return submitted;
}

void GpuLanes::wait_all() {
  for (;;) {
    Submitted next;
    {
      std::unique_lock lock(mutex_);
      to_wait_.wait(lock, [this] { return all_submitted_ || !submitted_.empty(); });
      if (submitted_.empty()) return;
      next = std::move(submitted_.front());
      submitted_.pop_front();
    }
    completions_.push(wait(next));
  }
}

LaneCompletion GpuLanes::wait(Submitted& submitted) {
  LaneCompletion completion{.job = submitted.job, .start = {}, .end = {}, .failure = submitted.failure};
  try {
    if (!completion.failure) {
      gpu_.synchronize(*submitted.end);
      keep_between(*submitted.start, submitted.recorded, *submitted.end, clock_.now());
      completion.start = time_of(*submitted.start);
      completion.end = time_of(*submitted.end);
      follow_clock(submitted.end, completion.end);
      if (submitted.job->finish) submitted.job->finish();
    }
  } catch (...) {
    completion.failure = std::current_exception();
  }
  if (completion.failure) completion.start = completion.end = clock_.now();
  return completion;
}

/// Nothing starts before it was recorded nor ends after it was waited for. This brings the clocks together again at
/// once after a rest, in which they drifted apart unseen.
void GpuLanes::keep_between(const GpuEvent& start, Nanoseconds recorded, const GpuEvent& end, Nanoseconds waited) {
  anchor_time_ += std::max(Nanoseconds{0}, recorded - time_of(start));
  const Nanoseconds late = time_of(end) - waited;
  if (late > kMostLate) anchor_time_ -= late;
}

/// The device's clock and the host's drift apart by microseconds a second. An event was over when its wait ended, so of
/// several waits the shortest says how far they are apart now; a single one may have been late.
void GpuLanes::follow_clock(const GpuEventRef& end, Nanoseconds end_time) {
  const Nanoseconds now = clock_.now();
  least_lag_ = num_waits_ == 0 ? now - end_time : std::min(least_lag_, now - end_time);
  ++num_waits_;
  if (now - anchor_time_ <= kAnchorAge) return;
  anchor_ = end;
  anchor_time_ = end_time + (num_waits_ >= kEnoughWaits ? least_lag_ : std::min(Nanoseconds{0}, least_lag_));
  num_waits_ = 0;
}

Nanoseconds GpuLanes::time_of(const GpuEvent& event) { return anchor_time_ + gpu_.between(*anchor_, event); }

}  // namespace reprefill::engine
