#include "engine/real_machine/real_machine.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>

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
  if (heard_failure_) std::rethrow_exception(std::exchange(heard_failure_, nullptr));
  pollfd descriptors[] = {{.fd = completions_.event_fd(), .events = POLLIN, .revents = 0},
                          {.fd = options_.reads ? options_.reads->event_fd() : -1, .events = POLLIN, .revents = 0}};
  const Nanoseconds asleep = clock_.now();
  if (poll(descriptors, 2, heard_.empty() ? -1 : 0) < 0 && errno != EINTR) {
    throw MachineError(fmt::format("poll: {}", std::strerror(errno)));
  }
  driver_work_.waited += clock_.now() - asleep;
  std::vector<Work*> done = std::exchange(heard_, {});
  harvest_lanes(done);
  if (options_.reads != nullptr) harvest_reads(done);
  finish_all(done);
}

/// Completions of one batch resume in operation order, whatever thread was quicker (design 4).
void RealMachine::finish_all(std::vector<Work*>& done) {
  std::sort(done.begin(), done.end(), [](const Work* a, const Work* b) { return a->number < b->number; });
  for (Work* work : done) finish(*work);
}

/// Reads of many layers are issued at once and wait for a look-up that was over long before the last of them is issued:
/// the first need not wait for that. Only host work is over early: nothing is kept for it, and nothing goes back.
void RealMachine::hear_of_host_work() {
  if (heard_failure_ || !completions_.has_any()) return;
  try {
    harvest_lanes(heard_);
  } catch (...) {
    heard_failure_ = std::current_exception();  // for `wait`: a pipeline is in the middle of something
  }
  const auto is_host_work = [](Work* work) { return work->op().kind() == OpKind::host; };
  const auto first = std::stable_partition(heard_.begin(), heard_.end(), std::not_fn(is_host_work));
  std::vector<Work*> host_work(first, heard_.end());
  heard_.erase(first, heard_.end());
  finish_all(host_work);
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

// ---- lanes ----

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
