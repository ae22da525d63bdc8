// From rows to what a person reads: means over replicas, and the table at the end of a sweep.
#pragma once

#include <string>
#include <vector>

#include "core/base/json.hpp"

namespace reprefill::sim {

/// One object per point setting: means over its replicas of TTFT statistics and the headline figures, in point order.
std::vector<Json> summarise_replicas(const std::vector<Json>& rows);

/// summary.json.
Json make_summary(const std::string& name, const std::string& description, const std::vector<std::string>& axis_names,
                  const std::vector<Json>& rows);

enum class TableForm { text, markdown };
/// One line per setting; P95 where one is given. Settings that depend on timing are marked ~, backlogged ones ! and not
/// ranked; speed-ups are over the slowest system with the same axes where that exists.
std::string result_table(const std::vector<Json>& rows, const std::vector<std::string>& axis_names, TableForm form);

}  // namespace reprefill::sim
