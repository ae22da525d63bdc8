#include "sim/simulated_machine.hpp"

#include <algorithm>
#include <utility>

#include "core/pipeline/request.hpp"

namespace reprefill::sim {

using namespace pipeline;

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
  virtual OpState& op() = 0;
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
    void fire() override { is_over ? work_.machine->complete(work_.op()) : work_.run(); }

   private:
    Work& work_;
  };
  Handling handling{*this};
};

class SimulatedMachine::Read final : public ReadResult, public Work, public SsdClient {
 public:
  using ReadResult::ReadResult;
  std::vector<SsdRequest> requests;
  SsdQueue queue = SsdQueue::demand;
  Bytes staging;  // held from the start of the read until its copies are done
  std::size_t num_waiting = 0;
  std::size_t num_copies = 0;  // copies that take the bytes out of staging
  bool started = false;
  bool submitted = false;

  OpState& op() override { return *this; }
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

class SimulatedMachine::Write final : public OpState, public Work, public SsdClient {
 public:
  using OpState::OpState;
  std::vector<SsdRequest> requests;
  std::size_t num_waiting = 0;
  bool started = false;

  OpState& op() override { return *this; }
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
class SimulatedMachine::LaneWork : public OpState, public Work, public LaneClient {
 public:
  using OpState::OpState;
  Lane* lane = nullptr;
  Activity activity = Activity::gemm;
  Nanoseconds duration{0};
  std::vector<boost::intrusive_ptr<Read>> sources;  // of a copy: whose staging it frees
  bool dropped = false;
  bool in_place = false;  // nothing to do: the bytes are where they should go

  OpState& op() override { return *this; }
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

class SimulatedMachine::Score final : public ScoreResult, public Work, public LaneClient {
 public:
  using ScoreResult::ScoreResult;
  const Request* request = nullptr;
  ScoreSpec spec;
  Nanoseconds duration{0};

  OpState& op() override { return *this; }
  void run() override { machine->gpu_.enqueue(*this, Activity::attention, duration); }
  void on_lane_start() override { begin_service(); }
  void on_lane_done() override {
    const traces::ImportanceSource& importance = *machine->options_.importance;
    scores.num_groups = importance.num_groups(spec.grouping);
    scores.num_units = traces::num_units(request->stored_prefix, static_cast<int>(spec.unit_tokens));
    scores.values.resize(static_cast<std::size_t>(scores.num_groups) * scores.num_units);
    importance.unit_scores({.request = request->importance_id,
                            .task = request->task,
                            .prefix = request->stored_prefix,
                            .layer_idx = context().layer_idx,
                            .grouping = spec.grouping,
                            .digest = spec.digest},
                           static_cast<int>(spec.unit_tokens), scores.values);
    machine->finish(*this, *this);
  }
};

/// Time that passes without keeping anything busy.
class SimulatedMachine::Wait final : public OpState, public Work, public Timer {
 public:
  using OpState::OpState;
  Nanoseconds duration{0};

  OpState& op() override { return *this; }
  bool is_on_a_lane() const override { return false; }
  void run() override {
    begin_service();
    machine->simulation_.schedule(*this, machine->simulation_.now() + duration);
  }
  void fire() override { machine->finish(*this, *this); }
};

/// A small kernel on the GPU, then the way of the indices to the host.
class SimulatedMachine::Select final : public SelectResult, public Work, public LaneClient, public Timer {
 public:
  using SelectResult::SelectResult;
  ScoreOp scores;
  SelectionRule rule;
  Nanoseconds kernel{0};
  Nanoseconds to_host{0};

