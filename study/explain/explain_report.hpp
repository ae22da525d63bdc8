// An explanation in words and numbers, and the same as JSON.
#pragma once

#include <string>

#include "core/base/json.hpp"
#include "study/explain/explain.hpp"

namespace reprefill::study {

/// Steps of a critical path that are alike: the same operation on the same resource, served or waiting.
struct PathPart {
  record::PathStep::Kind kind;
  record::Operation operation;
  record::Resource resource;
  std::uint64_t num_steps = 0;
  Nanoseconds time{0};
  Bytes bytes;
};
/// The longest first.
std::vector<PathPart> path_parts(const ServedRequest& served);

std::string explanation_text(const Explanation& explanation);
/// `steps`: the whole critical path, step by step.
Json explanation_json(const Explanation& explanation, bool steps);

}  // namespace reprefill::study
