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
  /// One id for each block of the prompt, the partly filled last one included. An id is a prefix key: it stands for its
  /// block and everything before it, so two requests share exactly their longest common leading run.
  std::span<const std::uint64_t> block_ids;
};

/// Requests in order of arrival. All block ids lie in one flat vector: a trace of millions of blocks is two
/// allocations.
class RequestTrace {
 public:
  explicit RequestTrace(std::uint32_t block_tokens);

  std::uint32_t block_tokens() const { return block_tokens_; }
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
  /// How many blocks a prompt of this length has, the partly filled last one included.
  std::uint32_t num_blocks(std::uint32_t input_tokens) const;

  /// Checks order of arrival and the number of ids. `block_ids` must not point into this trace.
  void append(const TraceRequest& request);
  void reserve(std::size_t num_requests, std::size_t num_blocks);

  bool operator==(const RequestTrace&) const = default;

 private:
  struct Entry {
    Nanoseconds arrival;
    std::uint32_t input_tokens = 0;
    std::uint32_t output_tokens = 0;
    std::size_t first_block = 0;  // position in block_ids_; the count follows from input_tokens
    bool operator==(const Entry&) const = default;
  };

  std::uint32_t block_tokens_;
  std::vector<Entry> entries_;
  std::vector<std::uint64_t> block_ids_;
};

}  // namespace reprefill::traces
