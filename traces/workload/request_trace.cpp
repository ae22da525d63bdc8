#include "traces/workload/request_trace.hpp"

#include "core/base/error.hpp"

namespace reprefill::traces {

RequestTrace::RequestTrace(std::uint32_t block_tokens) : block_tokens_(block_tokens) {
  REPREFILL_CHECK(block_tokens > 0, "a block has at least one token");
}

std::uint32_t RequestTrace::num_blocks(std::uint32_t input_tokens) const {
  return static_cast<std::uint32_t>(divide_rounding_up<std::uint64_t>(input_tokens, block_tokens_));
}

TraceRequest RequestTrace::operator[](std::size_t request_idx) const {
  REPREFILL_CHECK(request_idx < entries_.size(), "request {} of {}", request_idx, entries_.size());
  const Entry& entry = entries_[request_idx];
  return {.arrival = entry.arrival,
          .input_tokens = entry.input_tokens,
          .output_tokens = entry.output_tokens,
          .block_ids = std::span(block_ids_).subspan(entry.first_block, num_blocks(entry.input_tokens))};
}

void RequestTrace::append(const TraceRequest& request) {
  REPREFILL_CHECK(request.block_ids.size() == num_blocks(request.input_tokens),
                  "{} block ids for {} tokens in blocks of {}", request.block_ids.size(), request.input_tokens,
                  block_tokens_);
  REPREFILL_CHECK(entries_.empty() || entries_.back().arrival <= request.arrival,
                  "request {} arrives at {} ns, before the one in front of it", entries_.size(), request.arrival.value);
  entries_.push_back({.arrival = request.arrival,
                      .input_tokens = request.input_tokens,
                      .output_tokens = request.output_tokens,
                      .first_block = block_ids_.size()});
  block_ids_.insert(block_ids_.end(), request.block_ids.begin(), request.block_ids.end());
}

void RequestTrace::reserve(std::size_t num_requests, std::size_t num_blocks) {
  entries_.reserve(num_requests);
  block_ids_.reserve(num_blocks);
}

}  // namespace reprefill::traces
