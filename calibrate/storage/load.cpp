#include "calibrate/storage/load.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>
#include <optional>

#include "core/base/error.hpp"

namespace reprefill::calibrate {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double>(end - start).count();
}

bool is_set(const std::atomic<bool>* flag) { return flag != nullptr && flag->load(std::memory_order_relaxed); }

void wait_for(const engine::DirectReader& reader) {
  pollfd event{.fd = reader.event_fd(), .events = POLLIN, .revents = 0};
  ::poll(&event, 1, -1);
}

}  // namespace

const char* name_of(Pattern pattern) { return pattern == Pattern::random ? "random" : "sequential"; }

ReadLoad::ReadLoad(const ScratchFile& file, const LoadShape& shape, std::uint64_t seed, bool unregistered_buffers)
    : ReadLoad(std::array{ReadTarget{file.descriptor(), file.path().string(), file.size()}}, shape, seed,
               unregistered_buffers) {}

ReadLoad::ReadLoad(std::span<const ReadTarget> targets, const LoadShape& shape, std::uint64_t seed,
                   bool unregistered_buffers)
    : shape_(shape),
      random_(seed, 0, "calibrate/offsets"),
      arena_(shape.size * shape.depth),
      reader_({.queue_depth = shape.depth, .buffers = arena_.memory(), .unregistered_buffers = unregistered_buffers}),
      ranges_(shape.depth) {
  std::uint64_t end = 0;
  for (const ReadTarget& target : targets) {
    const std::uint64_t count = target.size.value / shape.size.value;
    if (count == 0) continue;
    end += count;
    places_.push_back({.end = end, .file = reader_.add_file(target.descriptor, target.path), .count = count});
  }
  REPREFILL_CHECK(!places_.empty(), "reads of {} bytes of {} smaller files", shape.size.value, targets.size());
  for (engine::FileRange& range : ranges_) {
    range = {.file = 0, .offset = 0, .bytes = shape.size, .destination = arena_.allocate(shape.size)};
  }
}

void ReadLoad::move(engine::FileRange& range) {
  const std::uint64_t count = places_.back().end;
  const std::uint64_t place = shape_.pattern == Pattern::random ? random_.below(count) : next_place_++ % count;
  const Places& file = *std::ranges::upper_bound(places_, place, {}, &Places::end);
  range.file = file.file;
  range.offset = (place - (file.end - file.count)) * shape_.size.value;
}

void ReadLoad::submit(engine::FileRange& range) {
  move(range);
  reader_.submit(&range, {&range, 1}, engine::ReadQueue::demand);
}

LoadResult ReadLoad::run(double seconds, LatencyHistogram* latencies, const std::atomic<bool>* stop) {
  for (engine::FileRange& range : ranges_) submit(range);
  std::uint64_t in_flight = shape_.depth, completed = 0;
  std::optional<Clock::time_point> start;
  LoadResult result;
  bool ending = false;
  std::vector<engine::FinishedJob> finished;
  while (in_flight > 0) {
    wait_for(reader_);
    finished.clear();
    reader_.harvest(finished);
    const Clock::time_point now = Clock::now();
    for (const engine::FinishedJob& job : finished) {
      if (job.failure) std::rethrow_exception(job.failure);
      --in_flight;
      ++completed;
      if (start && !ending) {
        ++result.count;
        if (latencies != nullptr) latencies->add(seconds_between(job.start, job.end) * 1e9);
      }
    }
    if (!start && completed >= shape_.depth) start = now;
    if (start && !ending) {
      result.seconds = seconds_between(*start, now);
      ending = (result.count >= shape_.depth && result.seconds >= seconds) || (is_set(stop) && result.count > 0);
    }
    if (ending) continue;
    for (const engine::FinishedJob& job : finished) {
      submit(*static_cast<engine::FileRange*>(job.tag));
      ++in_flight;
    }
  }
  return result;
}

