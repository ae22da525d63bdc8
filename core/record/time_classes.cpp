#include "core/record/time_classes.hpp"

#include <algorithm>
#include <vector>

#include "core/base/error.hpp"

namespace reprefill::record {
namespace {

/// Writes and demotions claim nothing, neither while they run nor while they queue: the request does not wait for them.
bool is_background(const Span& span) {
  return span.resource == Resource::ssd_write || span.resource == Resource::link_d2h;
}

/// The class of a span's service.
int service_class(const Span& span) {
  switch (span.resource) {
    case Resource::gpu_compute: return static_cast<int>(TimeClass::gpu_compute);
    case Resource::scoring: return static_cast<int>(TimeClass::scoring);
    case Resource::ssd_demand:
    case Resource::ssd_prefetch: return static_cast<int>(TimeClass::ssd);
    case Resource::link_h2d_copy:
    case Resource::link_h2d_gather: return static_cast<int>(TimeClass::link);
    case Resource::host:
    case Resource::host_memory:
    case Resource::link_d2h:
    case Resource::ssd_write: return static_cast<int>(TimeClass::host);
  }
  return static_cast<int>(TimeClass::host);
}

struct Edge {
  std::int64_t time;
  std::int8_t time_class;  // kNumTimeClasses: identification
  std::int8_t change;
};

constexpr int kIdentification = kNumTimeClasses;

class Sweep {
 public:
  Sweep(Nanoseconds begin, Nanoseconds end) : begin_(begin.value), end_(end.value) {}

  void add(Nanoseconds from, Nanoseconds to, int time_class) {
    const std::int64_t first = std::max(from.value, begin_);
    const std::int64_t last = std::min(to.value, end_);
    if (first >= last) return;
    edges_.push_back({first, static_cast<std::int8_t>(time_class), 1});
    edges_.push_back({last, static_cast<std::int8_t>(time_class), -1});
  }

  TimeBreakdown charge() {
    std::sort(edges_.begin(), edges_.end(), [](const Edge& a, const Edge& b) { return a.time < b.time; });
    TimeBreakdown breakdown;
    std::array<int, kNumTimeClasses + 1> active{};
    active[static_cast<std::size_t>(TimeClass::host)] = 1;  // what nothing else claims
    std::int64_t now = begin_;
    for (const Edge& edge : edges_) {
      credit(breakdown, active, edge.time - now);
      now = edge.time;
      active[static_cast<std::size_t>(edge.time_class)] += edge.change;
    }
    credit(breakdown, active, end_ - now);
    return breakdown;
  }

 private:
  static void credit(TimeBreakdown& breakdown, const std::array<int, kNumTimeClasses + 1>& active, std::int64_t time) {
    if (time == 0) return;
    std::size_t first = 0;
    while (active[first] == 0) ++first;
    breakdown.by_class[first] += Nanoseconds{time};
    if (active[kIdentification] > 0) breakdown.identification += Nanoseconds{time};
  }

  std::vector<Edge> edges_;
  std::int64_t begin_;
  std::int64_t end_;
};

}  // namespace

const char* name_of(TimeClass time_class) {
  static constexpr const char* kNames[] = {"gpu_compute", "scoring", "ssd", "link", "queueing", "host"};
  return kNames[static_cast<std::size_t>(time_class)];
}

Nanoseconds TimeBreakdown::total() const {
  Nanoseconds sum{0};
  for (const Nanoseconds time : by_class) sum += time;
  return sum;
}

TimeBreakdown classify_time(Nanoseconds arrival, Nanoseconds admission, Nanoseconds first_token,
                            std::span<const Span> spans) {
  Sweep sweep(arrival, first_token);
  sweep.add(arrival, admission, static_cast<int>(TimeClass::queueing));
  for (const Span& span : spans) {
    if (is_background(span)) continue;
    const int service = service_class(span);
    sweep.add(span.start, span.end, service);
    if (span.queued_behind_other) {
      sweep.add(span.ready, span.start, static_cast<int>(TimeClass::queueing));
    } else {
      const bool io = service == static_cast<int>(TimeClass::ssd) || service == static_cast<int>(TimeClass::link);
      if (io) sweep.add(span.ready, span.start, service);
    }
    if (span.resource == Resource::scoring || span.operation == Operation::read_keys) {
      sweep.add(span.start, span.end, kIdentification);
    }
  }
  TimeBreakdown breakdown = sweep.charge();
  REPREFILL_CHECK(breakdown.total() == first_token - arrival, "time classes sum to {} ns of a TTFT of {} ns",
                  breakdown.total().value, (first_token - arrival).value);
  return breakdown;
}

}  // namespace reprefill::record
