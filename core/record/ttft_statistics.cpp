#include "core/record/ttft_statistics.hpp"

#include <algorithm>
#include <cmath>

namespace reprefill::record {
namespace {

constexpr std::size_t kMinRequestsForP99 = 1000;

}  // namespace

double nearest_rank(const std::vector<double>& ascending, double percentile) {
  REPREFILL_CHECK(!ascending.empty(), "a percentile of nothing");
  const auto rank =
      static_cast<std::size_t>(std::ceil(percentile / 100 * static_cast<double>(ascending.size()) - 1e-9));
  return ascending[std::clamp<std::size_t>(rank, 1, ascending.size()) - 1];
}

Json ttft_statistics(std::vector<double> ttft_ms, const TtftOptions& options) {
  Json json = Json::object();
  if (ttft_ms.empty()) return json;
  double sum = 0;
  for (const double value : ttft_ms) sum += value;
  const double mean = sum / static_cast<double>(ttft_ms.size());
  double squares = 0;
  for (const double value : ttft_ms) squares += (value - mean) * (value - mean);
  std::sort(ttft_ms.begin(), ttft_ms.end());
  json["mean_ttft_ms"] = mean;
  json["median_ttft_ms"] = nearest_rank(ttft_ms, 50);
  json["std_ttft_ms"] = std::sqrt(squares / static_cast<double>(ttft_ms.size()));
  // One at a time and without spread, requests differ by what they find in the caches only: that is no tail.
  const bool has_tail = options.requests_in_flight > 1 || options.noise || options.open_arrivals;
  const auto tail = [&](double percentile, std::size_t min_requests) {
    return has_tail && ttft_ms.size() >= min_requests ? Json(nearest_rank(ttft_ms, percentile)) : Json(nullptr);
  };
  json["p90_ttft_ms"] = tail(90, 1);
  json["p95_ttft_ms"] = tail(95, 1);
  json["p99_ttft_ms"] = tail(99, kMinRequestsForP99);
  json["deciles_ttft_ms"] = Json::array();
  for (int percent = 10; percent < 100; percent += 10) {
    json["deciles_ttft_ms"].push_back(percent == 90 ? tail(percent, 1) : Json(nearest_rank(ttft_ms, percent)));
  }
  json["min_ttft_ms"] = ttft_ms.front();
  json["max_ttft_ms"] = ttft_ms.back();
  if (!has_tail) json["p95_note"] = "not given: one request in flight and noise off, so P95 is nearly the mean";
  return json;
}

}  // namespace reprefill::record
