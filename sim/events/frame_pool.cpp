#include "sim/events/frame_pool.hpp"

#include <new>

namespace reprefill::sim::detail {

/// Frees a thread's lists when it ends. Frames that are destroyed later still, such as those of static objects, go
/// straight back to the system.
struct FramePool::Closer {
  Closer() = default;
  Closer(const Closer&) = delete;
  Closer& operator=(const Closer&) = delete;
  ~Closer() {
    state_ = State::closed;
    for (std::size_t i = 0; i < kNumClasses; ++i) {
      while (first_[i] != nullptr) {
        Block* block = first_[i];
        first_[i] = block->next;
        unpoison_memory(block, size_of_class(i));
        ::operator delete(block);
      }
    }
  }
};

bool FramePool::open() noexcept {
  if (state_ == State::closed) return false;
  thread_local Closer closer;
  static_cast<void>(&closer);  // odr-used: from now on the thread's end frees the lists
  state_ = State::open;
  return true;
}

void* FramePool::allocate_new(std::size_t size) {
  const std::size_t size_class = class_of(size);
  return ::operator new(size_class < kNumClasses ? size_of_class(size_class) : size);
}

void FramePool::release_to_system(void* frame) noexcept { ::operator delete(frame); }

}  // namespace reprefill::sim::detail
