// The kernels at the shapes of Qwen2.5-7B (28 query heads, 4 KV heads, head_dim 128) that issues judge.
#pragma once

#include "benchmarks/kernels/graph_timer.hpp"

namespace reprefill::benchmarks {

/// With sweeps_splits also every number of splits: what choose_num_splits' constants come from.
void time_attention(GraphTimer& timer, bool sweeps_splits);
void time_scoring(GraphTimer& timer);
void time_selection(GraphTimer& timer);
void time_gather(GraphTimer& timer);
void time_elementwise(GraphTimer& timer);

}  // namespace reprefill::benchmarks
