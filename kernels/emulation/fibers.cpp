#include "kernels/emulation/fibers.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <numeric>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "kernels/emulation/stack_switch.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define REPREFILL_ASAN_FIBERS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REPREFILL_ASAN_FIBERS 1
#endif
#endif
#ifdef REPREFILL_ASAN_FIBERS
#include <sanitizer/common_interface_defs.h>
#endif

namespace reprefill::kernels::emulation {
namespace {

constexpr unsigned kWarpLanes = 32;
constexpr std::size_t kStackBytes = 256 * 1024;  // ASan's frames are large; untouched pages cost nothing
constexpr std::size_t kSharedAlignment = 1024;

struct Barrier {
  unsigned expected = 0;
  unsigned arrived = 0;
  std::uint64_t generation = 0;
};

struct Warp {
  Barrier barrier;
  WarpFunction function = nullptr;
  void* operands[kWarpLanes] = {};
};

struct AsyncCopy {
  std::byte* to;
  const std::byte* from;
  std::size_t copied_bytes, zeroed_bytes;

  void run() const {
    if (copied_bytes > 0) std::memcpy(to, from, copied_bytes);
    std::memset(to + copied_bytes, 0, zeroed_bytes);
  }
};

struct Fiber {
  SavedStack saved;
  std::unique_ptr<std::byte[]> stack;
  Index3 thread;
  bool is_done = false;
  const Barrier* waits_at = nullptr;
  std::uint64_t waits_for_generation = 0;
  std::vector<AsyncCopy> open_copies;
  std::vector<std::vector<AsyncCopy>> groups;
  void* fake_stack = nullptr;  // ASan's

  /// Ready to run `entry` from its beginning.
  void start(const Index3& own_thread, void (*entry)()) {
    thread = own_thread;
    is_done = false;
    waits_at = nullptr;
    open_copies.clear();
    groups.clear();
    saved.start(stack.get(), kStackBytes, entry);
  }
  bool can_run() const { return !is_done && (waits_at == nullptr || waits_at->generation >= waits_for_generation); }
};

struct SharedMemoryDeleter {
  void operator()(std::byte* pointer) const { ::operator delete[](pointer, std::align_val_t{kSharedAlignment}); }
};

/// One block at a time; stacks are reused from block to block.
class Grid {
 public:
  Grid(const GridShape& shape, const std::function<void()>& body, const Schedule& schedule)
      : shape_(shape),
        body_(body),
        schedule_(schedule),
        fibers_(shape.block_threads),
        warps_(shape.block_threads / kWarpLanes),
        shared_(new (std::align_val_t{kSharedAlignment}) std::byte[std::max<std::size_t>(shape.shared_bytes, 1)]) {
    block_shape = {shape.block_threads, 1, 1};
    for (Fiber& fiber : fibers_) fiber.stack = std::make_unique_for_overwrite<std::byte[]>(kStackBytes);
  }

  void run();

  Fiber& current() { return *current_; }
  std::byte* shared() { return shared_.get(); }
  void wait(Barrier& barrier, const std::function<void()>& on_last);
  Warp& warp() { return warps_[current_->thread.x / kWarpLanes]; }
  Barrier& barrier() { return barrier_; }
  CopyTiming copies() const { return schedule_.copies; }
  const GridShape& shape() const { return shape_; }

  Index3 block, block_shape;

 private:
  void run_block();
  void resume(Fiber& fiber);
  void suspend();
  static void enter();

