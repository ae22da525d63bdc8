// What the simulated machine's operations are while they are under way: where each runs, and the span that it leaves.
#pragma once

#include <utility>

#include "core/pipeline/request.hpp"
#include "sim/simulated_machine.hpp"

namespace reprefill::sim {

/// What every simulated operation carries besides its dependencies: where it runs and the span it leaves.
class SimulatedMachine::Work {
 public:
  record::Span span;
  SimulatedMachine* machine = nullptr;
  bool ready = false;
  /// It begins when what it depends on ends: the driver issued it before, at this time at the latest.
  bool in_stream = false;
  Nanoseconds issued_at{0};
  virtual ~Work() = default;
  virtual pipeline::OpState& op() = 0;
  /// Whether another thread must wake for it.
  virtual bool is_on_a_lane() const { return true; }
  /// Dependencies are done.
  virtual void run() = 0;
  /// Its device began: once for each operation.
  void begin_service() {
    span.start = machine->simulation_.now();
    machine->busy_[static_cast<std::size_t>(span.resource)].begin(span.start);
  }

  /// The driver's part, where it takes time: until the operation has begun, then until its end is heard of.
  class Handling final : public Timer {
   public:
    explicit Handling(Work& work) : work_(work) {}
    bool is_over = false;  // the operation
    void fire() override { is_over ? work_.machine->hear(work_.op()) : work_.run(); }

   private:
    Work& work_;
  };
  Handling handling{*this};
};

class SimulatedMachine::Read final : public pipeline::ReadResult, public Work, public SsdClient {
 public:
  using ReadResult::ReadResult;
  std::vector<SsdRequest> requests;
  SsdQueue queue = SsdQueue::demand;
  Bytes staging;  // held from the start of the read until its copies are done
  std::size_t num_waiting = 0;
  std::size_t num_copies = 0;  // copies that take the bytes out of staging
  bool started = false;
  bool submitted = false;

  pipeline::OpState& op() override { return *this; }
  bool is_on_a_lane() const override { return false; }
  void run() override { machine->begin_read(*this); }
  void submit() {
    submitted = true;
    num_waiting = requests.size();
    if (num_waiting == 0) {
      on_request_start();
      machine->finish(*this, *this);
      return;
    }
    machine->ssd_.submit(queue, requests);
  }
  void on_request_start() override {
    if (!std::exchange(started, true)) begin_service();
  }
  void on_request_done() override {
    if (--num_waiting == 0) machine->finish(*this, *this);
  }
};

class SimulatedMachine::Write final : public pipeline::OpState, public Work, public SsdClient {
 public:
  using OpState::OpState;
  std::vector<SsdRequest> requests;
  std::size_t num_waiting = 0;
  bool started = false;

  pipeline::OpState& op() override { return *this; }
  bool is_on_a_lane() const override { return false; }
  void run() override {
    num_waiting = requests.size();
    machine->ssd_.submit(SsdQueue::write, requests);
  }
  void on_request_start() override {
    if (!std::exchange(started, true)) begin_service();
  }
  void on_request_done() override {
    if (--num_waiting == 0) machine->finish(*this, *this);
  }
};

/// An operation on one lane: compute, copies, host work.
class SimulatedMachine::LaneWork : public pipeline::OpState, public Work, public LaneClient {
 public:
  using OpState::OpState;
  Lane* lane = nullptr;
  Activity activity = Activity::gemm;
  Nanoseconds duration{0};
  std::vector<boost::intrusive_ptr<Read>> sources;  // of a copy: whose staging it frees
  bool dropped = false;
  bool in_place = false;  // nothing to do: the bytes are where they should go

