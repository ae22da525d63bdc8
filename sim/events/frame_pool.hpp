// Memory of coroutine frames: freed frames are kept by size and handed out again.
#pragma once

#include <cstddef>

#include "sim/events/sanitizer.hpp"

namespace reprefill::sim::detail {

/// Each thread keeps its own lists, so that simulations on several threads never share one. Blocks come from operator
/// new: a frame freed on another thread than it was made on just changes lists. A thread frees its lists when it ends.
class FramePool {
 public:
  static void* allocate(std::size_t size) {
    const std::size_t size_class = class_of(size);
    if (size_class >= kNumClasses || first_[size_class] == nullptr) return allocate_new(size);
    Block* block = first_[size_class];
    first_[size_class] = block->next;
    unpoison_memory(block, size);
    return block;
  }
  static void release(void* frame, std::size_t size) noexcept {
    const std::size_t size_class = class_of(size);
    if (size_class >= kNumClasses || (state_ != State::open && !open())) return release_to_system(frame);
    Block* block = static_cast<Block*>(frame);
    block->next = first_[size_class];
    first_[size_class] = block;
    // Whoever uses a destroyed frame is caught in spite of the pool.
    poison_memory(block + 1, size_of_class(size_class) - sizeof(Block));
  }

 private:
  struct Block {
    Block* next;
  };
  static constexpr std::size_t kGranule = 64;
  static constexpr std::size_t kNumClasses = 32;  // frames above 2 KiB are not kept
  struct Closer;
  enum class State : unsigned char { unused, open, closed };  // closed: the thread is ending

  static std::size_t class_of(std::size_t size) { return (size - 1) / kGranule; }
  static std::size_t size_of_class(std::size_t size_class) { return (size_class + 1) * kGranule; }
  static void* allocate_new(std::size_t size);
  /// False if they are closed for good.
  static bool open() noexcept;
  static void release_to_system(void* frame) noexcept;

  // Trivial, hence reached without a guard on every call; a `Closer` is made when a thread frees its first frame.
  static constinit inline thread_local Block* first_[kNumClasses] = {};
  static constinit inline thread_local State state_ = State::unused;
};

/// Base of promise types whose frames come from the pool.
class PooledFrame {
 public:
  static void* operator new(std::size_t size) { return FramePool::allocate(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { FramePool::release(frame, size); }
};

}  // namespace reprefill::sim::detail
