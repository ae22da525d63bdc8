// The simulated machine's transfers: reads and writes of the SSD, copies between host and GPU.
#include <algorithm>
#include <utility>

#include "sim/simulated_operations.hpp"

namespace reprefill::sim {

using namespace pipeline;

// ---- SSD ----

ReadOp SimulatedMachine::read(OpContext context, PieceList pieces, ReadPriority priority, const Deps& deps) {
  driver_listens();
  const bool demand = priority == ReadPriority::demand;
  const bool keys = !pieces.empty() && (pieces.keys.front().kind() == PieceKind::identification_keys ||
                                        pieces.keys.front().kind() == PieceKind::probe_keys);
  auto op = make_op<Read>(OpKind::read, context, keys ? record::Operation::read_keys : record::Operation::read,
                          demand ? record::Resource::ssd_demand : record::Resource::ssd_prefetch);
  op->queue = demand ? SsdQueue::demand : SsdQueue::prefetch;
  const SoftwarePath& path = *options_.path;
  layout::plan_reads(
      pieces.keys, *options_.store_layout, options_.segment_tokens,
      {.max_request_bytes = path.max_request_bytes, .merge = path.merge_reads, .max_merge_gap = path.max_merge_gap},
      plan_);
  op->requested = op->span.bytes = plan_.requested_bytes;
  op->num_requests = plan_.requests.size();
  if (demand && path.read_target == ReadTarget::host) op->staging = plan_.requested_bytes;
  op->requests.reserve(plan_.requests.size());
  for (const layout::ReadRequest& request : plan_.requests) {
    // Segments lie somewhere on the stripe: their number decides where.
    op->requests.push_back({op.get(), request.offset + mix64(request.segment.value) % (1u << 30), request.bytes});
  }
  charge_driver(*op, pieces.keys.size());
  issue(op, deps);
  return op;
}

/// Staging is granted to demand reads in the order in which they became ready; prefetch has buffers of its own.
void SimulatedMachine::begin_read(Read& read) {
  if (read.staging.value == 0) {
    read.submit();
    return;
  }
  REPREFILL_CHECK(read.staging <= options_.staging, "a read of {} bytes does not fit the staging of {}",
                  read.staging.value, options_.staging.value);
  waiting_for_staging_.push_back(&read);
  release_staging(Bytes{0});
}

void SimulatedMachine::release_staging(Bytes size) {
  staging_free_ += size;
  while (!waiting_for_staging_.empty() && waiting_for_staging_.front()->staging <= staging_free_) {
    Read* read = waiting_for_staging_.front();
    waiting_for_staging_.pop_front();
    staging_free_ -= read->staging;
    read->submit();
  }
}

Op SimulatedMachine::write(OpContext context, SegmentId segment, Bytes bytes, const Deps& deps) {
  auto op = make_op<Write>(OpKind::write, context, record::Operation::write, record::Resource::ssd_write, bytes);
  const std::uint64_t limit = std::min<std::uint64_t>(options_.path->max_request_bytes.value, 1u << 20);
  const std::uint64_t start = mix64(segment.value) % (1u << 30);
  for (std::uint64_t done = 0; done < bytes.value; done += limit) {
    op->requests.push_back({op.get(), start + done, Bytes{std::min(limit, bytes.value - done)}});
  }
  issue(op, deps);
  return op;
}

void SimulatedMachine::detach(const Op& op, bool drop_unsubmitted) {
  if (!drop_unsubmitted || op->done()) return;
  if (auto* read = dynamic_cast<Read*>(op.get())) drop(*read);
  if (auto* lane_work = dynamic_cast<LaneWork*>(op.get()); lane_work != nullptr && op->kind() == OpKind::copy) {
    lane_work->dropped = !lane_work->ready;
    if (lane_work->dropped) lane_work->span.bytes = Bytes{0};
  }
}

void SimulatedMachine::drop(Read& read) {
  if (!read.submitted) {  // it waits for a write, say: nothing of it will be submitted
    read.requests.clear();
    read.dropped = std::exchange(read.span.bytes, Bytes{0});
    read.num_dropped = read.num_requests;
    return;
  }
  const Ssd::Dropped dropped = ssd_.drop_queued(read);
  read.dropped += dropped.bytes;
  read.num_dropped += dropped.num_requests;
  read.span.bytes -= dropped.bytes;
  read.num_waiting -= dropped.num_requests;
  if (dropped.num_requests > 0 && read.num_waiting == 0) {
    read.on_request_start();
    finish(read, read);
  }
}
// ---- copies ----

Lane& SimulatedMachine::lane_of(CopyRoute route) {
  switch (route) {
    case CopyRoute::staging_to_gpu_prefetch:
      return host_to_gpu_.lane(0);
    case CopyRoute::staging_to_gpu_demand:
    case CopyRoute::host_tier_to_gpu:
      return host_to_gpu_.lane(1);
    case CopyRoute::gpu_to_host_tier:
    case CopyRoute::gpu_to_staging:
      return gpu_to_host_;
    case CopyRoute::staging_to_host_tier:
      return host_memory_;
  }
  return host_memory_;
}

Nanoseconds SimulatedMachine::copy_time(CopyRoute route, std::size_t num_pieces, Bytes bytes) {
  const LinkProfile& link = options_.profile->link;
  const SoftwarePath& path = *options_.path;
  const std::int64_t num_calls =
      path.copy_per_object ? std::max<std::int64_t>(1, static_cast<std::int64_t>(num_pieces)) : 1;
  if (route == CopyRoute::staging_to_host_tier) return transfer_time(bytes, options_.profile->host.memcpy_bandwidth);
  // The prototype has no gather kernel: it calls the copy engine for every object.
  const bool gathers = !path.copy_per_object && path.copy_memory == CopyMemory::pinned &&
                       (route == CopyRoute::staging_to_gpu_demand || route == CopyRoute::host_tier_to_gpu);
  const BytesPerSecond rate = path.copy_memory == CopyMemory::pageable ? link.pageable_bandwidth
                              : gathers                                ? link.gather_bandwidth
                                                                       : link.copy_bandwidth;
  const SingleCopies& single = link.single_copies;
  const bool is_single =
      !gathers && !path.copy_per_object && path.copy_memory == CopyMemory::pinned && num_pieces <= single.most_pieces;
  const Nanoseconds latency = gathers     ? link.gather_latency
                              : is_single ? single.latency + single.per_piece * static_cast<std::int64_t>(num_pieces)
                                          : link.copy_latency * num_calls;
  return link_noise_.apply(latency + transfer_time(bytes, rate)) + path.stage_synchronise;
}

Op SimulatedMachine::copy(OpContext context, PieceList pieces, CopyRoute route, const Deps& deps) {
  static constexpr record::Resource kResources[] = {
      record::Resource::link_h2d_gather, record::Resource::link_h2d_copy, record::Resource::host_memory,
      record::Resource::link_h2d_gather, record::Resource::link_d2h,      record::Resource::link_d2h};
  auto op = make_op<LaneWork>(OpKind::copy, context, record::Operation::copy,
                              kResources[static_cast<std::size_t>(route)], pieces.bytes);
  op->lane = &lane_of(route);
  op->activity = route == CopyRoute::gpu_to_host_tier || route == CopyRoute::gpu_to_staging ? Activity::d2h
                 : op->span.resource == record::Resource::link_h2d_gather                   ? Activity::gather
                                                                                            : Activity::h2d;
  op->duration = copy_time(route, pieces.keys.size(), pieces.bytes);
  if (options_.path->read_target == ReadTarget::gpu) land_in_gpu(*op, route);
  if (route == CopyRoute::staging_to_gpu_demand || route == CopyRoute::staging_to_host_tier) {
    for (const Op& dependency : deps) {
      auto* read = dynamic_cast<Read*>(dependency.get());
      if (read == nullptr || read->staging.value == 0) continue;
      ++read->num_copies;
      op->sources.emplace_back(read);
    }
  }
  charge_driver(*op, pieces.keys.size());
  issue(op, deps);
  return op;
}

/// With reads that land in GPU memory nothing is copied to it, and the host tier is filled from it.
void SimulatedMachine::land_in_gpu(LaneWork& op, CopyRoute route) {
  if (route == CopyRoute::staging_to_gpu_demand || route == CopyRoute::staging_to_gpu_prefetch) {
    op.in_place = true;
    op.span.bytes = Bytes{0};
  } else if (route == CopyRoute::staging_to_host_tier) {
    const LinkProfile& link = options_.profile->link;
    op.lane = &gpu_to_host_;
    op.activity = Activity::d2h;
    op.span.resource = record::Resource::link_d2h;
    op.duration = link_noise_.apply(link.copy_latency + transfer_time(op.span.bytes, link.copy_bandwidth));
  }
}

/// Weights on their way to the GPU, double-buffered: a layer's go while the layer before computes, which has begun when
/// its projection is done. Null where weights are resident.
Op SimulatedMachine::stream_weights(OpContext context, Bytes size) {
  if (!options_.stream_weights) return nullptr;
  auto op = make_op<LaneWork>(OpKind::copy, context, record::Operation::copy, record::Resource::link_h2d_copy, size);
  op->lane = &host_to_gpu_.lane(0);
  op->activity = Activity::h2d;
  const LinkProfile& link = options_.profile->link;
  op->duration = link_noise_.apply(link.copy_latency + transfer_time(size, link.copy_bandwidth));
  issue(op, Deps(last_projection_[context.request]));
  return op;
}

}  // namespace reprefill::sim
