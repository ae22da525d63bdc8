// Which importance orders a store's tokens: that of requests before the run.
#pragma once

#include "core/pipeline/reordering.hpp"
#include "engine/store/reorder.hpp"

namespace reprefill::engine {

/// Orders by scores that a generator has for any request, as the simulator has them: `count` requests on each segment.
/// `importance` outlives the result.
OrderSource orders_from_generator(const Store& store, const traces::ImportanceSource& importance, std::uint32_t count);

/// Orders by recorded scores. Of `requests`, the store's matches for the recorded prompts in their order, the first
/// `count` on each segment. Throws ConfigError that names `place` and a segment with fewer. `importance` outlives the
/// result.
OrderSource orders_from_recording(const Store& store, const traces::ImportanceSource& importance,
                                  std::span<const pipeline::CalibrationRequest> requests, std::uint32_t count,
                                  std::string_view place);

/// The recorded request `number` on a store that has this prompt's prefix: as a session matches it.
pipeline::CalibrationRequest calibration_request(const Store& store, std::span<const std::int32_t> prompt_ids,
                                                 std::uint64_t number);

/// Throws ConfigError unless the scores are of the heads that a layout's probe keys are of.
void check_probe_groups(const traces::ImportanceSource& importance, const StoredLayout& layout, std::string_view place);

}  // namespace reprefill::engine
