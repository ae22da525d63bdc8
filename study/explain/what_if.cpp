#include "study/explain/what_if.hpp"

#include <functional>

#include "core/base/error.hpp"

namespace reprefill::study {
namespace {

using sim::Point;

constexpr Nanoseconds kNone{0};
constexpr BytesPerSecond kBoundlessBandwidth{1e15};
constexpr FlopsPerSecond kBoundlessRate{1e21};

void free_ssd(Point& point) {
  point.profile.ssd.read_bandwidth = kBoundlessBandwidth;
  point.profile.ssd.read_latency = kNone;
  point.path.object_fixed_cost = kNone;
  point.profile.host.submission_cost = point.profile.host.completion_cost = kNone;
}

void free_link(Point& point) {
  sim::LinkProfile& link = point.profile.link;
  link.copy_latency = link.gather_latency = kNone;
  link.copy_bandwidth = link.gather_bandwidth = link.pageable_bandwidth = kBoundlessBandwidth;
  point.profile.host.memcpy_bandwidth = kBoundlessBandwidth;
}

void scale_gpu(Point& point, double factor) {
  point.profile.gpu.peak_rate.value *= factor;
  point.profile.gpu.memory_bandwidth.value *= factor;
}

void free_gpu(Point& point) {
  sim::GpuProfile& gpu = point.profile.gpu;
  gpu.peak_rate = kBoundlessRate;
  gpu.memory_bandwidth = kBoundlessBandwidth;
  gpu.operation_overhead = gpu.select_overhead = kNone;
  gpu.select_per_score_ns = 0;
  point.path.launch_overhead_per_layer = kNone;
}

void free_host(Point& point) {
  sim::HostProfile& host = point.profile.host;
  host.selection_cost = host.first_token_cost = host.tokenise_per_token = kNone;
  host.look_up_per_block = host.cache_update_per_entry = kNone;
  point.path.compute_overhead_per_request = point.path.identify_cost_per_call = point.path.stage_synchronise = kNone;
}

/// The same budget with all KV in GPU memory: what no way of loading can beat.
Point resident_point(const Point& point) {
  Json params = Json::object();
  for (const char* key : {"budget", "chunk_tokens", "period_layers"}) {
    if (point.system_params.contains(key)) params[key] = point.system_params.at(key);
  }
  const Json name = "resident";
  Point resident = point;
  resident.system = resident.label = "resident";
  resident.system_params = pipeline::find_system(JsonValue(name, point.origin))
                               .resolve(JsonValue(params, point.origin, "resident"), point.path.kind);
  return resident;
}

}  // namespace

std::vector<WhatIf> what_ifs(const Point& point) {
  std::vector<WhatIf> list;
  const auto add = [&](const char* name, const char* change, bool floor, const std::function<void(Point&)>& edit) {
    WhatIf what_if{.name = name, .change = change, .floor = floor, .point = point};
    edit(what_if.point);
    list.push_back(std::move(what_if));
  };
  const pipeline::SoftwarePath& path = point.path;
  if (path.kind == pipeline::PathKind::prototype) {
    add("direct_path", "the direct software path: queue depth 128, merged reads, no framework time", false,
        [](Point& p) { p.path = pipeline::default_software_path(pipeline::PathKind::direct); });
  }
  if (path.object_fixed_cost > kNone) {
    add("no_object_cost", "no fixed cost per object read", false, [](Point& p) { p.path.object_fixed_cost = kNone; });
  }
  if (path.compute_overhead_per_request > kNone) {
    add("no_framework_time", "no framework time per request", false,
        [](Point& p) { p.path.compute_overhead_per_request = kNone; });
  }
  add("ssd_twice_as_fast", "an SSD with twice the bandwidth and half the latency", false, [](Point& p) {
    p.profile.ssd.read_bandwidth.value *= 2;
    p.profile.ssd.read_latency.value /= 2;
  });
  add("link_twice_as_fast", "a link to the GPU with twice the bandwidth", false, [](Point& p) {
    p.profile.link.copy_bandwidth.value *= 2;
    p.profile.link.gather_bandwidth.value *= 2;
    p.profile.link.pageable_bandwidth.value *= 2;
  });
  add("gpu_twice_as_fast", "a GPU with twice the FLOP/s and memory bandwidth", false,
      [](Point& p) { scale_gpu(p, 2); });
  add("ssd_free", "reads that cost nothing", true, free_ssd);
  add("link_free", "copies that cost nothing", true, free_link);
  add("gpu_free", "compute that costs nothing", true, free_gpu);
  add("host_free", "host work that costs nothing", true, free_host);
  add("resident", "all KV already in GPU memory, the same budget", true, [](Point& p) { p = resident_point(p); });
  return list;
}

}  // namespace reprefill::study
