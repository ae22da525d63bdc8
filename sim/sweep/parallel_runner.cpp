#include "sim/sweep/parallel_runner.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>

#include "core/base/error.hpp"

namespace reprefill::sim {
namespace {

/// A signal handler can reach nothing but a global; it is set while a guard lives.
std::atomic<bool> g_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int) {
  if (g_interrupted.exchange(true)) _exit(static_cast<int>(ExitCode::interrupted));
}

}  // namespace

void run_points(const std::vector<double>& costs, std::size_t jobs, const std::function<void(std::size_t)>& run,
                const std::atomic<bool>& interrupted) {
  std::vector<std::size_t> order(costs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return costs[a] > costs[b]; });
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::map<std::size_t, std::exception_ptr> failures;
  const auto work = [&] {
    while (!failed && !interrupted) {
      const std::size_t turn = next++;
      if (turn >= order.size()) return;
      try {
        run(order[turn]);
      } catch (...) {
        failed = true;
        const std::lock_guard guard(mutex);
        failures[order[turn]] = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < std::min(jobs, costs.size()); ++i) threads.emplace_back(work);
    work();
  }
  if (interrupted) throw Interrupted();
  if (!failures.empty()) std::rethrow_exception(failures.begin()->second);
}

std::size_t num_usable_cores() {
  // The mask must have room for every core of the machine, not only the usable ones: EINVAL until it has.
  constexpr int kMostCores = 1 << 20;
  for (int room = 1024; room <= kMostCores; room *= 2) {
    const std::unique_ptr<cpu_set_t, decltype([](cpu_set_t* set) { CPU_FREE(set); })> mask(CPU_ALLOC(room));
    const std::size_t size = CPU_ALLOC_SIZE(room);
    if (mask == nullptr) break;
    if (sched_getaffinity(0, size, mask.get()) == 0) {
      return static_cast<std::size_t>(std::max(1, CPU_COUNT_S(size, mask.get())));
    }
    if (errno != EINVAL) break;
  }
  return std::max(1u, std::thread::hardware_concurrency());
}

InterruptGuard::InterruptGuard() {
  g_interrupted = false;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // a row that is being written when the signal comes must not fail with EINTR
  sigaction(SIGINT, &action, &old_interrupt_);
  sigaction(SIGTERM, &action, &old_terminate_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &old_interrupt_, nullptr);
  sigaction(SIGTERM, &old_terminate_, nullptr);
}

const std::atomic<bool>& InterruptGuard::flag() const { return g_interrupted; }

}  // namespace reprefill::sim
