// Both machines in one Chrome trace: the same request, one process each, both from its arrival at zero.
#pragma once

#include <span>
#include <string>

#include "core/base/json.hpp"
#include "core/record/span.hpp"

namespace reprefill::study {

class OverlayTimeline {
 public:
  /// A process of its own. `spans` count from the request's arrival.
  void add(const std::string& process, std::span<const record::Span> spans);
  Json json() const { return {{"displayTimeUnit", "ns"}, {"traceEvents", events_}}; }

 private:
  Json events_ = Json::array();
  int num_processes_ = 0;
};

}  // namespace reprefill::study
