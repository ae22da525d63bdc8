// Attention mass that stored tokens receive from own tokens: what scorers choose chunks by.
#pragma once

#include <span>

#include "engine/executor/cpu/query_block.hpp"
#include "engine/executor/cpu/worker_pool.hpp"

namespace reprefill::engine {

/// out: [groups.size()][keys.num_stored()]. For each group of query heads, the softmax over stored and causal own keys,
/// summed over all queries and the group's heads. Two passes: maximum and denominator of every row, then column sums,
/// so that no matrix of scores is in memory. Sums go through the rows in ascending order, in fp32 within a block of
/// queries and in double over blocks; no bit depends on threads.
void score_columns(WorkerPool& pool, const Kernels& kernels, const KeyTiles& keys, const Queries& queries,
                   std::span<const HeadGroup> groups, float scale, std::span<double> out);

}  // namespace reprefill::engine
