#include "core/pipeline/software_path.hpp"

namespace reprefill::pipeline {

SoftwarePath default_software_path(PathKind kind) {
  if (kind == PathKind::direct) return {};
  SoftwarePath path;
  if (kind == PathKind::gds) {
    path.kind = PathKind::gds;
    path.read_target = ReadTarget::gpu;
    return path;
  }
  path.kind = PathKind::prototype;
  path.object_fixed_cost = Nanoseconds{85'000};
  path.queue_depth = 1;
  path.max_request_bytes = Bytes{std::uint64_t{1} << 40};
  path.merge_reads = false;
  path.copy_per_object = true;
  path.charge_submission = false;
  path.compute_overhead_per_request = Nanoseconds{40'000'000};
  path.scoring_repeats_projection = true;
  return path;
}

const ParamTable<SoftwarePath>& software_path_params() {
  using P = SoftwarePath;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::object_fixed_cost,
          {.name = "object_fixed_cost_ns",
           .doc = "software time of one object's read, on top of the device's latency",
           .source = "fitted on RTE (docs/architecture.md); start: reference 8, t0 = 0.13 ms less the drive's latency",
           .maximum = 1e9});
    t.add(&P::queue_depth, {.name = "queue_depth",
                            .doc = "reads in flight at the device at most",
                            .source = "prototype: reference 3.2 lineage code, chunk by chunk; direct: io_uring ring",
                            .unit = "requests",
                            .minimum = 1,
                            .maximum = 4096});
    t.add(&P::max_request_bytes, {.name = "max_request_bytes",
                                  .doc = "larger reads are split",
                                  .source = "design 5: direct 512 KiB, prototype one read per object",
                                  .minimum = 4096,
                                  .maximum = 1.2e12});
    t.add(&P::merge_reads,
          {.name = "merge_reads", .doc = "adjacent pieces of one list become one read", .source = "design 5"});
    t.add(&P::max_merge_gap, {.name = "max_merge_gap_bytes",
                              .doc = "largest hole that a merged read may span",
                              .source = "design 5: 0",
                              .maximum = 1e9});
    t.add(&P::copy_per_object, {.name = "copy_per_object",
                                .doc = "one copy call per object instead of one per list",
                                .source = "design 5: prototype one copy per object"});
    t.add(&P::copy_memory, {.name = "copy_memory",
                            .doc = "host memory of copies",
                            .source = "reference 3.5: FlexGen relays through pinned buffers"});
    t.add(&P::read_target, {.name = "read_target",
                            .doc = "gpu: reads land where the GPU wants them, without staging or copy; what enters the "
                                   "host tier is copied there from the GPU",
                            .source = "gds: NVIDIA GPUDirect Storage, by its definition"});
    t.add(&P::charge_submission, {.name = "charge_submission",
                                  .doc = "charge the profile's submission and completion cost per read",
                                  .source = "prototype: part of object_fixed_cost_ns"});
    t.add(&P::compute_overhead_per_request, {.name = "compute_overhead_per_request_ns",
                                             .doc = "framework time before a request's first operation",
                                             .source = "semantics 4: prototype 40 ms, fitted on RTE; direct 0",
                                             .maximum = 6e10});
    t.add(&P::launch_overhead_per_layer, {.name = "launch_overhead_per_layer_ns",
                                          .doc = "added to each layer's first operation",
                                          .source = "no source: 0",
                                          .maximum = 1e9});
    t.add(&P::identify_cost_per_call, {.name = "identify_cost_per_call_ns",
                                       .doc = "host work of one selection, beside the profile's",
                                       .source = "no source: 0",
                                       .maximum = 1e9});
    t.add(&P::score_to_host, {.name = "score_to_host_bytes",
                              .doc = "scores copied to the host at each selection",
                              .source = "no source: 0",
                              .maximum = 1e9});
    t.add(&P::host_scoring_rate, {.name = "host_scoring_rate_flops_per_s",
                                  .doc = "of a scorer without a kernel, which runs on the host (digest_scoring)",
                                  .source = "assumption: 16 cores at 6 GFLOP/s, plain fp32 code",
                                  .minimum = 1e6,
                                  .maximum = 1e15});
    t.add(&P::stage_synchronise, {.name = "stage_synchronise_ns",
                                  .doc = "device-wide synchronise after each copy and selection",
                                  .source = "no source for its length: 0",
                                  .maximum = 1e9});
    t.add(&P::scoring_repeats_projection, {.name = "scoring_repeats_projection",
                                           .doc = "scoring computes norm and QKV again",
                                           .source = "semantics 2: prototype yes, direct no"});
    t.add(&P::cache_update, {.name = "cache_update",
                             .doc = "when the host time of cache bookkeeping is charged: after the first token or "
                                    "before it (decisions are the same)",
                             .source = "semantics 3: after"});
    return t;
  }();
  return table;
}

}  // namespace reprefill::pipeline
