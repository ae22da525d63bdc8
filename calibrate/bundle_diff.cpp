#include "calibrate/bundle_diff.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "calibrate/bundle.hpp"

namespace reprefill::calibrate {
namespace {

/// +1: more is better; -1: less is; 0: neither.
int direction_of(const std::string& number) {
  const auto ends = [&](const char* suffix) { return number.ends_with(suffix); };
  if (ends("_bytes_per_s") || ends("_flops_per_s") || ends("_efficiency") || number == "memory_bytes" ||
      number == "num_channels") {
    return 1;
  }
  if (ends("_ns") || number == "residual_sigma" || number == "mixed_slowdown") return -1;
  return 0;
}

/// `gain`: relative, positive where the second is better.
Change judge(double gain, double noise) {
  constexpr double kSmallest = 0.02, kSame = 0.05;
  if (std::abs(gain) > std::max(noise, kSmallest)) return gain > 0 ? Change::better : Change::worse;
  return std::abs(gain) + noise <= kSame ? Change::same : Change::ambiguous;
}

using PointKey = std::pair<std::string, std::string>;  // fit, shape

std::map<PointKey, FitPoint> points_of(const Json& model, std::vector<PointKey>& order) {
  std::map<PointKey, FitPoint> points;
  for (const FitReport& fit : fits_of(model, "model.json")) {
    for (const FitPoint& point : fit.points) {
      const PointKey key{fit.name, point.shape.dump()};
      if (points.emplace(key, point).second && std::ranges::find(order, key) == order.end()) order.push_back(key);
    }
  }
  return points;
}

void diff_points(const Json& first, const Json& second, std::vector<Difference>& differences) {
  std::vector<PointKey> order;
  const auto a = points_of(first, order), b = points_of(second, order);
  for (const PointKey& key : order) {
    Difference difference{.quantity = key.first, .shape = Json::parse(key.second), .first = {}, .second = {}};
    const auto in_a = a.find(key), in_b = b.find(key);
    if (in_a != a.end()) difference.first = in_a->second.measured;
    if (in_b != b.end()) difference.second = in_b->second.measured;
    if (!difference.first || !difference.second) {
      difference.change = difference.first ? Change::only_first : Change::only_second;
    } else {
      difference.noise = in_a->second.spread + in_b->second.spread;
      // Durations, and factors by which they grow: less is better.
      difference.change = judge(*difference.first / *difference.second - 1, difference.noise);
    }
    differences.push_back(std::move(difference));
  }
}

void diff_number(const std::string& part, const std::string& key, const Json* first, const Json* second,
                 std::vector<Difference>& differences) {
  Difference difference{.quantity = part + "." + key, .first = {}, .second = {}};
  if (first != nullptr) difference.first = first->get<double>();
  if (second != nullptr) difference.second = second->get<double>();
  if (!difference.first || !difference.second) {
    difference.change = difference.first ? Change::only_first : Change::only_second;
  } else if (*difference.first != *difference.second) {
    const int direction = direction_of(key);
    const bool more = *difference.second > *difference.first;
    difference.change = direction == 0 ? Change::ambiguous : more == (direction > 0) ? Change::better : Change::worse;
  }
  differences.push_back(std::move(difference));
}

void diff_part(const std::string& part, const Json& first, const Json& second, std::vector<Difference>& differences) {
  const auto find = [](const Json& object, const std::string& key) {
    return object.contains(key) && object.at(key).is_number() ? &object.at(key) : nullptr;
  };
  for (const auto& [key, value] : first.items()) {
    if (value.is_number()) diff_number(part, key, &value, find(second, key), differences);
  }
  for (const auto& [key, value] : second.items()) {
    if (value.is_number() && find(first, key) == nullptr) diff_number(part, key, nullptr, &value, differences);
  }
}

}  // namespace

const char* name_of(Change change) {
  static constexpr const char* kNames[] = {"better", "worse", "same", "ambiguous", "only first", "only second"};
  return kNames[static_cast<std::size_t>(change)];
}

std::vector<Difference> diff_bundles(const Json& first, const Json& second) {
  std::vector<Difference> differences;
  diff_points(first, second, differences);
  const Json empty = Json::object();
  for (const char* part : {"gpu", "ssd", "link", "host"}) {
    diff_part(part, first.contains(part) ? first.at(part) : empty, second.contains(part) ? second.at(part) : empty,
              differences);
  }
  return differences;
}

}  // namespace reprefill::calibrate
