// A request's stored prefix as a row of equal units (chunks, blocks or tokens) that restart at each segment.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/error.hpp"
#include "core/model/piece.hpp"

namespace reprefill::pipeline {

/// Maps unit numbers along the whole prefix to (segment, index in the segment). Every segment's length is a multiple of
/// the unit (semantics 1: every block or chunk size divides store_block_tokens).
class PrefixUnits {
 public:
  PrefixUnits(std::span<const SegmentSpan> prefix, std::uint32_t unit_tokens) : unit_tokens_(unit_tokens) {
    for (const SegmentSpan& span : prefix) {
      REPREFILL_CHECK(span.num_tokens % unit_tokens == 0, "{} stored tokens are no multiple of {}", span.num_tokens,
                      unit_tokens);
      spans_.push_back({span.segment, size_});
      size_ += span.num_tokens / unit_tokens;
    }
  }

  std::uint32_t size() const { return size_; }
  std::uint32_t unit_tokens() const { return unit_tokens_; }

  /// Calls visit(segment, index in the segment, position in `units`) for ascending unit numbers.
  template <typename Visit>
  void for_each(std::span<const std::uint32_t> units, Visit&& visit) const {
    std::size_t span = 0;
    for (std::size_t i = 0; i < units.size(); ++i) {
      while (span + 1 < spans_.size() && spans_[span + 1].first_unit <= units[i]) ++span;
      visit(spans_[span].segment, units[i] - spans_[span].first_unit, i);
    }
  }

 private:
  struct Span {
    SegmentId segment;
    std::uint32_t first_unit;
  };
  std::vector<Span> spans_;
  std::uint32_t unit_tokens_;
  std::uint32_t size_ = 0;
};

}  // namespace reprefill::pipeline
