#include "calibrate/session/session_work.hpp"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

namespace reprefill::calibrate {
namespace {

using record::Operation;
using record::Resource;

bool is_gpu(const record::Span& span) {
  return span.operation == Operation::project || span.operation == Operation::attend ||
         span.operation == Operation::score;
}
bool is_ssd(const record::Span& span) {
  return span.resource == Resource::ssd_demand || span.resource == Resource::ssd_prefetch;
}
bool is_link(const record::Span& span) {
  return span.resource == Resource::link_h2d_copy || span.resource == Resource::link_h2d_gather ||
         span.resource == Resource::link_d2h;
}

struct Busy {
  double ns = 0, bytes = 0;
};
Busy busy_of(std::span<const record::Span> spans, const std::function<bool(const record::Span&)>& counts) {
  std::vector<std::pair<Nanoseconds, Nanoseconds>> times;
  Busy busy;
  for (const record::Span& span : spans) {
    if (!counts(span)) continue;
    times.emplace_back(span.start, span.end);
    busy.bytes += static_cast<double>(span.bytes.value);
  }
  std::ranges::sort(times);
  Nanoseconds until{0};
  for (const auto& [start, end] : times) {
    const Nanoseconds from = std::max(start, until);
    if (end > from) busy.ns += static_cast<double>((end - from).value);
    until = std::max(until, end);
  }
  return busy;
}

}  // namespace

SessionWork& SessionWork::operator+=(const SessionWork& other) {
  gpu_ns += other.gpu_ns, ssd_ns += other.ssd_ns, link_ns += other.link_ns;
  ssd_bytes += other.ssd_bytes, link_bytes += other.link_bytes;
  return *this;
}

SessionWork work_of(std::span<const record::Span> spans) {
  const Busy ssd = busy_of(spans, is_ssd), link = busy_of(spans, is_link);
  return {.gpu_ns = busy_of(spans, is_gpu).ns,
          .ssd_ns = ssd.ns,
          .link_ns = link.ns,
          .ssd_bytes = ssd.bytes,
          .link_bytes = link.bytes};
}

Json to_json(const SessionWork& work) {
  return {{"gpu_ns", work.gpu_ns},
          {"ssd_ns", work.ssd_ns},
          {"link_ns", work.link_ns},
          {"ssd_bytes", work.ssd_bytes},
          {"link_bytes", work.link_bytes}};
}

SessionWork session_work_from_json(const Json& json) {
  const auto of = [&](const char* key) { return json.at(key).get<double>(); };
  return {.gpu_ns = of("gpu_ns"),
          .ssd_ns = of("ssd_ns"),
          .link_ns = of("link_ns"),
          .ssd_bytes = of("ssd_bytes"),
          .link_bytes = of("link_bytes")};
}

}  // namespace reprefill::calibrate