  GridShape shape_;
  const std::function<void()>& body_;
  Schedule schedule_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  Barrier barrier_;
  std::unique_ptr<std::byte[], SharedMemoryDeleter> shared_;
  Fiber* current_ = nullptr;
  SavedStack scheduler_;
  std::exception_ptr failure_;
  void* scheduler_fake_stack_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  std::size_t scheduler_stack_bytes_ = 0;
};

// CUDA's thread indices are ambient by definition: device code reads them from nowhere else.
thread_local Grid* running_grid = nullptr;
thread_local Schedule next_schedule;
thread_local int device_multiprocessors = 4;

Grid& grid() {
  REPREFILL_CHECK(running_grid != nullptr, "device code runs outside a launch");
  return *running_grid;
}

void Grid::enter() {
  Grid& self = grid();
#ifdef REPREFILL_ASAN_FIBERS
  __sanitizer_finish_switch_fiber(nullptr, &self.scheduler_stack_, &self.scheduler_stack_bytes_);
#endif
  try {
    self.body_();
  } catch (...) {
    self.failure_ = std::current_exception();
  }
  for (const auto& group : self.current_->groups) {
    for (const AsyncCopy& copy : group) copy.run();
  }
  self.current_->is_done = true;
  self.suspend();
}

void Grid::resume(Fiber& fiber) {
  current_ = &fiber;
#ifdef REPREFILL_ASAN_FIBERS
  __sanitizer_start_switch_fiber(&scheduler_fake_stack_, fiber.stack.get(), kStackBytes);
#endif
  scheduler_.switch_to(fiber.saved);
#ifdef REPREFILL_ASAN_FIBERS
  __sanitizer_finish_switch_fiber(scheduler_fake_stack_, nullptr, nullptr);
#endif
  if (failure_) std::rethrow_exception(failure_);
}

void Grid::suspend() {
  Fiber& self = *current_;
#ifdef REPREFILL_ASAN_FIBERS
  __sanitizer_start_switch_fiber(self.is_done ? nullptr : &self.fake_stack, scheduler_stack_, scheduler_stack_bytes_);
#endif
  self.saved.switch_to(scheduler_);
#ifdef REPREFILL_ASAN_FIBERS
  __sanitizer_finish_switch_fiber(self.fake_stack, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
}

void Grid::wait(Barrier& barrier, const std::function<void()>& on_last) {
  current_->waits_at = &barrier;
  current_->waits_for_generation = barrier.generation + 1;
  if (++barrier.arrived == barrier.expected) {
    on_last();
    barrier.arrived = 0;
    ++barrier.generation;
  }
  suspend();
  current_->waits_at = nullptr;
}

void Grid::run_block() {
  std::memset(shared_.get(), 0xff, shape_.shared_bytes);  // NaN in every format: reading what nobody wrote shows
  barrier_ = {.expected = shape_.block_threads};
  for (Warp& warp : warps_) warp = Warp{.barrier = {.expected = kWarpLanes}};
  for (unsigned i = 0; i < fibers_.size(); ++i) fibers_[i].start({i, 0, 0}, &Grid::enter);

  std::vector<unsigned> order(fibers_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::uint64_t random = schedule_.order_seed;
  for (std::size_t num_done = 0; num_done < fibers_.size();) {
    if (schedule_.order_seed != 0) {
      for (std::size_t i = order.size(); i > 1; --i) {
        random = mix64(random);
        std::swap(order[i - 1], order[random % i]);
      }
    }
    bool has_progress = false;
    for (const unsigned i : order) {
      if (!fibers_[i].can_run()) continue;
      has_progress = true;
      resume(fibers_[i]);
      num_done += fibers_[i].is_done;
    }
    REPREFILL_CHECK(has_progress,
                    "{} of {} threads of a block ended or wait at another barrier: the rest waits forever", num_done,
                    fibers_.size());
  }
}

void Grid::run() {
  const Index3 blocks = shape_.blocks;
  for (unsigned z = 0; z < blocks.z; ++z) {
    for (unsigned y = 0; y < blocks.y; ++y) {
      for (unsigned x = 0; x < blocks.x; ++x) {
        block = {x, y, z};
        run_block();
      }
    }
  }
}

}  // namespace

void set_schedule(const Schedule& schedule) { next_schedule = schedule; }
Schedule schedule() { return next_schedule; }
void set_num_multiprocessors(int count) { device_multiprocessors = count; }
int num_multiprocessors() { return device_multiprocessors; }

void run_grid(const GridShape& shape, const std::function<void()>& body) {
  REPREFILL_CHECK(shape.block_threads > 0 && shape.block_threads % kWarpLanes == 0 && shape.block_threads <= 1024,
                  "a block of {} threads: whole warps up to 1024 threads", shape.block_threads);
  REPREFILL_CHECK(shape.blocks.x > 0 && shape.blocks.y > 0 && shape.blocks.z > 0 && shape.blocks.y <= 65535 &&
                      shape.blocks.z <= 65535,
                  "a grid of {} x {} x {} blocks", shape.blocks.x, shape.blocks.y, shape.blocks.z);
  Grid launched(shape, body, next_schedule);
  struct Restore {
    Grid* previous = running_grid;
    ~Restore() { running_grid = previous; }
  } restore;
  running_grid = &launched;
  launched.run();
}

const Index3& thread_index() { return grid().current().thread; }
const Index3& block_index() { return grid().block; }
const Index3& block_shape() { return grid().block_shape; }
const Index3& grid_shape() { return grid().shape().blocks; }
std::byte* dynamic_shared() { return grid().shared(); }

void block_barrier() {
  grid().wait(grid().barrier(), [] {});
}

void warp_collective(void* operand, WarpFunction function) {
  Warp& warp = grid().warp();
  if (warp.barrier.arrived == 0) warp.function = function;
  REPREFILL_CHECK(warp.function == function, "lanes of a warp are in different collective operations");
  warp.operands[thread_index().x % kWarpLanes] = operand;
  grid().wait(warp.barrier, [&] { function(warp.operands); });
}

void copy_async(void* shared, const void* global, std::size_t copied_bytes, std::size_t zeroed_bytes) {
  const AsyncCopy copy{static_cast<std::byte*>(shared), static_cast<const std::byte*>(global), copied_bytes,
                       zeroed_bytes};
  if (grid().copies() == CopyTiming::at_issue)
    copy.run();
  else
    grid().current().open_copies.push_back(copy);
}

void commit_copies() {
  Fiber& fiber = grid().current();
  fiber.groups.push_back(std::move(fiber.open_copies));
  fiber.open_copies.clear();
}

void wait_copies(std::size_t pending_groups) {
  auto& groups = grid().current().groups;
  const std::size_t num_finished = groups.size() - std::min(groups.size(), pending_groups);
  for (std::size_t i = 0; i < num_finished; ++i) {
    for (const AsyncCopy& copy : groups[i]) copy.run();
  }
  groups.erase(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(num_finished));
}

}  // namespace reprefill::kernels::emulation
