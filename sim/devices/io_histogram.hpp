// What the SSD was asked for: sizes of reads, and how many requests it had at a time.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "core/base/units.hpp"

namespace reprefill::sim {

/// Buckets are powers of two: bucket b holds what is in [2^b, 2^(b+1)).
class IoHistogram {
 public:
  static constexpr std::size_t kNumBuckets = 33;

  void count_read(Bytes size) { ++read_sizes_[bucket_of(size.value)]; }
  /// From `now` on this many requests are with the device; 0 is not counted: it is idle.
  void set_depth(std::uint64_t depth, Nanoseconds now) {
    if (depth_ > 0) depth_times_[bucket_of(depth_)] += now - since_;
    depth_ = depth;
    since_ = now;
  }

  std::uint64_t num_reads(std::size_t bucket) const { return read_sizes_[bucket]; }
  /// The time that still runs is added up to `now` by set_depth.
  Nanoseconds time_at_depth(std::size_t bucket) const { return depth_times_[bucket]; }

  /// What came after `before`, an earlier state of the same histogram.
  IoHistogram since(const IoHistogram& before) const {
    IoHistogram result = *this;
    for (std::size_t i = 0; i < kNumBuckets; ++i) {
      result.read_sizes_[i] -= before.read_sizes_[i];
      result.depth_times_[i] = result.depth_times_[i] - before.depth_times_[i];
    }
    return result;
  }

 private:
  static std::size_t bucket_of(std::uint64_t value) {
    return value == 0 ? 0 : std::min<std::size_t>(kNumBuckets - 1, static_cast<std::size_t>(std::bit_width(value)) - 1);
  }
  std::array<std::uint64_t, kNumBuckets> read_sizes_{};
  std::array<Nanoseconds, kNumBuckets> depth_times_{};
  std::uint64_t depth_ = 0;
  Nanoseconds since_{0};
};

}  // namespace reprefill::sim