  OpState& op() override { return *this; }
  void run() override { machine->gpu_.enqueue(*this, Activity::attention, kernel); }
  void on_lane_start() override { begin_service(); }
  void on_lane_done() override { machine->simulation_.schedule(*this, machine->simulation_.now() + to_host); }
  void fire() override {
    selection = std::make_shared<const Selection>(select_units(scores->scores, rule));
    scores = nullptr;
    machine->finish(*this, *this);
  }
};

namespace {

Noise noise_of(const SimulatedMachineOptions& options, double sigma, CommonTerm CommonMode::*common,
               const char* device) {
  if (!options.noise) return {};
  const bool has_common = options.model_error && options.profile->common_mode.has_value();
  Noise noise(sigma, options.seed, options.replica, device,
              options.model_error && !has_common ? Noise::Spread::and_model_error : Noise::Spread::each_operation);
  if (has_common) {
    noise.set_model_error(options.profile->common_mode->factor(common, options.seed, options.replica));
  }
  return noise;
}

}  // namespace

SimulatedMachine::SimulatedMachine(Simulation& simulation, const SimulatedMachineOptions& options,
                                   MachineObserver& observer)
    : simulation_(simulation),
      options_(options),
      observer_(observer),
      model_(options.profile->gpu, *options.geometry),
      costs_(*options.geometry),
      interference_(simulation, options.profile->interference),
      gpu_noise_(noise_of(options, options.profile->gpu.residual_sigma, &CommonMode::gpu, "noise/gpu")),
      link_noise_(noise_of(options, options.profile->link.residual_sigma, &CommonMode::link, "noise/link")),
      ssd_(interference_, options.profile->ssd, options.profile->host, *options.path,
           noise_of(options, options.profile->ssd.residual_sigma, &CommonMode::ssd, "noise/ssd")),
      gpu_(interference_, Activity::gemm),
      host_to_gpu_(interference_, {Activity::h2d, Activity::gather}),
      gpu_to_host_(interference_, Activity::d2h),
      host_memory_(interference_, Activity::h2d),
      host_thread_(interference_, Activity::h2d),
      staging_free_(options.staging) {}

SimulatedMachine::~SimulatedMachine() = default;

void SimulatedMachine::begin(OpState& op) {
  auto& work = dynamic_cast<Work&>(op);
  work.ready = true;
  work.span.ready = std::max(simulation_.now(), work.in_stream ? work.issued_at : driver_free_at_);
  occupancy_.enter(work.span);
  run_when_issued(work);
}

void SimulatedMachine::run_when_issued(Work& work) {
  const Nanoseconds wake = work.is_on_a_lane() ? options_.profile->host.driver.start : Nanoseconds{0};
  const Nanoseconds at = work.span.ready + wake;
  if (at == simulation_.now()) return work.run();
  simulation_.schedule(work.handling, at);
}

void SimulatedMachine::charge_driver(Work& work, std::uint64_t num_pieces) {
  const DriverCosts& driver = options_.profile->host.driver;
  const Nanoseconds cost = driver.per_operation + driver.per_piece * static_cast<std::int64_t>(num_pieces);
  if (cost.value > 0) driver_free_at_ = std::max(driver_free_at_, simulation_.now()) + cost;
  work.issued_at = driver_free_at_;
}

void SimulatedMachine::finish(OpState& op, Work& work) {
  work.span.end = simulation_.now();
  busy_[static_cast<std::size_t>(work.span.resource)].end(work.span.end);
  occupancy_.leave(work.span);
  observer_.on_span(work.span);
  if (work.in_stream) return complete(op);
  // The way of host work back to a GPU is in selection_cost and first_token_cost.
  const DriverCosts& driver = options_.profile->host.driver;
  const Nanoseconds notice = driver.streams && op.kind() != OpKind::read ? Nanoseconds{0} : driver.notice;
  const Nanoseconds heard = std::max(simulation_.now() + notice, driver_free_at_);
  if (heard == simulation_.now()) return complete(op);
  work.handling.is_over = true;
  simulation_.schedule(work.handling, heard);
}

namespace {

bool is_of_the_gpu(OpKind kind, record::Resource resource) {
  switch (kind) {
    case OpKind::project:
    case OpKind::score:
    case OpKind::attend:
    case OpKind::first_token:
      return true;
    case OpKind::copy:
      return resource != record::Resource::host_memory;
    default:
      return false;
  }
}

}  // namespace

template <typename State>
boost::intrusive_ptr<State> SimulatedMachine::make_op(OpKind kind, OpContext context, record::Operation operation,
                                                      record::Resource resource, Bytes bytes) {
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

// ---- SSD ----

ReadOp SimulatedMachine::read(OpContext context, PieceList pieces, ReadPriority priority, const Deps& deps) {
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

Nanoseconds SimulatedMachine::busy_time(record::Resource resource) const {
  return busy_[static_cast<std::size_t>(resource)].until(simulation_.now());
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
  const Nanoseconds latency = gathers ? link.gather_latency : link.copy_latency;
  return link_noise_.apply(latency * num_calls + transfer_time(bytes, rate)) + path.stage_synchronise;
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

// ---- compute ----

Op SimulatedMachine::project(OpContext context, TokenRange range, const Deps& deps) {
  auto op = make_op<LaneWork>(OpKind::project, context, record::Operation::project, record::Resource::gpu_compute);
  op->lane = &gpu_;
  const Nanoseconds launch = range.first == 0 ? options_.path->launch_overhead_per_layer : Nanoseconds{0};
  const bool begins = context.layer_idx == 0 && range.first == 0;
  op->duration =
      gpu_noise_.apply(launch + model_.project(range.count) + (begins ? model_.begin(range.count) : Nanoseconds{0}));
  charge_driver(*op, 0);
  if (!options_.stream_weights) {
    issue(op, deps);
    return op;
  }
  Deps all = deps;
  if (range.first == 0) {
    all.add(stream_weights(context, options_.geometry->layer_weight_bytes()));
    last_projection_[context.request] = op;
  }
  issue(op, all);
  return op;
}

/// Queries, own keys and the digest go to host memory, and the GPU waits.
Nanoseconds SimulatedMachine::score_on_host(const Request& request, const ScoreSpec& spec) const {
  const ModelGeometry& geometry = *options_.geometry;
  const LinkProfile& link = options_.profile->link;
  const std::uint64_t own = request.own_tokens, stored = request.stored_tokens;
  const std::uint64_t rows = key_digest_rows(spec.digest, spec.unit_tokens, stored);
  const int heads = geometry.num_query_heads;
  const Bytes queries{own *
                      static_cast<std::uint64_t>(heads * geometry.head_dim * geometry.activation_element_bytes())};
  const Bytes digest = key_digest_bytes(geometry, spec.digest, spec.unit_tokens, stored);
  const Bytes moved = digest + queries + own * geometry.kv_tensor_bytes_per_token_layer();
  // Twice on a GPU, for maximum and sums; once here, where logits of one row are kept.
  const double flops = costs_.score(own, rows, heads, geometry.num_kv_heads).flops / 2;
  return link.copy_latency * 3 + transfer_time(moved, link.copy_bandwidth) +
         nanoseconds_from_seconds(flops / options_.path->host_scoring_rate.value);
}

ScoreOp SimulatedMachine::score(OpContext context, const Request& request, const ScoreSpec& spec, const Deps& deps) {
  auto op = make_op<Score>(OpKind::score, context, record::Operation::score, record::Resource::scoring);
  op->request = &request;
  op->spec = spec;
  const ModelGeometry& geometry = *options_.geometry;
  const int num_groups = options_.importance->num_groups(spec.grouping);
  const bool probes = spec.grouping == traces::HeadGrouping::probe_heads;
  const int query_heads = probes ? num_groups : geometry.num_query_heads;
  const int kv_heads =
      probes ? geometry.num_probed_kv_heads(options_.store_layout->auxiliary().probe_heads) : geometry.num_kv_heads;
  const std::uint64_t rows = key_digest_rows(spec.digest, spec.unit_tokens, request.stored_tokens);
  Nanoseconds duration =
      spec.runs_on_host ? score_on_host(request, spec) : model_.score(request.own_tokens, rows, query_heads, kv_heads);
  if (spec.runs_on_host) op->in_stream = false;
  if (spec.repeats_projection) duration += model_.project(request.own_tokens);
  op->duration = gpu_noise_.apply(duration);
  charge_driver(*op, 0);
  issue(op, deps);
  return op;
}

SelectOp SimulatedMachine::select(OpContext context, const ScoreOp& scores, const SelectionRule& rule) {
  auto op = make_op<Select>(OpKind::select, context, record::Operation::select, record::Resource::scoring);
  op->scores = scores;
  op->rule = rule;
  const auto& scored = static_cast<const Score&>(*scores);
  const std::uint64_t units = scored.request->stored_tokens / scored.spec.unit_tokens;
  op->kernel = gpu_noise_.apply(
      model_.select(units * static_cast<std::uint64_t>(options_.importance->num_groups(scored.spec.grouping))));
  const SoftwarePath& path = *options_.path;
  op->to_host = options_.profile->host.selection_cost + path.identify_cost_per_call + path.stage_synchronise +
                rule.host_time + transfer_time(path.score_to_host, options_.profile->link.copy_bandwidth);
  charge_driver(*op, 0);
  issue(op, Op(scores));
  return op;
}

namespace {

/// Whose addresses attention is given: blocks of K and of V.
std::uint64_t num_pieces_of(const layout::StoreLayout* layout, std::uint32_t k_tokens, std::uint32_t v_tokens) {
  if (layout == nullptr) return 0;
  const std::uint32_t block = layout->kv_layout().block_tokens;
  return divide_rounding_up(k_tokens, block) + divide_rounding_up(v_tokens, block);
}

}  // namespace

Op SimulatedMachine::attend(OpContext context, const Request& request, TokenRange range, const KvView& view,
                            const Deps& deps) {
  auto op = make_op<LaneWork>(OpKind::attend, context, record::Operation::attend, record::Resource::gpu_compute);
  op->lane = &gpu_;
  const std::uint32_t k_tokens = view.full_length ? view.prefix_tokens : view.kept_k_tokens;
  const std::uint32_t v_tokens = view.full_length ? view.prefix_tokens : view.kept_v_tokens;
  const Nanoseconds linear = model_.gemm(costs_.attend_linear(range.count));
  const Nanoseconds attention = model_.attention(costs_.attend_attention(range.count, range.first, k_tokens, v_tokens));
  op->activity = attention > linear ? Activity::attention : Activity::gemm;
  op->duration = gpu_noise_.apply(model_.attend(range.count, range.first, k_tokens, v_tokens));
  if (range.first + range.count == request.own_tokens) observer_.on_attend(request, context.layer_idx, view);
  charge_driver(*op, num_pieces_of(options_.store_layout, k_tokens, v_tokens));
  issue(op, deps);
  return op;
}

Op SimulatedMachine::first_token(OpContext context, const Deps& deps) {
  auto op =
      make_op<LaneWork>(OpKind::first_token, context, record::Operation::first_token, record::Resource::gpu_compute);
  op->lane = &gpu_;
  op->duration = gpu_noise_.apply(model_.first_token()) + options_.profile->host.first_token_cost;
  last_projection_.erase(context.request);
  charge_driver(*op, 0);
  issue(op, deps);
  return op;
}

// ---- decoding ----

void SimulatedMachine::decode(std::uint32_t request, std::uint64_t context_tokens, std::uint64_t num_steps) {
  if (num_steps == 0) return;
  const bool idle = decoding_.empty();
  decoding_.push_back({.request = request, .context_tokens = context_tokens, .num_steps = num_steps});
  if (idle) begin_decode_step();
}

Nanoseconds SimulatedMachine::decode_step_time() const {
  const std::uint64_t batch = decoding_.size();
  OperationCost attention;
  for (const Decoding& one : decoding_) {
    const OperationCost cost = costs_.attend_attention(1, one.context_tokens, 0, 0);
    attention.flops += cost.flops;
    attention.bytes_moved += cost.bytes_moved;
  }
  const Nanoseconds layer = model_.overhead() * 2 + model_.gemm(costs_.project(batch)) +
                            model_.gemm(costs_.attend_linear(batch)) + model_.attention(attention);
  return layer * options_.geometry->num_layers + model_.overhead() + model_.gemm(costs_.first_token());
}

void SimulatedMachine::begin_decode_step() {
  ++num_decode_steps_;
  decoding_in_step_ = decoding_.size();
  auto op = make_op<DecodeStep>(OpKind::attend, {.request = decoding_.front().request}, record::Operation::decode,
                                record::Resource::gpu_compute);
  op->lane = &gpu_;
  op->duration = gpu_noise_.apply(decode_step_time());
  issue(op, {});
}

void SimulatedMachine::end_decode_step() {
  for (std::size_t i = 0; i < decoding_in_step_; ++i) {
    ++decoding_[i].context_tokens;
    --decoding_[i].num_steps;
  }
  std::erase_if(decoding_, [](const Decoding& one) { return one.num_steps == 0; });
  if (!decoding_.empty()) begin_decode_step();
}

// ---- host ----

Nanoseconds SimulatedMachine::host_time(HostTask task) const {
  const HostProfile& host = options_.profile->host;
  const auto count = static_cast<std::int64_t>(task.count);
  switch (task.kind) {
    case HostTaskKind::framework:
      return options_.path->compute_overhead_per_request;
    case HostTaskKind::tokenise:
      return host.tokenise_per_token * count;
    case HostTaskKind::look_up:
      return host.look_up_per_block * count;
    case HostTaskKind::cache_update:
      return host.cache_update_per_entry * count;
    case HostTaskKind::wait:
      return Nanoseconds{count};
  }
  return Nanoseconds{0};
}

Op SimulatedMachine::host(OpContext context, HostTask task, const Deps& deps) {
  if (task.kind == HostTaskKind::wait) {
    auto wait = make_op<Wait>(OpKind::host, context, record::Operation::wait, record::Resource::host);
    wait->duration = host_time(task);
    charge_driver(*wait, 0);
    issue(wait, deps);
    return wait;
  }
  static constexpr record::Operation kOperations[] = {record::Operation::framework, record::Operation::tokenise,
                                                      record::Operation::look_up, record::Operation::cache_update,
                                                      record::Operation::wait};
  auto op = make_op<LaneWork>(OpKind::host, context, kOperations[static_cast<std::size_t>(task.kind)],
                              record::Resource::host);
  op->lane = &host_thread_;
  op->duration = host_time(task);
  charge_driver(*op, 0);
  issue(op, deps);
  return op;
}

Nanoseconds SimulatedMachine::recompute_time(std::uint32_t prompt_tokens) const {
  OperationModel model = model_;  // a question, not an operation of the run: it does not count
  constexpr std::uint32_t kBlock = 2048;
  Nanoseconds layer{0};
  for (std::uint32_t first = 0; first < prompt_tokens; first += kBlock) {
    const std::uint32_t count = std::min(kBlock, prompt_tokens - first);
    layer += model.project(count) + model.attend(count, first, 0, 0);
  }
  if (options_.stream_weights) {
    layer =
        std::max(layer, transfer_time(options_.geometry->layer_weight_bytes(), options_.profile->link.copy_bandwidth));
  }
  return layer * options_.geometry->num_layers + model.first_token();
}

}  // namespace reprefill::sim
