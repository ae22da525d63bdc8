// A workload recorded or generated elsewhere: requests in order of arrival, each with the ids of its prompt's blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ranges>
#include <span>
#include <vector>

#include "core/base/units.hpp"

namespace reprefill::traces {

/// One request as a view: `block_ids` points into the trace that it came from.
struct TraceRequest {
  Nanoseconds arrival;
  std::uint32_t input_tokens = 0;
  std::uint32_t output_tokens = 0;
  /// One id for each block of the prompt; whether a partly filled last one has an id is the trace's. An id is a prefix
  /// key: it stands for its block and everything before it, so two requests share exactly their longest common leading
  /// run.
  std::span<const std::uint64_t> block_ids;
};

/// Whether a partly filled last block has an id. No cache of whole blocks stores such a block.
enum class LastBlock : std::uint8_t { has_id, has_none };

/// Requests in order of arrival. All block ids lie in one flat vector: a trace of millions of blocks is two
/// allocations.
class RequestTrace {
 public:
  explicit RequestTrace(std::uint32_t block_tokens, LastBlock last_block = LastBlock::has_id);

  std::uint32_t block_tokens() const { return block_tokens_; }
  LastBlock last_block() const { return last_block_; }
  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }
  std::size_t num_block_references() const { return block_ids_.size(); }

  TraceRequest operator[](std::size_t request_idx) const;
  /// All requests, for range-for. Not of a temporary: the views would outlive what they look at.
  void requests() const&& = delete;
  auto requests() const& {
    return std::views::iota(std::size_t{0}, size()) |
           std::views::transform([this](std::size_t request_idx) { return (*this)[request_idx]; });
  }
  /// How many blocks with an id a prompt of this length has.
  std::uint32_t num_blocks(std::uint32_t input_tokens) const;

  /// Checks order of arrival and the number of ids. `block_ids` must not point into this trace.
  void append(const TraceRequest& request);
  /// The same, in any order; `sort_by_arrival` must follow.
  void append_unordered(const TraceRequest& request);
  enum class TimeOrigin : std::uint8_t { as_is, first_arrival };
  /// Stable. With `first_arrival`, time starts at 0 with the first request.
  void sort_by_arrival(TimeOrigin origin);
  void reserve(std::size_t num_requests, std::size_t num_blocks);

  /// Equal requests in the same order; where their ids lie in memory is no difference.
  bool operator==(const RequestTrace& other) const;

 private:
  struct Entry {
    Nanoseconds arrival;
    std::uint32_t input_tokens = 0;
    std::uint32_t output_tokens = 0;
    std::size_t first_block = 0;  // position in block_ids_; the count follows from input_tokens
  };

  std::uint32_t block_tokens_;
  LastBlock last_block_;
  std::vector<Entry> entries_;
  std::vector<std::uint64_t> block_ids_;
};

}  // namespace reprefill::traces