  pipeline::OpState& op() override { return *this; }
  void run() override {
    if (!dropped && !in_place) {
      lane->enqueue(*this, activity, duration);
      return;
    }
    on_lane_start();
    on_lane_done();
  }
  void on_lane_start() override { begin_service(); }
  void on_lane_done() override {
    for (const auto& read : sources) {
      if (--read->num_copies == 0) machine->release_staging(read->staging);
    }
    machine->finish(*this, *this);
  }
};

class SimulatedMachine::DecodeStep final : public LaneWork {
 public:
  using LaneWork::LaneWork;
  void on_lane_done() override {
    SimulatedMachine* const on = machine;  // the step itself may be gone after its completion
    LaneWork::on_lane_done();
    on->end_decode_step();
  }
};

class SimulatedMachine::Score final : public pipeline::ScoreResult, public Work, public LaneClient {
 public:
  using ScoreResult::ScoreResult;
  const pipeline::Request* request = nullptr;
  pipeline::ScoreSpec spec;
  Nanoseconds duration{0};

  pipeline::OpState& op() override { return *this; }
  void run() override { machine->gpu_.enqueue(*this, Activity::attention, duration); }
  void on_lane_start() override { begin_service(); }
  void on_lane_done() override {
    if (!spec.only_for_selection) draw_scores(question({}), scores);
    machine->finish(*this, *this);
  }
  SelectionQuestion question(const pipeline::SelectionRule& rule) const {
    return {.importance = machine->options_.importance,
            .query = {.request = request->importance_id,
                      .task = request->task,
                      .prefix = request->stored_prefix,
                      .layer_idx = context().layer_idx,
                      .grouping = spec.grouping,
                      .digest = spec.digest},
            .unit_tokens = static_cast<int>(spec.unit_tokens),
            .rule = rule};
  }
};

/// Time that passes without keeping anything busy.
class SimulatedMachine::Wait final : public pipeline::OpState, public Work, public Timer {
 public:
  using OpState::OpState;
  Nanoseconds duration{0};

  pipeline::OpState& op() override { return *this; }
  bool is_on_a_lane() const override { return false; }
  void run() override {
    begin_service();
    machine->simulation_.schedule(*this, machine->simulation_.now() + duration);
  }
  void fire() override { machine->finish(*this, *this); }
};

/// A small kernel on the GPU, then the way of the indices to the host.
class SimulatedMachine::Select final : public pipeline::SelectResult, public Work, public LaneClient, public Timer {
 public:
  using SelectResult::SelectResult;
  pipeline::ScoreOp scores;
  pipeline::SelectionRule rule;
  Nanoseconds kernel{0};
  Nanoseconds to_host{0};

  pipeline::OpState& op() override { return *this; }
  void run() override { machine->gpu_.enqueue(*this, Activity::attention, kernel); }
  void on_lane_start() override { begin_service(); }
  void on_lane_done() override { machine->simulation_.schedule(*this, machine->simulation_.now() + to_host); }
  void fire() override {
    selection = machine->chosen(static_cast<const Score&>(*scores), rule);
    scores = nullptr;
    machine->finish(*this, *this);
  }
};

inline bool is_of_the_gpu(pipeline::OpKind kind, record::Resource resource) {
  switch (kind) {
    case pipeline::OpKind::project:
    case pipeline::OpKind::score:
    case pipeline::OpKind::attend:
    case pipeline::OpKind::first_token:
      return true;
    case pipeline::OpKind::copy:
      return resource != record::Resource::host_memory;
    default:
      return false;
  }
}

template <typename State>
boost::intrusive_ptr<State> SimulatedMachine::make_op(pipeline::OpKind kind, pipeline::OpContext context,
                                                      record::Operation operation, record::Resource resource,
                                                      Bytes bytes) {
  boost::intrusive_ptr<State> op(new State(kind, context));
  op->machine = this;
  op->in_stream = options_.profile->host.driver.streams && is_of_the_gpu(kind, resource);
  op->span = record::Span{.operation = operation,
                          .resource = resource,
                          .request = context.request,
                          .layer_idx = context.layer_idx,
                          .bytes = bytes,
                          .issued = simulation_.now()};
  return op;
}

}  // namespace reprefill::sim
