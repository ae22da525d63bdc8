// A thread that does one thing after the other: the CPU's counterpart of a stream.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "engine/real_machine/clock.hpp"
#include "engine/real_machine/completion_queue.hpp"
#include "engine/real_machine/lane.hpp"

namespace reprefill::engine {

class WorkLane final : public Lane {
 public:
  WorkLane(const char* name, CompletionQueue& completions, const RunClock& clock);
  ~WorkLane() override;
  WorkLane(const WorkLane&) = delete;
  WorkLane& operator=(const WorkLane&) = delete;

  void enqueue(LaneJob& job) override;
  void stop() override;

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
