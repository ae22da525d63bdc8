// What each operation of the real machine carries besides its dependencies.
#pragma once

#include <cstring>

#include "engine/real_machine/real_machine.hpp"

namespace reprefill::engine {

/// A request between its beginning and its end.
struct RealMachine::Active {
  RequestInput input;
  std::uint32_t first_position = 0;
  PositionGap gap;
  std::uint32_t own_tokens = 0;
  std::unique_ptr<Sequence> sequence;  // made and used on the compute lane
  std::vector<LayerView> views;        // per layer, where they are kept
  std::vector<float> logits;           // of the last token, once they were asked for
  std::shared_ptr<std::byte> next_token_memory;
  std::int32_t* next_token = nullptr;  // where the executor writes it
  std::shared_ptr<Appending> append;   // null: nothing

  std::int32_t checked_token() const {
    if (*next_token < 0) throw MachineError("the logits of a token are not numbers: are the weights damaged?");
    return *next_token;
  }
};

class RealMachine::Work {
 public:
  record::Span span;
  RealMachine* machine = nullptr;
  std::uint64_t number = 0;  // in order of issue
  virtual ~Work() = default;
  virtual pipeline::OpState& op() = 0;
  /// Dependencies are done.
  virtual void run() = 0;
  /// The work is over; on the driver thread, before dependents begin.
  virtual void after() {}
};

class RealMachine::Read final : public pipeline::ReadResult, public Work {
 public:
  using ReadResult::ReadResult;
  Bytes staging;  // held from the start of the read until its copies are done
  std::size_t num_copies = 0;
  pipeline::PieceList pieces;
  bool demand = true;
  bool submitted = false;

  OpState& op() override { return *this; }
  void run() override { machine->begin_read(*this); }
  void after() override {
    runs_.clear();  // the pieces' places hold them
    if (num_copies == 0) release_staging();
  }
  /// Prefetched pieces stay until their layer is done: a later selection may want them in the host tier.
  void release_staging() {
    if (staging.value == 0) return;
    machine->placement_->drop_staged(context(), pieces);
    machine->staging_free_ += staging;
    staging = Bytes{0};
    machine->grant_staging();
  }

  /// One block of staging for each run of neighbouring requests.
  void lay_out(const layout::ReadPlan& plan, BlockPool& pool) {
    for (const layout::ReadRequest& request : plan.requests) {
      const bool joins = !ranges_.empty() && ranges_.back().range.segment == request.segment &&
                         ranges_.back().range.offset + ranges_.back().range.bytes.value == request.offset;
      if (!joins) run_bytes_.emplace_back(0);
      ranges_.push_back({.range = {.segment = request.segment, .offset = request.offset, .bytes = request.bytes},
                         .run = run_bytes_.size() - 1,
                         .offset_in_run = run_bytes_.back()});
      run_bytes_.back() += request.bytes.value;
    }
    for (const std::uint64_t bytes : run_bytes_) runs_.push_back(std::make_shared<Block>(pool, Bytes{bytes}));
  }
  /// Where the byte at `file_offset`, inside the request with this number, lands.
  Located locate(std::size_t request_idx, std::uint64_t file_offset) {
    const Range& range = ranges_[request_idx];
    return {.block = runs_[range.run],
            .offset = range.offset_in_run + (file_offset - range.range.offset),
            .fill = pipeline::Op(this)};
  }
  void clear_ranges() { ranges_.clear(); }
  std::vector<StoredRange> take_ranges() {
    std::vector<StoredRange> taken;
    for (const BlockRef& run : runs_) run->take();
    for (const Range& range : ranges_) {
      taken.push_back(range.range);
      taken.back().destination = runs_[range.run]->data() + range.offset_in_run;
    }
    return taken;
  }

