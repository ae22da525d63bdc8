// Keeps a drive busy with reads or writes of one kind, for a slice of time.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "calibrate/storage/latency_histogram.hpp"
#include "calibrate/storage/scratch_file.hpp"
#include "core/base/random.hpp"
#include "engine/io/direct_reader.hpp"
#include "engine/io/staging_arena.hpp"

namespace reprefill::calibrate {

enum class Pattern : std::uint8_t { random, sequential };
const char* name_of(Pattern pattern);

struct LoadShape {
  Bytes size;
  std::uint32_t depth = 1;
  Pattern pattern = Pattern::random;
};

struct LoadResult {
  std::uint64_t count = 0;
  double seconds = 0;
  double ns_each() const { return seconds * 1e9 / static_cast<double>(count); }
};

/// A file to read from, opened with O_DIRECT by whoever owns it.
struct ReadTarget {
  int descriptor = -1;
  std::string path;  // for errors
  Bytes size;
};

/// One ring, woken by its eventfd as the engine's loop is.
class ReadLoad {
 public:
  /// `seed` decides the offsets. Throws as DirectReader.
  ReadLoad(const ScratchFile& file, const LoadShape& shape, std::uint64_t seed, bool unregistered_buffers);
  /// Of several files, each as often as its size says; files smaller than a read are left out. One has to be large
  /// enough.
  ReadLoad(std::span<const ReadTarget> targets, const LoadShape& shape, std::uint64_t seed, bool unregistered_buffers);

  /// Timed from when every slot has completed once, so that the ramp does not count, for `seconds`, and then at least
  /// as many reads as the depth. Ends early once `stop` is set. Latencies go from submission to completion.
  LoadResult run(double seconds, LatencyHistogram* latencies = nullptr, const std::atomic<bool>* stop = nullptr);
  /// One job of `depth` reads: nanoseconds that submitting and harvesting took the caller, each, per read.
  struct CallCosts {
    double submit_ns = 0;
    double harvest_ns = 0;
  };
  CallCosts time_calls();
  /// Two jobs of half the depth each, one submitted right after the other: when each was done.
  struct GroupEnds {
    double first_ns = 0;
    double second_ns = 0;
  };
  GroupEnds time_groups();

 private:
  /// Waits for `count` jobs.
  std::vector<engine::FinishedJob> wait_for_jobs(std::size_t count);
  void submit(engine::FileRange& range);
  /// Moves the range to the next place to read.
  void move(engine::FileRange& range);

  LoadShape shape_;
  struct Places {
    std::uint64_t end;  // numbers of places: those of the files before, and this one's
    int file;
    std::uint64_t count;
  };
  std::vector<Places> places_;
  std::uint64_t next_place_ = 0;
  RandomStream random_;
  engine::StagingArena arena_;  // before the reader: it outlives what the kernel writes to
  engine::DirectReader reader_;
  std::vector<engine::FileRange> ranges_;
};

/// `depth` threads of one O_DIRECT write after the other, each through its own part of the file.
class WriteLoad {
 public:
  WriteLoad(const ScratchFile& file, const LoadShape& shape);
  LoadResult run(double seconds, const std::atomic<bool>* stop = nullptr);

 private:
  const ScratchFile& file_;
  LoadShape shape_;
  engine::StagingArena arena_;
  std::uint64_t next_place_ = 0;
};

/// Work on a thread of its own, at least once, until this object goes: what something else is measured beside.
class Background {
 public:
  explicit Background(std::function<void(const std::atomic<bool>& stop)> work);
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  /// Ends the work; rethrows what it threw.
  void stop();

 private:
  std::atomic<bool> stop_{false};
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace reprefill::calibrate
