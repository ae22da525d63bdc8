#include "study/compare/overlay_timeline.hpp"

#include "core/record/timeline.hpp"

namespace reprefill::study {

void OverlayTimeline::add(const std::string& process, std::span<const record::Span> spans) {
  const int pid = ++num_processes_;
  events_.push_back({{"name", "process_name"}, {"ph", "M"}, {"pid", pid}, {"tid", 0}, {"args", {{"name", process}}}});
  events_.push_back(
      {{"name", "process_sort_index"}, {"ph", "M"}, {"pid", pid}, {"tid", 0}, {"args", {{"sort_index", pid}}}});
  Json timeline = record::make_timeline(spans);
  for (Json& event : timeline.at("traceEvents")) {
    event["pid"] = pid;
    events_.push_back(std::move(event));
  }
}

}  // namespace reprefill::study
