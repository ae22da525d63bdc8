// Who holds a resource while somebody waits: what tells queueing behind other requests from waiting for oneself.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "core/record/span.hpp"

namespace reprefill::record {

/// Counts, per resource, the operations of each request that are ready or in service.
class QueueOccupancy {
 public:
  /// An operation is ready: notes in its span whether other requests' operations were there first.
  void enter(Span& span) {
    std::vector<Entry>& queue = queue_of(span.resource);
    const auto own = find(queue, span.request);
    span.queued_behind_other = queue.size() > (own == queue.end() ? 0u : 1u);
    if (own == queue.end()) {
      queue.push_back({span.request, 1});
    } else {
      ++own->count;
    }
  }

  void leave(const Span& span) {
    std::vector<Entry>& queue = queue_of(span.resource);
    const auto own = find(queue, span.request);
    if (--own->count == 0) queue.erase(own);
  }

 private:
  struct Entry {
    std::uint32_t request;
    std::uint32_t count;
  };

  static std::vector<Entry>::iterator find(std::vector<Entry>& queue, std::uint32_t request) {
    return std::find_if(queue.begin(), queue.end(), [&](const Entry& entry) { return entry.request == request; });
  }
  /// Scoring runs on the compute stream: one waits for the other.
  std::vector<Entry>& queue_of(Resource resource) {
    return queues_[static_cast<std::size_t>(resource == Resource::scoring ? Resource::gpu_compute : resource)];
  }

  std::array<std::vector<Entry>, kNumResources> queues_;
};

}  // namespace reprefill::record
