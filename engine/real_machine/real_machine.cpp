#include "engine/real_machine/real_machine.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/pipeline/request.hpp"
#include "engine/real_machine/operations.hpp"

namespace reprefill::engine {

using namespace pipeline;

namespace {

/// The least that a GPU's memory, or pinned memory, is taken by beyond what was reserved.
constexpr Bytes kGpuPiece{std::uint64_t{64} << 20};

std::function<void(std::byte*, Bytes)> zero_of(Executor* executor) {
  return [executor](std::byte* data, Bytes size) {
    Gpu* gpu = executor->gpu();
    if (gpu == nullptr) {
      std::memset(data, 0, size.value);
      return;
    }
    gpu->zero(data, size, nullptr);
    gpu->synchronize_device();
  };
}

}  // namespace

TierPools::TierPools(Gpu* gpu)
    : device(gpu == nullptr ? make_host_memory() : make_gpu_memory(*gpu), gpu == nullptr ? Bytes{} : kGpuPiece),
      host(gpu == nullptr ? make_host_memory() : make_pinned_memory(*gpu), gpu == nullptr ? Bytes{} : kGpuPiece) {}

RealMachine::RealMachine(const RealMachineOptions& options, RealMachineObserver& observer)
    : TierPools(options.executor->gpu()),
      options_(options),
      observer_(observer),
      clock_(*options.clock),
      staging_capacity_(options.system->staging()),
      staging_free_(options.system->staging()) {
  const SystemEnvironment& environment = *options.environment;
  const layout::StoreLayout* layout = options.system->store_layout();
  TierPools& pools = *this;
  placement_ = std::make_unique<Placement>(Placement::Options{.layout = layout,
                                                              .system = options.system,
                                                              .segment_tokens = environment.segment_tokens,
                                                              .device = &pools.device,
                                                              .host = &pools.host});
  views_ = std::make_unique<LayerViewBuilder>(LayerViewBuilder::Options{.geometry = &environment.geometry,
                                                                        .layout = layout,
                                                                        .placement = placement_.get(),
                                                                        .resident = options.resident,
                                                                        .device = &pools.device,
                                                                        .zero = zero_of(options.executor),
                                                                        .token_places = environment.token_places});
  open_lanes();
}

/// The CPU's threads are its lanes; of a GPU each stream is one, and the host keeps copies of its own and its tasks.
void RealMachine::open_lanes() {
  const auto thread = [this](const char* name) {
    return threads_.emplace_back(std::make_unique<WorkLane>(name, completions_, clock_)).get();
  };
  host_copies_ = thread("rp-host-copy");
  host_ = thread("rp-host");
  Gpu* gpu = options_.executor->gpu();
  if (gpu == nullptr) {
    compute_ = thread("rp-compute");
    demand_copies_ = thread("rp-copy");
    prefetch_copies_ = thread("rp-prefetch");
    device_to_host_ = host_copies_;
    return;
  }
  copier_ = std::make_unique<GpuCopier>(*gpu);
  host_stream_ = GpuStream(*gpu);
  const bool synchronous = options_.environment->path.kind == PathKind::prototype;
  gpu_lanes_ = std::make_unique<GpuLanes>(*gpu, options_.executor->stream(), synchronous, completions_, clock_);
  compute_ = &gpu_lanes_->lane(GpuLaneKind::compute);
  demand_copies_ = &gpu_lanes_->lane(GpuLaneKind::gather);
  prefetch_copies_ = &gpu_lanes_->lane(GpuLaneKind::copy);
  device_to_host_ = &gpu_lanes_->lane(GpuLaneKind::device_to_host);
  // With several requests in flight layers interleave by operation (design 4): none may run ahead of its turn.
  if (!synchronous && options_.environment->max_in_flight == 1) {
    runs_ahead_ = true;
    begin_in_order();
  }
  reserve_tiers();
}

/// As much of each tier as the store can fill, and what lies outside them, before the first request: memory is slow to
/// get, and to pin.
void RealMachine::reserve_tiers() {
  const Bytes outside = std::min(options_.system->workspace(), options_.stored + options_.stored);
  const cache::TieredCache* cache = options_.system->cache();
  if (cache == nullptr) return;
  const Bytes gpu = std::min(cache->capacity(cache::Tier::gpu), options_.stored) + outside;
  const Bytes free = options_.executor->gpu()->free_memory();
  if (gpu > free) {
    throw ConfigError(
        fmt::format("gpu_cache_bytes, workspace_bytes: tiers and workspace need {} bytes of {}, {} are free", gpu.value,
                    options_.executor->describe(), free.value));
  }
  TierPools::device.reserve(gpu);
  TierPools::host.reserve(std::min(cache->capacity(cache::Tier::host), options_.stored));
}

RealMachine::~RealMachine() { stop(); }

void RealMachine::stop() {
  if (gpu_lanes_) gpu_lanes_->stop();
  for (const auto& thread : threads_) thread->stop();
  // The kernel may still write to staging: wait for what was submitted before any block goes.
  while (!reads_in_flight_.empty()) {
    for (void* tag : reads_in_flight_) options_.reads->drop_unsubmitted(tag);
    pollfd descriptor{.fd = options_.reads->event_fd(), .events = POLLIN, .revents = 0};
    poll(&descriptor, 1, 100);
    finished_reads_.clear();
    options_.reads->harvest(finished_reads_);
    for (const FinishedRead& read : finished_reads_) reads_in_flight_.erase(read.tag);
  }
  host_stream_ = GpuStream();
}

HeldMemory RealMachine::held_memory() const {
  return {.device = TierPools::device.used(),
          .host = TierPools::host.used(),
          .staging = staging_capacity_ - staging_free_,
          .num_departing = placement_->num_departing(),
          .num_open_layers = placement_->num_open_layers()};
}

// ---- requests ----

RealMachine::Active& RealMachine::active(std::uint32_t request) {
  const auto found = active_.find(request);
  REPREFILL_CHECK(found != active_.end(), "request {} is not known to the machine", request);
  return *found->second;
}

void RealMachine::begin_request(const Request& request, RequestInput input) {
  REPREFILL_CHECK(input.own_ids.size() == request.own_tokens, "request {} has {} own tokens and {} ids", request.id,
                  request.own_tokens, input.own_ids.size());
  auto entry = std::make_shared<Active>();
  entry->first_position = request.stored_tokens;
  entry->own_tokens = request.own_tokens;
  entry->next_token_memory = options_.executor->host_buffer(Bytes{sizeof(std::int32_t)});
  entry->next_token = new (entry->next_token_memory.get()) std::int32_t(-1);
  entry->views.resize(static_cast<std::size_t>(options_.environment->geometry.num_layers));
  entry->input = std::move(input);
  active_[request.id] = std::move(entry);
  driver_work_ = {};
}

std::int32_t RealMachine::first_token_id(std::uint32_t request) { return active(request).checked_token(); }

std::span<const float> RealMachine::logits(std::uint32_t request) {
  Active& entry = active(request);
  if (entry.logits.empty()) {
    entry.logits.resize(static_cast<std::size_t>(options_.environment->geometry.vocab));
    run_on_compute([&] { options_.executor->last_logits(*entry.sequence, entry.logits); });
  }
  return entry.logits;
}

void RealMachine::run_on_compute(const std::function<void()>& work) {
  LaneJob job;
  job.work = work;
  inline_job_ = &job;
  compute_->enqueue(job);
  std::exception_ptr failure;
  while (inline_job_ != nullptr) {
    try {
      wait();
    } catch (...) {  // another request's, say: the lane still uses the job and what it refers to
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

void RealMachine::with_sequence(std::uint32_t request, const std::function<void(Sequence&)>& use) {
  Active& entry = active(request);
  run_on_compute([&] { use(*entry.sequence); });
}

std::int32_t RealMachine::decode(std::uint32_t request, std::int32_t id) {
  Active& entry = active(request);
  REPREFILL_CHECK(entry.input.keep_views, "request {} keeps no views to decode with", request);
  std::vector<reprefill::KvView> views;
  for (LayerView& view : entry.views) views.push_back(view.resolve());
  entry.logits.clear();
  run_on_compute([&] { options_.executor->decode(*entry.sequence, id, views, *entry.next_token); });
  return entry.checked_token();
}

std::uint32_t RealMachine::num_own_tokens(std::uint32_t request) { return active(request).sequence->num_own_tokens(); }

/// The logits of the last token that is kept have been overwritten: whoever needs them has copied them before.
void RealMachine::rewind(std::uint32_t request, std::uint32_t num_own_tokens) {
  with_sequence(request, [&](Sequence& sequence) { options_.executor->rewind(sequence, num_own_tokens); });
}

/// The compute lane has not seen the request yet: its sequence begins with its first projection.
void RealMachine::own_tokens_changed(const Request& request) {
  Active& entry = active(request.id);
  const std::vector<std::int32_t>& prefix = entry.input.prefix_ids;
  REPREFILL_CHECK(!entry.sequence && request.stored_tokens <= entry.first_position,
                  "request {} gets back stored tokens, or is being computed", request.id);
  const auto ids = [&](std::uint32_t first, std::uint32_t end) {
    return std::span(prefix).subspan(first, end - first);
  };
  const auto behind = ids(request.stored_tokens, entry.first_position);
  const auto front = ids(0, request.front_tokens);
  entry.input.own_ids.insert(entry.input.own_ids.begin(), behind.begin(), behind.end());
  entry.input.own_ids.insert(entry.input.own_ids.begin(), front.begin(), front.end());
  entry.first_position = front.empty() ? request.stored_tokens : 0;
  entry.gap = {.after_tokens = request.front_tokens,
               .num_tokens = front.empty() ? 0 : request.stored_tokens - request.front_tokens};
  entry.own_tokens = request.own_tokens;
}

void RealMachine::end_request(std::uint32_t request) { active_.erase(request); }

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

// ---- the driver's loop ----

void RealMachine::begin(OpState& op) {
  auto& work = dynamic_cast<Work&>(op);
  work.span.ready = clock_.now();
  occupancy_.enter(work.span);
  work.run();
}

void RealMachine::finish(Work& work) {
  occupancy_.leave(work.span);
  observer_.on_span(work.span);
  work.after();
  complete(work.op());
}

void RealMachine::wait() {
  REPREFILL_CHECK(num_unfinished() > 0 || inline_job_ != nullptr, "deadlock: nothing is under way");
  pollfd descriptors[] = {{.fd = completions_.event_fd(), .events = POLLIN, .revents = 0},
                          {.fd = options_.reads ? options_.reads->event_fd() : -1, .events = POLLIN, .revents = 0}};
  const Nanoseconds asleep = clock_.now();
  if (poll(descriptors, 2, -1) < 0 && errno != EINTR) {
    throw MachineError(fmt::format("poll: {}", std::strerror(errno)));
  }
  driver_work_.waited += clock_.now() - asleep;
  std::vector<Work*> done;
  harvest_lanes(done);
  if (options_.reads != nullptr) harvest_reads(done);
  // Completions of one batch resume in operation order, whatever thread was quicker (design 4).
  std::sort(done.begin(), done.end(), [](const Work* a, const Work* b) { return a->number < b->number; });
  for (Work* work : done) finish(*work);
}

void RealMachine::harvest_lanes(std::vector<Work*>& done) {
  drained_.clear();
  completions_.drain(drained_);
  std::exception_ptr failure;  // thrown when all of the batch is known: run_on_compute waits for its job
  for (const LaneCompletion& completion : drained_) {
    if (completion.job == inline_job_) inline_job_ = nullptr;
    if (completion.failure && !failure) failure = completion.failure;
    auto* work = dynamic_cast<Work*>(completion.job);
    if (work == nullptr) continue;  // of run_on_compute
    work->span.start = completion.start;
    work->span.end = completion.end;
    // Begun behind others of its own request, it did not wait for anyone.
    if (runs_ahead_ && completion.job->mark) work->span.ready = completion.start;
    // Times of a GPU are those of its clock, which the host's meets to a few microseconds.
    work->span.start = std::max(work->span.start, work->span.ready);
    work->span.end = std::max(work->span.end, work->span.start);
    done.push_back(work);
  }
  if (failure) std::rethrow_exception(failure);
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

// ---- storage ----

ReadOp RealMachine::read(OpContext context, PieceList pieces, ReadPriority priority, const Deps& deps) {
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

// ---- copies ----

Lane& RealMachine::lane_of(record::Resource resource) {
  switch (resource) {
    case record::Resource::link_h2d_copy:
      return *prefetch_copies_;
    case record::Resource::link_h2d_gather:
      return *demand_copies_;
    case record::Resource::link_d2h:
      return *device_to_host_;
    case record::Resource::host_memory:
      return *host_copies_;
    case record::Resource::host:
      return *host_;
    default:
      return *compute_;
  }
}

/// Streams of one GPU wait for each other on the device, so that the host need not.
bool RealMachine::keeps_order(const OpState& dependency, OpState& op) {
  const auto* before = dynamic_cast<const LaneJob*>(&dependency);
  auto* job = dynamic_cast<LaneJob*>(&op);
  if (before == nullptr || job == nullptr || !before->mark || job->lane == nullptr || !job->lane->is_stream()) {
    return false;
  }
  if (before->lane != job->lane) job->after.push_back(before->mark);
  return true;
}

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

// ---- compute ----

Op RealMachine::project(OpContext context, TokenRange range, const Deps& deps) {
  if (recomputing(context.request) != nullptr) return project_again(context, range, deps);
  auto op = make<LaneWork>(OpKind::project, context, record::Operation::project, record::Resource::gpu_compute);
  op->work = [this, &entry = active(context.request), layer = context.layer_idx, range] {
    if (!entry.sequence)
      entry.sequence = options_.executor->begin(entry.input.own_ids, entry.first_position, entry.gap);
    options_.executor->project(*entry.sequence, layer, {range.first, range.count});
  };
  issue(op, deps);
  return op;
}

ScoreOp RealMachine::score(OpContext context, const Request& request, const ScoreSpec& spec, const Deps& deps) {
  auto op = make<Score>(OpKind::score, context, record::Operation::score, record::Resource::scoring);
  op->request = &request;
  op->spec = spec;
  op->keys = views_->scoring_keys(context, request, spec.kind, op);
  Deps all = deps;
  all.add(op->keys.deps);
  op->work = [this, work = op.get(), &entry = active(context.request)] { work->compute(options_, *entry.sequence); };
  op->finish = [work = op.get()] { work->collect(); };
  issue(op, all);
  return op;
}

SelectOp RealMachine::select(OpContext context, const ScoreOp& scores, const SelectionRule& rule) {
  auto op = make<Select>(OpKind::select, context, record::Operation::select, record::Resource::scoring);
  op->scores = scores;
  op->rule = rule;
  if (copier_) op->lane = host_;  // scores are in host memory
  op->work = [work = op.get()] { work->choose(); };
  issue(op, Op(scores));
  return op;
}

namespace {

/// Blocks of K and of V that attention is given, as the simulator counts them.
std::uint64_t num_pieces_of(const layout::StoreLayout* layout, const pipeline::KvView& view) {
  if (layout == nullptr) return 0;
  const std::uint32_t block = layout->kv_layout().block_tokens;
  const std::uint32_t keys = view.full_length ? view.prefix_tokens : view.kept_k_tokens;
  const std::uint32_t values = view.full_length ? view.prefix_tokens : view.kept_v_tokens;
  return divide_rounding_up(keys, block) + divide_rounding_up(values, block);
}

}  // namespace

Op RealMachine::attend(OpContext context, const Request& request, TokenRange range, const pipeline::KvView& view,
                       const Deps& deps) {
  if (recomputing(context.request) != nullptr) return attend_again(context, range, deps);
  // First: what it throws must leave nothing behind that others would wait for.
  const bool is_last_block = range.first + range.count == request.own_tokens;
  if (is_last_block) observer_.on_attend(request, context.layer_idx, view);
  auto op = make<Attend>(OpKind::attend, context, record::Operation::attend, record::Resource::gpu_compute);
  op->is_last_block = is_last_block;
  op->view = views_->attention(context, request, view, op);
  driver_work_.pieces += num_pieces_of(options_.system->store_layout(), view);
  Deps all = deps;
  all.add(op->view.deps);
  op->work = [this, work = op.get(), &entry = active(context.request), range] {
    run_adopted(work->view.adopted);
    options_.executor->attend(*entry.sequence, work->context().layer_idx, {range.first, range.count},
                              work->view.resolve());
  };
  issue(op, all);
  return op;
}

Op RealMachine::first_token(OpContext context, const Deps& deps) {
  auto op = make<LaneWork>(OpKind::first_token, context, record::Operation::first_token, record::Resource::gpu_compute);
  op->work = [this, &entry = active(context.request)] {
    options_.executor->next_token(*entry.sequence, *entry.next_token);
  };
  issue(op, deps);
  return op;
}

/// The framework time of a prototype is charged by the simulator only: the engine does not sleep (design 5). Cache
/// decisions were taken when they were issued; nothing is left of their update.
Op RealMachine::host(OpContext context, HostTask task, const Deps& deps) {
  static constexpr record::Operation kOperations[] = {record::Operation::framework, record::Operation::tokenise,
                                                      record::Operation::look_up, record::Operation::cache_update,
                                                      record::Operation::wait};
  auto op =
      make<LaneWork>(OpKind::host, context, kOperations[static_cast<std::size_t>(task.kind)], record::Resource::host);
  Active& entry = active(context.request);
  if (task.kind == HostTaskKind::tokenise) op->work = entry.input.tokenise;
  if (task.kind == HostTaskKind::look_up) op->work = entry.input.look_up;
  if (task.kind == HostTaskKind::wait) {
    op->work = [count = task.count] { std::this_thread::sleep_for(std::chrono::nanoseconds(count)); };
  }
  issue(op, deps);
  return op;
}

}  // namespace reprefill::engine
