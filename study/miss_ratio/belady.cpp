#include "study/miss_ratio/belady.hpp"

#include <limits>
#include <set>
#include <utility>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

namespace reprefill::study {
namespace {

constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();

/// For each access, when its key is used next.
std::vector<std::size_t> next_uses(std::span<const Access> accesses) {
  std::vector<std::size_t> next(accesses.size(), kNever);
  boost::unordered_flat_map<std::uint64_t, std::size_t> later;
  for (std::size_t i = accesses.size(); i-- > 0;) {
    const auto [found, is_new] = later.try_emplace(accesses[i].key, i);
    if (!is_new) next[i] = std::exchange(found->second, i);
  }
  return next;
}

}  // namespace

Misses belady_misses(std::span<const Access> accesses, Bytes capacity, std::size_t first_counted) {
  const std::vector<std::size_t> next = next_uses(accesses);
  // Ordered by next use; every resident piece has one, since what is never used again does not stay.
  std::set<std::pair<std::size_t, std::uint64_t>> by_next_use;
  boost::unordered_flat_map<std::uint64_t, Bytes> resident;
  Bytes used;
  Misses misses;
  for (std::size_t i = 0; i < accesses.size(); ++i) {
    const auto [key, bytes] = accesses[i];
    if (by_next_use.erase({i, key}) > 0) {
      used -= resident.at(key);
      resident.erase(key);
    } else if (i >= first_counted) {
      ++misses.count;
      misses.bytes += bytes;
    }
    if (next[i] == kNever || bytes > capacity) continue;
    by_next_use.emplace(next[i], key);
    resident[key] = bytes;
    used += bytes;
    while (used > capacity) {
      const auto farthest = std::prev(by_next_use.end());
      used -= resident.at(farthest->second);
      resident.erase(farthest->second);
      by_next_use.erase(farthest);
    }
  }
  return misses;
}

}  // namespace reprefill::study
