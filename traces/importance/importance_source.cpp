#include "traces/importance/importance_source.hpp"

#include "core/base/units.hpp"

namespace reprefill::traces {

std::size_t num_units(std::span<const SegmentSpan> prefix, int unit_tokens) {
  REPREFILL_CHECK(unit_tokens > 0, "units of {} tokens", unit_tokens);
  std::size_t count = 0;
  for (const SegmentSpan& span : prefix) {
    count += divide_rounding_up<std::size_t>(span.num_tokens, static_cast<std::size_t>(unit_tokens));
  }
  return count;
}

std::uint64_t total_tokens(std::span<const SegmentSpan> prefix) {
  std::uint64_t count = 0;
  for (const SegmentSpan& span : prefix) count += span.num_tokens;
  return count;
}

}  // namespace reprefill::traces
