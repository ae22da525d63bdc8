// How latencies are distributed, in buckets of constant relative width.
#pragma once

#include <map>

#include "core/base/json.hpp"

namespace reprefill::calibrate {

/// Bucket i holds [2^(i/8), 2^((i+1)/8)) ns: 9 % wide.
class LatencyHistogram {
 public:
  void add(double ns);
  void add(const LatencyHistogram& other);
  std::uint64_t count() const;
  /// Upper edge of the bucket that the share falls into, nearest rank. Needs at least one value.
  double quantile_ns(double share) const;

  /// {"136": 12, ...}: bucket -> count.
  Json to_json() const;
  static LatencyHistogram from_json(const Json& json);

 private:
  std::map<int, std::uint64_t> buckets_;
};

}  // namespace reprefill::calibrate
