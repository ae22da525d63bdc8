// A thread that does one thing after the other: the CPU's counterpart of a stream.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "engine/real_machine/clock.hpp"
#include "engine/real_machine/completion_queue.hpp"

namespace reprefill::engine {

/// Work for a lane. The owner keeps it alive until its completion has been drained.
class LaneJob {
 public:
  virtual ~LaneJob() = default;
  std::function<void()> work;  // runs on the lane's thread
};

/// First in, first out. What a job throws travels with its completion.
class WorkLane {
 public:
  WorkLane(const char* name, CompletionQueue& completions, const RunClock& clock);
  ~WorkLane();
  WorkLane(const WorkLane&) = delete;
  WorkLane& operator=(const WorkLane&) = delete;

  void enqueue(LaneJob& job);
  /// Drops what has not begun and waits for what has; so does destruction. Nothing runs afterwards.
  void stop();

 private:
  void run();

  CompletionQueue& completions_;
  const RunClock& clock_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<LaneJob*> queue_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace reprefill::engine
