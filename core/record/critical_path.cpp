#include "core/record/critical_path.hpp"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <tuple>

#include "core/base/error.hpp"

namespace reprefill::record {
namespace {

/// What shares a queue: scoring runs on the compute stream, prefetch reads on the drive of demand reads.
int device_of(Resource resource) {
  if (resource == Resource::scoring) return static_cast<int>(Resource::gpu_compute);
  if (resource == Resource::ssd_prefetch) return static_cast<int>(Resource::ssd_demand);
  return static_cast<int>(resource);
}

class Walk {
 public:
  Walk(Nanoseconds begin, std::span<const Span> spans) : begin_(begin), spans_(spans), used_(spans.size(), false) {
    by_end_.resize(spans.size());
    std::iota(by_end_.begin(), by_end_.end(), std::size_t{0});
    std::stable_sort(by_end_.begin(), by_end_.end(),
                     [&](std::size_t a, std::size_t b) { return spans[a].end < spans[b].end; });
  }

  /// Backwards from `now` to the beginning.
  std::vector<PathStep> back_from(Nanoseconds now) {
    std::optional<std::size_t> later;
    while (now > begin_) {
      const std::optional<std::size_t> span = latest_before(now, later);
      if (!span) {
        add(PathStep::Kind::gap, begin_, now);
        break;
      }
      add(PathStep::Kind::gap, spans_[*span].end, now);
      now = pass(*span);
      later = span;
    }
    std::reverse(steps_.begin(), steps_.end());
    return std::move(steps_);
  }

 private:
  /// Goes over a span's service, and over its wait where nothing of our own explains that. Returns where it is then.
  Nanoseconds pass(std::size_t index) {
    const Span& span = spans_[index];
    used_[index] = true;
    add(PathStep::Kind::operation, span.start, span.end, index);
    if (span.ready >= span.start || follows_own(span)) return span.start;
    add(span.queued_behind_other ? PathStep::Kind::queued_other : PathStep::Kind::queued_own, span.ready, span.start,
        index);
    return span.ready;
  }

  /// An own operation left the device the moment this one began: that is what it waited for.
  bool follows_own(const Span& span) const {
    const auto [first, last] = ending_at(span.start);
    return std::any_of(first, last, [&](std::size_t other) {
      return !used_[other] && device_of(spans_[other].resource) == device_of(span.resource) &&
             spans_[other].start < span.start;
    });
  }

  std::pair<std::vector<std::size_t>::const_iterator, std::vector<std::size_t>::const_iterator> ending_at(
      Nanoseconds time) const {
    const auto first =
        std::partition_point(by_end_.begin(), by_end_.end(), [&](std::size_t span) { return spans_[span].end < time; });
    const auto last =
        std::partition_point(first, by_end_.end(), [&](std::size_t span) { return spans_[span].end <= time; });
    return {first, last};
  }

  /// The unused span that ended last, `now` at the latest; nullopt: none within the request's time.
  std::optional<std::size_t> latest_before(Nanoseconds now, std::optional<std::size_t> later) const {
    auto end = ending_at(now).second;
    while (end != by_end_.begin()) {
      const auto [first, last] = ending_at(spans_[*std::prev(end)].end);
      if (spans_[*first].end <= begin_) return std::nullopt;
      std::optional<std::size_t> best;
      for (auto candidate = first; candidate != last; ++candidate) {
        if (used_[*candidate] || is_background(spans_[*candidate])) continue;
        if (!best || rank(*candidate, later) < rank(*best, later)) best = *candidate;
      }
      if (best) return best;
      end = first;
    }
    return std::nullopt;
  }

  /// Lower is likelier to be what `later` waited for.
  std::tuple<bool, bool, int, std::int64_t> rank(std::size_t index, std::optional<std::size_t> later) const {
    const Span& span = spans_[index];
    const bool moves_to_tier = span.resource == Resource::host_memory;  // few wait for what enters the host tier
    const bool same_device = later && device_of(span.resource) == device_of(spans_[*later].resource);
    const int distance = later ? std::abs(span.layer_idx - spans_[*later].layer_idx) : 0;
    return {moves_to_tier, !same_device, distance, -span.start.value};
  }

  void add(PathStep::Kind kind, Nanoseconds from, Nanoseconds to, std::size_t span = 0) {
    const Nanoseconds first = std::max(from, begin_);
    if (first < to) steps_.push_back({.kind = kind, .from = first, .to = to, .span = span});
  }

  Nanoseconds begin_;
  std::span<const Span> spans_;
  std::vector<bool> used_;
  std::vector<std::size_t> by_end_;
  std::vector<PathStep> steps_;
};

}  // namespace

bool is_background(const Span& span) {
  return span.resource == Resource::ssd_write || span.resource == Resource::link_d2h;
}

const char* name_of(PathStep::Kind kind) {
  static constexpr const char* kNames[] = {"admission", "operation", "queued_own", "queued_other", "gap"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::vector<PathStep> critical_path(Nanoseconds arrival, Nanoseconds admission, Nanoseconds first_token,
                                    std::span<const Span> spans) {
  REPREFILL_CHECK(arrival <= admission && admission <= first_token,
                  "a request that arrives at {} ns, is admitted at {} ns and ends at {} ns", arrival.value,
                  admission.value, first_token.value);
  std::vector<PathStep> steps = Walk(admission, spans).back_from(first_token);
  if (arrival < admission) {
    steps.insert(steps.begin(), {.kind = PathStep::Kind::admission, .from = arrival, .to = admission});
  }
  Nanoseconds sum{0};
  for (const PathStep& step : steps) sum += step.duration();
  REPREFILL_CHECK(sum == first_token - arrival, "a critical path of {} ns in a TTFT of {} ns", sum.value,
                  (first_token - arrival).value);
  return steps;
}

}  // namespace reprefill::record
