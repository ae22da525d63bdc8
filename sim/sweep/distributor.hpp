// Where the work of a sweep runs: threads of this process, or the ranks of an MPI job.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <vector>

#include "core/base/json.hpp"

namespace reprefill::sim {

class Distributor {
 public:
  /// May run on any process and thread, several at a time; its result must depend on the index alone.
  using Work = std::function<Json(std::size_t index)>;
  /// Called one at a time, in the process that keeps results, in order of completion.
  using Keep = std::function<void(std::size_t index, Json result)>;

  virtual ~Distributor() = default;
  /// Every index of `costs` once, the highest cost first. The first failure (by index) is rethrown when the work under
  /// way has ended; no new work begins after a failure or an interruption, which throws Interrupted.
  virtual void run(const std::vector<double>& costs, const Work& work, const Keep& keep,
                   const std::atomic<bool>& interrupted) = 0;
  /// How many indices are worked on at the same time.
  virtual std::size_t num_workers() const = 0;
  /// False: another process has the result folder, and this one only works.
  virtual bool keeps_results() const { return true; }
  /// What the process that keeps results passes, in every process.
  virtual Json from_keeper(Json value) { return value; }
};

class ThreadDistributor final : public Distributor {
 public:
  explicit ThreadDistributor(std::size_t jobs) : jobs_(jobs) {}
  void run(const std::vector<double>& costs, const Work& work, const Keep& keep,
           const std::atomic<bool>& interrupted) override;
  std::size_t num_workers() const override { return jobs_; }

 private:
  std::size_t jobs_;
};

}  // namespace reprefill::sim
