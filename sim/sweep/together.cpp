#include "sim/sweep/together.hpp"

#include <algorithm>
#include <map>
#include <string>

namespace reprefill::sim {
namespace {

/// Each run in progress holds its caches.
constexpr std::size_t kMaxPointsInLot = 16;
constexpr std::size_t kLotsPerWorker = 4;

bool chooses_tokens(const Point& point) { return point.system == "as_h2o" || point.system == "impress"; }

/// Requests with the same stored prefixes, and the same importance.
std::string draws_of(const Point& point) {
  const Json& resolved = point.resolved;
  const Json draws = {point.system,
                      resolved.at("model"),
                      resolved.at("workload"),
                      resolved.at("importance"),
                      resolved.at("store_block_tokens"),
                      point.system_params.value("probe_heads", Json()),
                      point.system_params.value("scorer", Json()),
                      point.seed,
                      point.replica};
  return draws.dump();
}

}  // namespace

std::vector<std::vector<std::size_t>> lots_of_points(const std::vector<Point>& all,
                                                     const std::vector<std::size_t>& points, std::size_t num_workers) {
  const std::size_t most =
      num_workers == 1 ? kMaxPointsInLot
                       : std::clamp<std::size_t>(points.size() / (kLotsPerWorker * num_workers), 1, kMaxPointsInLot);
  std::vector<std::vector<std::size_t>> lots;
  std::map<std::string, std::size_t> open;  // by what is drawn: the lot that has room
  for (const std::size_t number : points) {
    const Point& point = all[number];
    if (chooses_tokens(point)) {
      const auto [lot, is_new] = open.try_emplace(draws_of(point), lots.size());
      if (!is_new && lots[lot->second].size() < most) {
        lots[lot->second].push_back(number);
        continue;
      }
      lot->second = lots.size();
    }
    lots.push_back({number});
  }
  return lots;
}

}  // namespace reprefill::sim
