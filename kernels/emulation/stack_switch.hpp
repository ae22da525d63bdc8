// Switching between the stacks of fibers. ucontext alone would do, but its system call per switch is half the time of a
// test run.
#pragma once

#include <cstddef>

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace reprefill::kernels::emulation {

/// Where a fiber, or the thread that schedules them, goes on when it is switched to.
class SavedStack {
 public:
  /// Prepares a fiber: `entry` runs from its beginning, on `stack`, at the first switch. It must never return.
  void start(std::byte* stack, std::size_t num_bytes, void (*entry)());
  /// Saves here and goes on there; returns when somebody switches back.
  void switch_to(SavedStack& other);

 private:
#ifdef __x86_64__
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_{};
#endif
};

}  // namespace reprefill::kernels::emulation
