// The fewest misses that any cache could have had, knowing the future.
#pragma once

#include <cstdint>
#include <span>

#include "core/base/units.hpp"

namespace reprefill::study {

struct Access {
  std::uint64_t key = 0;
  Bytes bytes;
};

struct Misses {
  std::uint64_t count = 0;
  Bytes bytes;
};

/// Belady's rule with bypass: on a miss, whatever is used farthest in the future stays out or leaves. The fewest
/// possible misses where all pieces have one size; with several sizes it is a good cache, not a bound. One tier of
/// `capacity`; accesses before `first_counted` warm it and are not counted.
Misses belady_misses(std::span<const Access> accesses, Bytes capacity, std::size_t first_counted);

}  // namespace reprefill::study
