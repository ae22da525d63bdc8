#include "traces/workload/output_blocks.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include "core/base/random.hpp"

namespace reprefill::traces {
namespace {

std::span<const std::uint64_t> full_blocks(const TraceRequest& request, std::uint32_t block_tokens) {
  return request.block_ids.first(request.input_tokens / block_tokens);
}

/// Of 64 random bits, so that it is no other id in all likelihood.
std::uint64_t own_id(std::size_t request_idx, std::size_t position) {
  return combine64(combine64(hash_name("output block"), request_idx), position);
}

}  // namespace

std::vector<std::vector<std::uint64_t>> output_block_ids(std::span<const TraceRequest> requests,
                                                         std::uint32_t block_tokens) {
  std::vector<std::vector<std::uint64_t>> outputs(requests.size());
  // A block's id stands for all before it, so it names the prompts that go on behind it: the next one to come is kept.
  boost::unordered_flat_map<std::uint64_t, std::size_t> next_behind;
  for (std::size_t i = requests.size(); i-- > 0;) {
    const TraceRequest& request = requests[i];
    const auto prompt = full_blocks(request, block_tokens);
    const std::size_t num_blocks = (std::size_t{request.input_tokens} + request.output_tokens) / block_tokens;
    std::span<const std::uint64_t> continued;
    if (!prompt.empty()) {
      const auto next = next_behind.find(prompt.back());
      if (next != next_behind.end()) continued = full_blocks(requests[next->second], block_tokens);
    }
    for (std::size_t position = prompt.size(); position < num_blocks; ++position) {
      outputs[i].push_back(position < continued.size() ? continued[position] : own_id(i, position));
    }
    for (std::size_t position = 0; position + 1 < prompt.size(); ++position) next_behind[prompt[position]] = i;
  }
  return outputs;
}

}  // namespace reprefill::traces