 private:
  struct Range {
    StoredRange range;
    std::size_t run = 0;
    std::uint64_t offset_in_run = 0;
  };
  std::vector<Range> ranges_;
  std::vector<std::uint64_t> run_bytes_;
  std::vector<BlockRef> runs_;
};

/// An operation on one lane.
class RealMachine::LaneWork : public pipeline::OpState, public Work, public LaneJob {
 public:
  using OpState::OpState;
  OpState& op() override { return *this; }
  void run() override { lane->enqueue(*this); }
};

class RealMachine::Copy final : public LaneWork {
 public:
  using LaneWork::LaneWork;
  std::vector<PartCopy> copies;
  std::vector<boost::intrusive_ptr<Read>> sources;  // whose staging it frees
  bool begun = false;

  void run() override {
    begun = true;
    for (const PartCopy& copy : copies) copy.destination->take();
    LaneWork::run();
  }
  void after() override {
    copies.clear();
    for (const auto& read : sources) {
      if (--read->num_copies == 0) read->release_staging();
    }
    sources.clear();
  }
};

class RealMachine::Score final : public pipeline::ScoreResult, public Work, public LaneJob {
 public:
  using ScoreResult::ScoreResult;
  const pipeline::Request* request = nullptr;
  pipeline::ScoreSpec spec;
  LayerView keys;

  OpState& op() override { return *this; }
  void run() override { lane->enqueue(*this); }
  /// On the compute lane: the scores, into memory that a GPU can write to.
  void compute(const RealMachineOptions& options, Sequence& sequence);
  /// When they are there.
  void collect();
  void after() override;

 private:
  std::shared_ptr<std::byte> result_;
};

class RealMachine::Select final : public pipeline::SelectResult, public Work, public LaneJob {
 public:
  using SelectResult::SelectResult;
  pipeline::ScoreOp scores;
  pipeline::SelectionRule rule;

  OpState& op() override { return *this; }
  void run() override { lane->enqueue(*this); }
  void choose() {
    selection = std::make_shared<const pipeline::Selection>(pipeline::select_units(scores->scores, rule));
  }
  void after() override;
};

class RealMachine::Attend final : public LaneWork {
 public:
  using LaneWork::LaneWork;
  LayerView view;
  bool is_last_block = false;

  void run() override {
    for (const PartCopy& copy : view.adopted) copy.destination->take();
    LaneWork::run();
  }
  void after() override;
};

/// New KV of one layer, in host memory.
struct RealMachine::CopiedLayer {
  std::shared_ptr<std::byte> memory;  // K, then V
  Bytes bytes;                        // of each
  std::span<std::byte> keys() const { return {memory.get(), bytes.value}; }
  std::span<std::byte> values() const { return {memory.get() + bytes.value, bytes.value}; }
};

/// What a request stores, on its way.
struct RealMachine::Appending {
  NewKv kv;
  bool recomputes = false;
  std::unique_ptr<Sequence> recomputed;  // of everything up to the segment's end; made and used on the compute lane
  std::shared_ptr<CopiedLayer> copied;   // by the latest copy: what the next write takes
};

/// Whoever keeps the operation as a dependency keeps nothing of what it moved.
class RealMachine::AppendWork final : public LaneWork {
 public:
  using LaneWork::LaneWork;
  void after() override { work = finish = nullptr; }
};

template <typename State>
boost::intrusive_ptr<State> RealMachine::make(pipeline::OpKind kind, pipeline::OpContext context,
                                              record::Operation operation, record::Resource resource, Bytes bytes) {
  boost::intrusive_ptr<State> op(new State(kind, context));
  op->machine = this;
  op->number = next_number_++;
  ++driver_work_.operations;
  op->span = record::Span{.operation = operation,
                          .resource = resource,
                          .request = context.request,
                          .layer_idx = context.layer_idx,
                          .bytes = bytes,
                          .issued = clock_.now()};
  if constexpr (std::is_base_of_v<LaneJob, State>) {
    op->lane = &lane_of(resource);
    op->mark = op->lane->new_mark();
  }
  return op;
}

}  // namespace reprefill::engine
