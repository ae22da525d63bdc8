#include "core/base/nearest_name.hpp"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace reprefill {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

}  // namespace

std::string did_you_mean(std::string_view found, std::span<const std::string> known) {
  const std::string* best = nullptr;
  std::size_t best_distance = std::min<std::size_t>(4, found.size() / 2 + 1);
  for (const std::string& name : known) {
    const std::size_t distance = edit_distance(found, name);
    if (distance < best_distance) {
      best = &name;
      best_distance = distance;
    }
  }
  return best ? fmt::format("; did you mean {}?", *best) : "";
}

std::string nearest_and_allowed(std::string_view found, std::span<const std::string> known) {
  return fmt::format("{}{} allowed: {}", did_you_mean(found, known), did_you_mean(found, known).empty() ? ";" : "",
                     fmt::join(known, ", "));
}

}  // namespace reprefill
