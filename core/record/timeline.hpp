// Spans as a Chrome trace that Perfetto opens (design 6).
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/base/json.hpp"
#include "core/record/span.hpp"

namespace reprefill::record {

/// Complete events in microseconds with nanosecond digits. A lane holds no two slices at the same time: what overlaps
/// on a resource goes to further lanes, one per queue slot.
Json make_timeline(std::span<const Span> spans);
/// Throws MachineError when the file cannot be written.
void write_timeline(const std::filesystem::path& path, std::span<const Span> spans);

/// What is wrong with a trace: missing fields, negative durations, overlapping slices on one lane. Empty: nothing.
std::vector<std::string> check_timeline(const Json& timeline);

}  // namespace reprefill::record
