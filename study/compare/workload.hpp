// The requests of a scenario's point as prompts that the engine can serve.
#pragma once

#include <set>
#include <vector>

#include "engine/session/session.hpp"
#include "sim/simulation/request_plan.hpp"

namespace reprefill::study {

/// Token ids of the pool's prefixes and of the requests on them: a function of the point's seed alone.
struct CompareWorkload {
  std::vector<engine::Prompt> prompts;  // warm-up first
  std::size_t num_warmup = 0;
  std::set<std::uint32_t> prefixes;  // the ones that occur
};

/// Throws ConfigError for a point whose requests cannot be served by the engine one after the other: a trace, arrivals
/// by the clock, prompts longer than the model takes.
CompareWorkload make_compare_workload(const sim::Point& point, std::size_t num_warmup, sim::SharedInputs& inputs);

std::vector<std::int32_t> prefix_ids(const sim::Point& point, std::uint32_t prefix);

/// What a request that is none of the point's adds to a prefix, to order the store by what matters to such requests.
std::vector<std::int32_t> calibration_suffix(const sim::Point& point, std::uint64_t prefix, std::uint32_t number);

/// The store that all points share: every prefix that occurs, in all layouts that the systems open, with tokens in
/// their own order. Blocks, seeds and prefix lengths may differ between points as long as the store's block is one.
engine::Store build_compare_store(engine::Model& model, std::span<const sim::Point> points,
                                  std::span<const CompareWorkload> workloads, const std::filesystem::path& folder,
                                  const std::function<void(std::size_t done, std::size_t all)>& on_prefix);

}  // namespace reprefill::study
