// Runs the threads of one CUDA block as fibers of one CPU thread: what the emulated device is built on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace reprefill::kernels::emulation {

struct Index3 {
  unsigned x = 0, y = 0, z = 0;
};

/// When an asynchronous copy's bytes move: hardware may do so at any time between issue and wait. A missing wait shows
/// under at_wait, a buffer that is overwritten too early under at_issue.
enum class CopyTiming : std::uint8_t { at_issue, at_wait };

/// What is free on real hardware, and must change no result.
struct Schedule {
  CopyTiming copies = CopyTiming::at_wait;
  std::uint64_t order_seed = 0;  // of the order in which threads run between barriers; 0: ascending
};

/// The schedule and the device of the launches that this CPU thread makes from now on.
void set_schedule(const Schedule& schedule);
Schedule schedule();
void set_num_multiprocessors(int count);
int num_multiprocessors();

struct GridShape {
  Index3 blocks;
  unsigned block_threads = 1;
  std::size_t shared_bytes = 0;
};

/// Runs `body` once for every thread of every block, block after block. Throws InvariantError where threads of a block
/// wait at different barriers or some end while others wait (undefined on hardware), and what `body` throws.
void run_grid(const GridShape& shape, const std::function<void()>& body);

// Of the running device thread:
const Index3& thread_index();
const Index3& block_index();
const Index3& block_shape();
const Index3& grid_shape();
std::byte* dynamic_shared();
void block_barrier();

/// All 32 lanes of the warp call it with the same function; the last to arrive runs it over every lane's operand. An
/// operand lives on its lane's stack: lanes wait until the function has run.
using WarpFunction = void (*)(void* const* operands);
void warp_collective(void* operand, WarpFunction function);

void copy_async(void* shared, const void* global, std::size_t copied_bytes, std::size_t zeroed_bytes);
void commit_copies();
void wait_copies(std::size_t pending_groups);

}  // namespace reprefill::kernels::emulation
