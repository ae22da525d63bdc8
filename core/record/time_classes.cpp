#include "core/record/time_classes.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/base/error.hpp"
#include "core/record/critical_path.hpp"

namespace reprefill::record {
namespace {

/// The class of a span's service.
int service_class(const Span& span) {
  switch (span.resource) {
    case Resource::gpu_compute:
      return static_cast<int>(TimeClass::gpu_compute);
    case Resource::scoring:
      return static_cast<int>(TimeClass::scoring);
    case Resource::ssd_demand:
    case Resource::ssd_prefetch:
      return static_cast<int>(TimeClass::ssd);
    case Resource::link_h2d_copy:
    case Resource::link_h2d_gather:
      return static_cast<int>(TimeClass::link);
    case Resource::host:
    case Resource::host_memory:
    case Resource::link_d2h:
    case Resource::ssd_write:
      return static_cast<int>(TimeClass::host);
  }
  return static_cast<int>(TimeClass::host);
}

constexpr int kIdentification = kNumTimeClasses;

/// Where a claim of a class begins or ends, in one integer so that sorting compares nothing else: nanoseconds since the
/// arrival, the class, and in the lowest bit whether the claim ends. The order among edges of one time has no effect.
class Edge {
 public:
  Edge(std::int64_t since_arrival_ns, int time_class, bool ends)
      : packed_(static_cast<std::uint64_t>(since_arrival_ns) << kTagBits | static_cast<std::uint64_t>(time_class) << 1 |
                (ends ? 1u : 0u)) {}
  std::int64_t since_arrival_ns() const { return static_cast<std::int64_t>(packed_ >> kTagBits); }
  std::size_t time_class() const { return (packed_ >> 1) & ((1u << (kTagBits - 1)) - 1); }
  int change() const { return (packed_ & 1u) != 0 ? -1 : 1; }
  bool operator<(const Edge& other) const { return packed_ < other.packed_; }

  static constexpr int kTagBits = 4;
  static constexpr std::int64_t kMaxNs = std::numeric_limits<std::int64_t>::max() >> kTagBits;  // 18 years

 private:
  std::uint64_t packed_;
};
static_assert(kIdentification < 1 << (Edge::kTagBits - 1));

class Sweep {
 public:
  Sweep(Nanoseconds begin, Nanoseconds end, std::size_t num_spans) : begin_(begin.value), end_(end.value) {
    edges_.reserve(kMaxEdgesPerSpan * num_spans + 2);
  }

  void add(Nanoseconds from, Nanoseconds to, int time_class) {
    const std::int64_t first = std::max(from.value, begin_);
    const std::int64_t last = std::min(to.value, end_);
    if (first >= last) return;
    edges_.emplace_back(first - begin_, time_class, /*ends=*/false);
    edges_.emplace_back(last - begin_, time_class, /*ends=*/true);
  }

  TimeBreakdown charge() {
    std::sort(edges_.begin(), edges_.end());
    TimeBreakdown breakdown;
    std::array<int, kNumTimeClasses + 1> active{};
    active[static_cast<std::size_t>(TimeClass::host)] = 1;  // what nothing else claims
    std::int64_t now = 0;
    for (const Edge& edge : edges_) {
      credit(breakdown, active, edge.since_arrival_ns() - now);
      now = edge.since_arrival_ns();
      active[edge.time_class()] += edge.change();
    }
    credit(breakdown, active, end_ - begin_ - now);
    return breakdown;
  }

 private:
  static constexpr std::size_t kMaxEdgesPerSpan = 6;  // service, queue, identification

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
  REPREFILL_CHECK(arrival <= admission && admission <= first_token && (first_token - arrival).value <= Edge::kMaxNs,
                  "a request that arrives at {} ns, is admitted at {} ns and ends at {} ns", arrival.value,
                  admission.value, first_token.value);
  Sweep sweep(arrival, first_token, spans.size());
  sweep.add(arrival, admission, static_cast<int>(TimeClass::queueing));
  for (const Span& span : spans) {
    REPREFILL_CHECK(span.ready <= span.start && span.start <= span.end,
                    "{} on {} of request {} is ready at {} ns, starts at {} ns and ends at {} ns",
                    name_of(span.operation), name_of(span.resource), span.request, span.ready.value, span.start.value,
                    span.end.value);
    if (is_background(span)) continue;  // claims nothing, neither while it runs nor while it queues
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

TimeClass bottleneck(const TimeBreakdown& time) {
  const auto worst = std::max_element(time.by_class.begin(), time.by_class.end());
  return static_cast<TimeClass>(worst - time.by_class.begin());
}

}  // namespace reprefill::record
