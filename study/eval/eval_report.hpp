// Tables of an evaluation: accuracy with intervals and paired tests, distance from full KV, what was kept.
#pragma once

#include "core/base/json.hpp"
#include "core/base/text_table.hpp"
#include "study/eval/eval.hpp"

namespace reprefill::study {

/// One entry per variant and kind ("all" first), and recall of the answer's tokens by layer and by distance from the
/// period's leader.
Json report_evaluation(const EvalResult& result, std::span<const TaskItem> task, std::uint64_t seed);

/// The same as a table for people.
TextTable evaluation_table(const Json& report);

}  // namespace reprefill::study
