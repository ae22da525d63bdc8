// What a request stores of its KV: copied out of the executor layer by layer, and written behind that.
#include <cstring>

#include "core/pipeline/request.hpp"
#include "engine/real_machine/operations.hpp"

namespace reprefill::engine {

using namespace pipeline;

void RealMachine::will_append(std::uint32_t request, NewKv kv) {
  if (writes_ == nullptr) {
    writes_ = threads_.emplace_back(std::make_unique<WorkLane>("rp-write", completions_, clock_)).get();
  }
  std::erase_if(last_writes_, [](const auto& write) { return write.second->done(); });
  Active& entry = active(request);
  entry.append = std::make_shared<Appending>();
  entry.append->kv = std::move(kv);
}

RealMachine::Appending* RealMachine::recomputing(std::uint32_t request) {
  Appending* append = active(request).append.get();
  return append != nullptr && append->recomputes ? append : nullptr;
}

void RealMachine::recompute_begins(const Request& request) {
  const Appending& append = *active(request.id).append;
  REPREFILL_CHECK(append.kv.ids.size() == request.append->recompute_tokens,
                  "request {} computes {} tokens again and has {} ids", request.id, request.append->recompute_tokens,
                  append.kv.ids.size());
  active(request.id).append->recomputes = true;
}

/// Into host memory: on the CPU by the compute lane, since only it may use the executor; out of a GPU's memory on the
/// lane that leads there, beside compute.
Op RealMachine::copy_out(OpContext context, Bytes bytes, const Deps& deps) {
  auto op = make<AppendWork>(OpKind::copy, context, record::Operation::copy, record::Resource::link_d2h, bytes);
  const std::shared_ptr<Active> entry = active_.at(context.request);
  const auto copied = entry->append->copied = std::make_shared<CopiedLayer>();
  if (!copier_) {
    op->lane = compute_;
    op->work = [this, entry, copied, layer_idx = context.layer_idx] {
      const OwnKvBytes kv = new_kv(*entry, layer_idx, *copied);
      std::memcpy(copied->keys().data(), kv.keys, kv.bytes.value);
      std::memcpy(copied->values().data(), kv.values, kv.bytes.value);
    };
  } else {
    // The memory moves when decoding outgrows it: what is copied stays where it is until it has been copied.
    const auto source = std::make_shared<OwnKvBytes>();
    cudaStream_t stream = gpu_lanes_->stream(GpuLaneKind::device_to_host);
    op->work = [this, entry, copied, source, stream, layer_idx = context.layer_idx] {
      *source = new_kv(*entry, layer_idx, *copied);
      Gpu& gpu = *options_.executor->gpu();
      gpu.copy(copied->keys().data(), source->keys, source->bytes, stream);
      gpu.copy(copied->values().data(), source->values, source->bytes, stream);
    };
    op->finish = [source] { source->memory = nullptr; };
  }
  issue(op, deps);
  return op;
}

/// Where the executor has what the request stores of the layer, and room for it in `copied`.
OwnKvBytes RealMachine::new_kv(const Active& entry, int layer_idx, CopiedLayer& copied) {
  const Appending& append = *entry.append;
  OwnRange range{append.kv.first_position, append.kv.num_tokens};
  if (!append.recomputes) range.first -= entry.first_position + entry.gap.num_tokens;
  const Sequence& sequence = append.recomputes ? *append.recomputed : *entry.sequence;
  const OwnKvBytes kv = options_.executor->own_kv(sequence, layer_idx, range);
  copied.bytes = kv.bytes;
  copied.memory = options_.executor->host_buffer(kv.bytes + kv.bytes);
  return kv;
}

Op RealMachine::write(OpContext context, SegmentId segment, Bytes bytes, const Deps& deps) {
  auto op = make<AppendWork>(OpKind::write, context, record::Operation::write, record::Resource::ssd_write, bytes);
  op->lane = writes_;
  op->mark = nullptr;  // of no stream
  const std::shared_ptr<Appending> append = active(context.request).append;
  op->work = [append, copied = std::exchange(append->copied, nullptr), layer_idx = context.layer_idx] {
    append->kv.store_layer(layer_idx, copied->keys(), copied->values());
  };
  const bool is_last = context.layer_idx + 1 == options_.environment->geometry.num_layers;
  if (is_last) last_writes_[segment] = op;
  issue(op, deps);
  if (is_last) append->kv.last_write_issued();
  return op;
}

/// A file is whole when its last layer is.
void RealMachine::add_writes(const PieceList& pieces, Deps& deps) const {
  if (last_writes_.empty()) return;
  std::optional<SegmentId> last;
  for (const PieceKey piece : pieces.keys) {
    if (last == piece.segment()) continue;
    last = piece.segment();
    if (const auto write = last_writes_.find(*last); write != last_writes_.end()) deps.add(write->second);
  }
}

Op RealMachine::project_again(OpContext context, TokenRange range, const Deps& deps) {
  auto op = make<AppendWork>(OpKind::project, context, record::Operation::project, record::Resource::gpu_compute);
  op->work = [this, append = active(context.request).append, layer_idx = context.layer_idx, range] {
    if (!append->recomputed) append->recomputed = options_.executor->begin(append->kv.ids, 0);
    options_.executor->project(*append->recomputed, layer_idx, {range.first, range.count});
  };
  issue(op, deps);
  return op;
}

Op RealMachine::attend_again(OpContext context, TokenRange range, const Deps& deps) {
  auto op = make<AppendWork>(OpKind::attend, context, record::Operation::attend, record::Resource::gpu_compute);
  op->work = [this, append = active(context.request).append, layer_idx = context.layer_idx, range] {
    options_.executor->attend(*append->recomputed, layer_idx, {range.first, range.count}, reprefill::KvView{});
  };
  issue(op, deps);
  return op;
}

}  // namespace reprefill::engine
