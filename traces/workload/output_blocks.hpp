// Ids for the blocks that a request's output fills: traces have ids for prompts only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "traces/workload/request_trace.hpp"

namespace reprefill::traces {

/// For each request, in order of arrival, ids of the full blocks that lie behind the full blocks of its prompt once its
/// output is there (the tokens of a partly filled last prompt block count with them).
///
/// They are taken from the first later request whose prompt goes on behind all full blocks of this one: what stands
/// there is taken to be this answer. Where no prompt goes on, or not far enough, blocks get ids of their own, which
/// nothing will find. An assumption: a client may drop part of an answer (its reasoning, say), and then ids say that
/// KV can be used again which a real service could not use.
std::vector<std::vector<std::uint64_t>> output_block_ids(std::span<const TraceRequest> requests,
                                                         std::uint32_t block_tokens);

}  // namespace reprefill::traces
