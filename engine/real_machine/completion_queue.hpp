// Finished work on its way to the driver thread.
#pragma once

#include <exception>
#include <mutex>
#include <vector>

#include "core/base/units.hpp"

namespace reprefill::engine {

class LaneJob;

struct LaneCompletion {
  LaneJob* job = nullptr;
  Nanoseconds start{0};
  Nanoseconds end{0};
  std::exception_ptr failure;
};

/// Pushed to from any thread, drained by one. An eventfd is readable while something waits, so that the driver can
/// block on it together with the ring's. Throws MachineError where eventfd does.
class CompletionQueue {
 public:
  CompletionQueue();
  ~CompletionQueue();
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  void push(LaneCompletion completion);
  /// Appends what waits to `out`.
  void drain(std::vector<LaneCompletion>& out);
  bool has_any();
  int event_fd() const { return event_fd_; }

 private:
  std::mutex mutex_;
  std::vector<LaneCompletion> waiting_;
  int event_fd_ = -1;
};

}  // namespace reprefill::engine
