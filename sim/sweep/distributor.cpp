#include "sim/sweep/distributor.hpp"

#include <mutex>

#include "sim/sweep/parallel_runner.hpp"

namespace reprefill::sim {

void ThreadDistributor::run(const std::vector<double>& costs, const Work& work, const Keep& keep,
                            const std::atomic<bool>& interrupted) {
  std::mutex mutex;
  run_points(
      costs, jobs_,
      [&](std::size_t index) {
        Json result = work(index);
        const std::lock_guard lock(mutex);
        keep(index, std::move(result));
      },
      interrupted);
}

}  // namespace reprefill::sim