ReadLoad::CallCosts ReadLoad::time_calls() {
  for (engine::FileRange& range : ranges_) move(range);
  const auto begin = Clock::now();
  reader_.submit(this, ranges_, engine::ReadQueue::demand);
  const auto submitted = Clock::now();
  double harvesting = 0;
  std::vector<engine::FinishedJob> finished;
  while (finished.empty()) {
    wait_for(reader_);
    const auto woken = Clock::now();
    reader_.harvest(finished);
    harvesting += seconds_between(woken, Clock::now());
  }
  if (finished.front().failure) std::rethrow_exception(finished.front().failure);
  const double count = shape_.depth;
  return {.submit_ns = seconds_between(begin, submitted) * 1e9 / count, .harvest_ns = harvesting * 1e9 / count};
}

std::vector<engine::FinishedJob> ReadLoad::wait_for_jobs(std::size_t count) {
  std::vector<engine::FinishedJob> finished;
  while (finished.size() < count) {
    wait_for(reader_);
    reader_.harvest(finished);
  }
  for (const engine::FinishedJob& job : finished) {
    if (job.failure) std::rethrow_exception(job.failure);
  }
  return finished;
}

ReadLoad::GroupEnds ReadLoad::time_groups() {
  for (engine::FileRange& range : ranges_) move(range);
  const std::span<const engine::FileRange> all = ranges_;
  const std::size_t half = all.size() / 2;
  GroupEnds ends;
  const auto begin = Clock::now();
  reader_.submit(&ends.first_ns, all.first(half), engine::ReadQueue::demand);
  reader_.submit(&ends.second_ns, all.subspan(half), engine::ReadQueue::demand);
  for (const engine::FinishedJob& job : wait_for_jobs(2)) {
    *static_cast<double*>(job.tag) = seconds_between(begin, job.end) * 1e9;
  }
  return ends;
}

WriteLoad::WriteLoad(const ScratchFile& file, const LoadShape& shape)
    : file_(file), shape_(shape), arena_(shape.size * shape.depth) {
  RandomStream random(1, 0, "calibrate/written");
  const std::span<std::byte> memory = arena_.memory();
  for (std::size_t i = 0; i + 8 <= memory.size(); i += 8) {
    const std::uint64_t value = random.below(~std::uint64_t{0});
    std::memcpy(memory.data() + i, &value, 8);
  }
}

LoadResult WriteLoad::run(double seconds, const std::atomic<bool>* stop) {
  const std::uint64_t num_places = file_.size().value / shape_.size.value;
  std::atomic<std::uint64_t> count{0}, place{next_place_};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto start = Clock::now();
  const auto write = [&](std::uint32_t thread_idx) {
    const std::byte* data = arena_.memory().data() + thread_idx * shape_.size.value;
    do {
      const std::uint64_t offset = place++ % num_places * shape_.size.value;
      const ssize_t written = ::pwrite(file_.descriptor(), data, shape_.size.value, static_cast<off_t>(offset));
      if (written != static_cast<ssize_t>(shape_.size.value)) {
        const std::lock_guard guard(failure_mutex);
        failure = std::make_exception_ptr(MachineError(
            fmt::format("pwrite({}): {}", file_.path().string(), written < 0 ? std::strerror(errno) : "short write")));
        return;
      }
      ++count;
    } while (seconds_between(start, Clock::now()) < seconds && !is_set(stop));
  };
  {
    std::vector<std::thread> threads;
    for (std::uint32_t i = 0; i < shape_.depth; ++i) threads.emplace_back(write, i);
    for (std::thread& thread : threads) thread.join();
  }
  if (failure) std::rethrow_exception(failure);
  next_place_ = place;
  return {.count = count, .seconds = seconds_between(start, Clock::now())};
}

Background::Background(std::function<void(const std::atomic<bool>& stop)> work)
    : thread_([this, work = std::move(work)] {
        try {
          do work(stop_);
          while (!stop_);
        } catch (...) {
          failure_ = std::current_exception();
        }
      }) {}

Background::~Background() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void Background::stop() {
  stop_ = true;
  thread_.join();
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace reprefill::calibrate
