#include "engine/real_machine/completion_queue.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "core/base/error.hpp"

namespace reprefill::engine {

CompletionQueue::CompletionQueue() : event_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (event_fd_ < 0) throw MachineError(fmt::format("eventfd: {}", std::strerror(errno)));
}

CompletionQueue::~CompletionQueue() { close(event_fd_); }

void CompletionQueue::push(LaneCompletion completion) {
  {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(completion));
  }
  const std::uint64_t one = 1;
  // The counter cannot overflow: it is reset at every drain.
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof one);
}

void CompletionQueue::drain(std::vector<LaneCompletion>& out) {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(event_fd_, &count, sizeof count);  // EAGAIN: nothing was pushed
  const std::lock_guard lock(mutex_);
  out.insert(out.end(), std::make_move_iterator(waiting_.begin()), std::make_move_iterator(waiting_.end()));
  waiting_.clear();
}

bool CompletionQueue::has_any() {
  const std::lock_guard lock(mutex_);
  return !waiting_.empty();
}

}  // namespace reprefill::engine
