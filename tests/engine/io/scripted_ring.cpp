#include "tests/engine/io/scripted_ring.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include "core/base/error.hpp"

namespace reprefill::engine {

ScriptedRing::ScriptedRing(RingScript& script) : script_(script), event_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ScriptedRing::~ScriptedRing() { ::close(event_fd_); }

void ScriptedRing::complete(std::size_t index_in_waiting) {
  const RingRead read = script_.waiting.at(index_in_waiting);
  script_.waiting.erase(script_.waiting.begin() + static_cast<std::ptrdiff_t>(index_in_waiting));
  int result = script_.result(read);
  if (result > 0 && script_.moves_bytes) {
    result = static_cast<int>(::pread(descriptors_.at(static_cast<std::size_t>(read.file)), read.destination,
                                      static_cast<std::size_t>(result), static_cast<off_t>(read.offset)));
  }
  completions_.push_back({.tag = read.tag, .result = result});
  ::eventfd_write(event_fd_, 1);
}

void ScriptedRing::complete_all() {
  while (!script_.waiting.empty()) complete(0);
}

int ScriptedRing::submit() {
  const int taken = script_.submit(prepared_.size());
  for (int i = 0; i < taken; ++i) {
    script_.begun.push_back(prepared_.front());
    script_.waiting.push_back(prepared_.front());
    prepared_.erase(prepared_.begin());
  }
  script_.most_waiting = std::max(script_.most_waiting, script_.waiting.size());
  return taken;
}

std::optional<RingCompletion> ScriptedRing::next_completion() {
  if (completions_.empty()) return std::nullopt;
  const RingCompletion completion = completions_.front();
  completions_.erase(completions_.begin());
  return completion;
}

void ScriptedRing::wait() {
  if (!completions_.empty()) return;
  REPREFILL_CHECK(!script_.waiting.empty(), "the reader waits for a read that the ring does not have");
  complete(0);
}

}  // namespace reprefill::engine
