#include "traces/workload/request_trace.hpp"

#include <algorithm>

#include "core/base/error.hpp"

namespace reprefill::traces {

RequestTrace::RequestTrace(std::uint32_t block_tokens, LastBlock last_block)
    : block_tokens_(block_tokens), last_block_(last_block) {
  REPREFILL_CHECK(block_tokens > 0, "a block has at least one token");
}

std::uint32_t RequestTrace::num_blocks(std::uint32_t input_tokens) const {
  if (last_block_ == LastBlock::has_none) return input_tokens / block_tokens_;
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
  REPREFILL_CHECK(entries_.empty() || entries_.back().arrival <= request.arrival,
                  "request {} arrives at {} ns, before the one in front of it", entries_.size(), request.arrival.value);
  append_unordered(request);
}

void RequestTrace::append_unordered(const TraceRequest& request) {
  REPREFILL_CHECK(request.block_ids.size() == num_blocks(request.input_tokens),
                  "{} block ids for {} tokens in blocks of {}", request.block_ids.size(), request.input_tokens,
                  block_tokens_);
  entries_.push_back({.arrival = request.arrival,
                      .input_tokens = request.input_tokens,
                      .output_tokens = request.output_tokens,
                      .first_block = block_ids_.size()});
  block_ids_.insert(block_ids_.end(), request.block_ids.begin(), request.block_ids.end());
}

void RequestTrace::sort_by_arrival(TimeOrigin origin) {
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.arrival < b.arrival; });
  if (origin == TimeOrigin::as_is || entries_.empty()) return;
  const Nanoseconds first = entries_.front().arrival;
  for (Entry& entry : entries_) entry.arrival = entry.arrival - first;
}

bool RequestTrace::operator==(const RequestTrace& other) const {
  if (block_tokens_ != other.block_tokens_ || last_block_ != other.last_block_ || size() != other.size()) return false;
  for (std::size_t i = 0; i < size(); ++i) {
    const TraceRequest a = (*this)[i];
    const TraceRequest b = other[i];
    if (a.arrival != b.arrival || a.input_tokens != b.input_tokens || a.output_tokens != b.output_tokens ||
        !std::ranges::equal(a.block_ids, b.block_ids)) {
      return false;
    }
  }
  return true;
}

void RequestTrace::reserve(std::size_t num_requests, std::size_t num_blocks) {
  entries_.reserve(num_requests);
  block_ids_.reserve(num_blocks);
}

}  // namespace reprefill::traces
