#include "calibrate/storage/latency_histogram.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/error.hpp"

namespace reprefill::calibrate {

void LatencyHistogram::add(double ns) { ++buckets_[static_cast<int>(std::floor(8 * std::log2(std::max(1.0, ns))))]; }

void LatencyHistogram::add(const LatencyHistogram& other) {
  for (const auto& [bucket, count] : other.buckets_) buckets_[bucket] += count;
}

std::uint64_t LatencyHistogram::count() const {
  std::uint64_t total = 0;
  for (const auto& [bucket, count] : buckets_) total += count;
  return total;
}

double LatencyHistogram::quantile_ns(double share) const {
  const std::uint64_t total = count();
  REPREFILL_CHECK(total > 0, "a quantile of no latencies");
  const auto rank =
      std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(total))));
  std::uint64_t seen = 0;
  for (const auto& [bucket, count] : buckets_) {
    seen += count;
    if (seen >= rank) return std::exp2((bucket + 1) / 8.0);
  }
  return std::exp2((buckets_.rbegin()->first + 1) / 8.0);
}

Json LatencyHistogram::to_json() const {
  Json json = Json::object();
  for (const auto& [bucket, count] : buckets_) json[std::to_string(bucket)] = count;
  return json;
}

LatencyHistogram LatencyHistogram::from_json(const Json& json) {
  LatencyHistogram histogram;
  for (const auto& [bucket, count] : json.items()) histogram.buckets_[std::stoi(bucket)] = count.get<std::uint64_t>();
  return histogram;
}

}  // namespace reprefill::calibrate
