#include "engine/real_machine/work_lane.hpp"

#include <pthread.h>

namespace reprefill::engine {

WorkLane::WorkLane(const char* name, CompletionQueue& completions, const RunClock& clock)
    : completions_(completions), clock_(clock), thread_([this] { run(); }) {
  pthread_setname_np(thread_.native_handle(), name);  // a name for debuggers; its failure is of no consequence
}

WorkLane::~WorkLane() { stop(); }

void WorkLane::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void WorkLane::enqueue(LaneJob& job) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(&job);
  }
  wake_.notify_one();
}

void WorkLane::run() {
  for (;;) {
    LaneJob* job = nullptr;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      job = queue_.front();
      queue_.pop_front();
    }
    LaneCompletion completion{.job = job, .start = clock_.now(), .end = {}, .failure = nullptr};
    try {
      if (job->work) job->work();
      if (job->finish) job->finish();
    } catch (...) {
      completion.failure = std::current_exception();
    }
    completion.end = clock_.now();
    completions_.push(std::move(completion));
  }
}

}  // namespace reprefill::engine
