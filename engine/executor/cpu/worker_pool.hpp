// Fork and join over a fixed set of threads: what one operation of the executor spreads its tasks with.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace reprefill::engine {

/// Cores that this process may run on (its affinity mask), at least 1.
int usable_cores();

/// Runs numbered tasks on `num_threads` threads, the caller among them. Which thread runs a task is not fixed: results
/// are reproducible because a task's work depends on its number alone, never on its thread or on how many there are.
/// One caller at a time.
class WorkerPool {
 public:
  /// 0: usable_cores().
  explicit WorkerPool(int num_threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  /// task(task_idx, thread_idx) for every task_idx in [0, num_tasks); thread_idx in [0, num_threads) names scratch that
  /// no other running task uses. Returns when all are done. Of the exceptions thrown, that of the lowest task is
  /// rethrown; the others still run.
  void run(std::size_t num_tasks, const std::function<void(std::size_t task_idx, int thread_idx)>& task);

 private:
  void work(int thread_idx);
  void wait_for_job(int thread_idx);

  std::vector<std::thread> threads_;
  const std::function<void(std::size_t, int)>* task_ = nullptr;
  std::size_t num_tasks_ = 0;
  std::atomic<std::size_t> next_task_{0};
  std::atomic<int> active_{0};         // workers that have not finished the current job
  std::atomic<std::uint64_t> job_{0};  // number of the current job; 0: none yet
  std::atomic<bool> stop_{false};
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
  std::size_t failed_task_ = 0;
};

}  // namespace reprefill::engine
