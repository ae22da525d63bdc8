#include "sim/simulation/importance_mismatch.hpp"

#include <fmt/ranges.h>

#include "traces/importance/recorded_importance.hpp"

namespace reprefill::sim {
namespace {

class Differences {
 public:
  template <typename Value>
  void compare(const char* what, const Value& recorded, const Value& here) {
    if (!(recorded == here)) texts_.push_back(fmt::format("{}: recorded {}, here {}", what, recorded, here));
  }
  std::string text() const { return fmt::format("{}", fmt::join(texts_, "; ")); }

 private:
  std::vector<std::string> texts_;
};

/// A trace that does not name its model still shows it: by the heads of its channels, and by its layers.
void compare_shape_of_records(const traces::RecordedImportance& trace, const ModelGeometry& here, Differences& found) {
  for (const traces::ImportanceChannel& channel : trace.header().channels) {
    if (channel.name == "keys") found.compare("KV heads", channel.num_heads, here.num_kv_heads);
  }
  const int period = trace.header().layers_per_period;
  const int covered = (trace.num_layers() + period - 1) / period * period;
  if (trace.num_layers() > here.num_layers || covered < here.num_layers) {
    found.compare("layers with scores", trace.num_layers(), here.num_layers);
  }
}

}  // namespace

std::string importance_mismatch(const Point& point, const traces::ImportanceSource& source) {
  const auto* trace = dynamic_cast<const traces::RecordedImportance*>(&source);
  if (trace == nullptr) return "";
  Differences found;
  if (const auto& from = trace->header().recorded_from) {
    found.compare("layers of the model", from->num_layers, point.geometry.num_layers);
    found.compare("query heads of the model", from->num_query_heads, point.geometry.num_query_heads);
    found.compare("KV heads of the model", from->num_kv_heads, point.geometry.num_kv_heads);
  } else {
    compare_shape_of_records(*trace, point.geometry, found);
  }
  if (const auto& under = trace->header().recorded_under) {
    const traces::RecordedUnder here = traces::recorded_under(point.system, point.system_params);
    found.compare("system", under->system, here.system);
    found.compare("budget", under->budget, here.budget);
    found.compare("chunk_tokens", under->chunk_tokens, here.chunk_tokens);
  }
  return found.text();
}

}  // namespace reprefill::sim
