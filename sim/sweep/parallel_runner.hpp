// Independent points on all cores, longest first.
#pragma once

#include <signal.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <vector>

namespace reprefill::sim {

/// Calls run(index) for every index of `costs` on `jobs` threads, the highest cost first. The first failure (by index)
/// is rethrown when the calls under way have ended; no new ones begin after a failure or once `interrupted` is set, in
/// which case Interrupted is thrown.
void run_points(const std::vector<double>& costs, std::size_t jobs, const std::function<void(std::size_t)>& run,
                const std::atomic<bool>& interrupted);

/// Cores that this process may use: its affinity mask, which a batch system or `taskset` narrows. At least 1.
std::size_t num_usable_cores();

/// While it lives, SIGINT and SIGTERM set its flag; a second one ends the process at once with code 130. The
/// handling that it found comes back at its end. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  const std::atomic<bool>& flag() const;

 private:
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
};

}  // namespace reprefill::sim
