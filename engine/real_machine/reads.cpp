// Reads into staging: planned, granted room in their order, submitted, harvested.
#include <algorithm>

#include "core/pipeline/request.hpp"
#include "engine/real_machine/operations.hpp"

namespace reprefill::engine {

using namespace pipeline;

ReadOp RealMachine::read(OpContext context, PieceList pieces, ReadPriority priority, const Deps& deps) {
  hear_of_host_work();
  const bool demand = priority == ReadPriority::demand;
  const bool keys = !pieces.empty() && (pieces.keys.front().kind() == PieceKind::identification_keys ||
                                        pieces.keys.front().kind() == PieceKind::probe_keys);
  auto op = make<Read>(OpKind::read, context, keys ? record::Operation::read_keys : record::Operation::read,
                       demand ? record::Resource::ssd_demand : record::Resource::ssd_prefetch);
  const SoftwarePath& path = options_.environment->path;
  layout::plan_reads(
      pieces.keys, *options_.system->store_layout(), options_.environment->segment_tokens,
      {.max_request_bytes = path.max_request_bytes, .merge = path.merge_reads, .max_merge_gap = path.max_merge_gap},
      plan_);
  op->requested = op->span.bytes = plan_.requested_bytes;
  op->num_requests = plan_.requests.size();
  op->demand = demand;
  if (demand) op->staging = plan_.requested_bytes;
  driver_work_.pieces += pieces.keys.size();
  op->lay_out(plan_, options_.reads->staging());
  op->pieces = pieces;
  for (std::size_t i = 0; i < plan_.requests.size(); ++i) {
    const layout::ReadRequest& request = plan_.requests[i];
    for (std::uint32_t p = request.first_piece; p < request.first_piece + request.num_pieces; ++p) {
      const layout::PlannedPiece& piece = plan_.pieces[p];
      if (piece.offset < request.offset) continue;  // noted with the request that holds its first byte
      placement_->note_read(context, pieces.keys[piece.list_index], op->locate(i, piece.offset));
    }
  }
  Deps all = deps;
  add_writes(pieces, all);
  issue(op, all);
  return op;
}

/// Staging is granted to demand reads in the order in which they became ready; prefetch has buffers of its own.
void RealMachine::begin_read(Read& read) {
  REPREFILL_CHECK(read.staging <= staging_capacity_, "a read of {} bytes does not fit the staging of {}",
                  read.staging.value, staging_capacity_.value);
  if (read.staging.value == 0) {
    submit(read);
    return;
  }
  waiting_for_staging_.push_back(&read);
  grant_staging();
}

void RealMachine::grant_staging() {
  while (!waiting_for_staging_.empty() && waiting_for_staging_.front()->staging <= staging_free_) {
    Read* read = waiting_for_staging_.front();
    waiting_for_staging_.pop_front();
    staging_free_ -= read->staging;
    submit(*read);
  }
}

void RealMachine::submit(Read& read) {
  read.submitted = true;
  reads_in_flight_.insert(&read);
  options_.reads->submit(&read, read.take_ranges(), read.demand);
}

void RealMachine::detach(const Op& op, bool drop_unsubmitted) {
  if (!drop_unsubmitted || op->done()) return;
  if (auto* read = dynamic_cast<Read*>(op.get())) drop(*read);
  if (auto* copy = dynamic_cast<Copy*>(op.get()); copy != nullptr && !copy->begun) {
    copy->copies.clear();
    copy->span.bytes = Bytes{0};
  }
}

void RealMachine::drop(Read& read) {
  if (!read.submitted) {  // it waits for a dependency: nothing of it will be submitted
    read.clear_ranges();
    read.dropped = std::exchange(read.span.bytes, Bytes{0});
    read.num_dropped = read.num_requests;
    return;
  }
  const DroppedRequests dropped = options_.reads->drop_unsubmitted(&read);
  read.dropped += dropped.bytes;
  read.num_dropped += dropped.num_requests;
  read.span.bytes -= dropped.bytes;
}

void RealMachine::harvest_reads(std::vector<Work*>& done) {
  finished_reads_.clear();
  options_.reads->harvest(finished_reads_);
  // Before anything is thrown: the destructor waits for what is in flight.
  for (const FinishedRead& finished : finished_reads_) reads_in_flight_.erase(finished.tag);
  for (const FinishedRead& finished : finished_reads_) {
    if (finished.failure) std::rethrow_exception(finished.failure);
    auto* read = static_cast<Read*>(finished.tag);
    read->span.start = finished.start;
    read->span.end = finished.end;
    done.push_back(read);
  }
}

void RealMachine::pin_identification_keys(std::span<const SegmentId> segments) {
  const layout::StoreLayout& layout = *options_.system->store_layout();
  const bool probes = !layout.auxiliary().probe_heads.empty();
  const PieceKind kind = probes ? PieceKind::probe_keys : PieceKind::identification_keys;
  for (const SegmentId segment : segments) {
    const std::uint32_t tokens = options_.environment->segment_tokens(segment);
    for (int layer = 0; layer < options_.environment->geometry.num_layers; ++layer) {
      if (!probes && !layout.has_identification_keys(layer)) continue;
      PieceList list;
      list.add(PieceKey::make(segment, layer, kind, tokens), Bytes{});
      const OpContext context{.request = kNoRequest, .layer_idx = layer};
      const ReadOp op = read(context, list, ReadPriority::demand, {});
      const Located staged = placement_->find_staged(context, list.keys.front());
      while (!op->done()) wait();
      const PartCopy copy{staged.block, staged.offset,
                          std::make_shared<Block>(TierPools::host, placement_->part_bytes(list.keys.front()))};
      copy.destination->take();
      copy_on_cpu({&copy, 1});
      placement_->pin(list.keys.front(), {.block = copy.destination});
    }
  }
}

}  // namespace reprefill::engine
