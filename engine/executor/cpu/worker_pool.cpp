#include "engine/executor/cpu/worker_pool.hpp"

#include <sched.h>

#include <algorithm>
#include <utility>

namespace reprefill::engine {
namespace {

// Operations follow each other within microseconds while a request runs; a futex call costs more than that. After
// about 20 us a thread sleeps, so that an idle engine uses no core.
constexpr int kSpins = 1000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

template <typename T>
void wait_while_equal(const std::atomic<T>& value, T unwanted) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != unwanted) return;
    pause();
  }
  value.wait(unwanted, std::memory_order_acquire);
}

}  // namespace

int usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(1, CPU_COUNT(&cores));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));  // more cores than a cpu_set_t names
}

WorkerPool::WorkerPool(int num_threads) {
  const int count = num_threads > 0 ? num_threads : usable_cores();
  threads_.reserve(static_cast<std::size_t>(count) - 1);
  for (int i = 1; i < count; ++i) threads_.emplace_back([this, i] { wait_for_job(i); });
}

WorkerPool::~WorkerPool() {
  stop_.store(true);
  job_.fetch_add(1);
  job_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::run(std::size_t num_tasks, const std::function<void(std::size_t, int)>& task) {
  if (num_tasks == 0) return;
  task_ = &task;
  num_tasks_ = num_tasks;
  failure_ = nullptr;
  next_task_.store(0, std::memory_order_relaxed);
  const bool alone = num_tasks == 1 || threads_.empty();
  if (!alone) {
    active_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
    job_.fetch_add(1, std::memory_order_release);
    job_.notify_all();
  }
  work(0);
  if (!alone) {
    for (int left; (left = active_.load(std::memory_order_acquire)) != 0;) wait_while_equal(active_, left);
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void WorkerPool::work(int thread_idx) {
  for (std::size_t i; (i = next_task_.fetch_add(1, std::memory_order_relaxed)) < num_tasks_;) {
    try {
      (*task_)(i, thread_idx);
    } catch (...) {
      const std::lock_guard lock(failure_mutex_);
      if (!failure_ || i < failed_task_) {
        failure_ = std::current_exception();
        failed_task_ = i;
      }
    }
  }
}

void WorkerPool::wait_for_job(int thread_idx) {
  for (std::uint64_t seen = 0;;) {
    wait_while_equal(job_, seen);
    ++seen;  // a job ends only when every worker has taken part: none is missed
    if (stop_.load()) return;
    work(thread_idx);
    if (active_.fetch_sub(1, std::memory_order_acq_rel) == 1) active_.notify_all();
  }
}

}  // namespace reprefill::engine
