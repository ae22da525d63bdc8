// Copies between staging, tiers and workspace, on the CPU or by a GPU.
#include "core/pipeline/request.hpp"
#include "engine/real_machine/operations.hpp"

namespace reprefill::engine {

using namespace pipeline;

std::function<void()> RealMachine::copy_work(Copy& copy, CopyRoute route) {
  if (!copier_) return [&copy] { copy_on_cpu(copy.copies); };
  if (route == CopyRoute::staging_to_host_tier) return [this, &copy] { copy_to_host_tier(copy.copies); };
  const bool one_by_one = options_.environment->path.kind == PathKind::prototype;
  const bool by_gather = copy.span.resource == record::Resource::link_h2d_gather;
  const GpuLaneKind lane = by_gather                                               ? GpuLaneKind::gather
                           : copy.span.resource == record::Resource::link_h2d_copy ? GpuLaneKind::copy
                                                                                   : GpuLaneKind::device_to_host;
  return [this, &copy, one_by_one, by_gather, stream = gpu_lanes_->stream(lane)] {
    if (one_by_one) {
      copier_->copy_singly(copy.copies, stream);
    } else if (by_gather) {
      copier_->gather(copy.copies, stream);
    } else {
      copier_->copy(copy.copies, stream);
    }
  };
}

/// What staging has let go of comes from the GPU, where a prefetch put it.
void RealMachine::copy_to_host_tier(std::span<const PartCopy> copies) {
  Gpu& gpu = *options_.executor->gpu();
  for (const PartCopy& copy : copies) {
    if (copy.source->is_of(TierPools::device)) {
      gpu.copy(copy.to(), copy.from(), copy.bytes(), host_stream_);
    } else {
      copy_on_cpu({&copy, 1});
    }
  }
  gpu.synchronize(host_stream_);
}

void RealMachine::run_adopted(std::span<const PartCopy> copies) {
  if (copies.empty()) return;
  if (copier_) {
    copier_->gather(copies, options_.executor->stream());
  } else {
    copy_on_cpu(copies);
  }
}

Op RealMachine::copy(OpContext context, PieceList pieces, CopyRoute route, const Deps& deps) {
  if (route == CopyRoute::gpu_to_staging) return copy_out(context, pieces.bytes, deps);
  static constexpr record::Resource kResources[] = {
      record::Resource::link_h2d_gather, record::Resource::link_h2d_copy, record::Resource::host_memory,
      record::Resource::link_h2d_gather, record::Resource::link_d2h,      record::Resource::link_d2h};
  auto op = make<Copy>(OpKind::copy, context, record::Operation::copy, kResources[static_cast<std::size_t>(route)],
                       pieces.bytes);
  driver_work_.pieces += pieces.keys.size();
  Deps all = deps;
  op->copies = placement_->plan_copy(context, pieces, route, op, all);
  if (route == CopyRoute::staging_to_gpu_demand || route == CopyRoute::staging_to_host_tier) {
    for (const Op& dependency : deps) {
      auto* read = dynamic_cast<Read*>(dependency.get());
      if (read == nullptr || read->staging.value == 0) continue;
      ++read->num_copies;
      op->sources.emplace_back(read);
    }
  }
  op->work = copy_work(*op, route);
  issue(op, all);
  return op;
}

}  // namespace reprefill::engine
