#include "sim/simulation/run_point.hpp"

#include <algorithm>
#include <deque>
#include <list>
#include <utility>

#include "core/base/random.hpp"
#include "core/pipeline/mass_meter.hpp"
#include "core/pipeline/reordering.hpp"
#include "core/pipeline/request.hpp"
#include "sim/simulated_machine.hpp"
#include "sim/simulation/calibrated_orders.hpp"
#include "sim/simulation/importance_mismatch.hpp"
#include "sim/simulation/result_row.hpp"

namespace reprefill::sim {
namespace {

/// A request in flight: its coroutine and what it has done so far.
struct ActiveRequest {
  pipeline::Request request;
  pipeline::Task task;
  std::uint64_t index = 0;
  Nanoseconds arrival{0};
  Nanoseconds admission{0};
  std::vector<record::Span> spans;
  pipeline::LayerMass mass;
  bool measured = false;
};

std::unique_ptr<pipeline::System> make_system(const Point& point, const pipeline::SystemEnvironment& environment) {
  for (const pipeline::SystemEntry& entry : pipeline::system_registry()) {
    if (entry.name == point.system) return entry.make(point.system_params, environment);
  }
  REPREFILL_CHECK(false, "no system {}", point.system);
  return nullptr;
}

/// Calibration requests of a store that is reordered before the run; 0: it is not. A trace begins with an empty store,
/// and what its requests append keeps its order.
std::uint32_t requests_before_run(const Point& point, const pipeline::System& system) {
  const pipeline::Reordering* reordering = system.reordering();
  if (reordering == nullptr || point.workload.is_trace) return 0;
  const pipeline::ReorderParams& params = reordering->params();
  return params.io == pipeline::ReorderIo::offline ? params.calibration_requests : 0;
}

/// A request that has arrived and is not admitted. One that the system was told of has an account and spans already.
struct WaitingRequest {
  std::uint64_t index = 0;
  Nanoseconds arrival{0};
  bool announced = false;
  pipeline::RequestAccount account;
  std::vector<record::Span> spans;
};

/// Requests are those of the point's replica in all replicas of its range; only durations are drawn anew.
std::uint64_t noise_replica(const Point& point, const RunOptions& options) {
  if (!options.range_replica) return point.replica;
  return combine64(combine64(point.replica, hash_name("range")), *options.range_replica);
}

class Run final : public MachineObserver, private Timer {
 public:
  Run(const Point& point, SharedInputs& inputs, const RunOptions& options, SharedSelections* selections = nullptr);
  RunResult simulate();
  void begin();
  /// Goes on until so many requests are finished or the run is over. False: it is over.
  bool advance(std::uint64_t num_requests);
  RunResult result();
  /// Of a fill run.
  std::uint64_t requests_until_full() const { return num_finished_; }

 private:
  void on_span(const record::Span& span) override;
  void on_attend(const pipeline::Request& request, int layer_idx, const pipeline::KvView& view) override;
  void fire() override;

  void schedule_next_arrival();
  void admit();
  ActiveRequest& start(std::uint64_t index, Nanoseconds arrival);
  void announce_waiting();
  pipeline::Request resolve(RequestPlan& plan, std::uint64_t index) const;
  void foresee(SharedInputs& inputs);
  void collect_finished();
  void finish(ActiveRequest& active);
  bool both_tiers_full();
  std::array<Nanoseconds, record::kNumResources> busy_times() const;
  bool is_over() const { return ended_ || num_finished_ == plan_->num_requests(); }

  const Point& point_;
  RunOptions options_;
  Simulation simulation_;
  pipeline::SystemEnvironment environment_;
  std::unique_ptr<pipeline::System> system_;
  std::shared_ptr<const traces::ImportanceSource> importance_;
  std::optional<CalibratedOrders> orders_;  // where the store is reordered before the run
  std::optional<Profile> replica_profile_;
  std::unique_ptr<SimulatedMachine> machine_;
  std::unique_ptr<RequestPlan> plan_;
  pipeline::MassMeter mass_meter_;
  cache::DecisionLog decisions_;

  std::list<ActiveRequest> active_;  // after the machine: coroutines let go of its operations first
  std::deque<WaitingRequest> waiting_;
  std::uint64_t next_request_ = 0;
  std::uint64_t num_finished_ = 0;
  bool ended_ = false;  // before the last request: what the run was for is known
  std::optional<RecordedRequest> recorded_;
  std::size_t first_measured_decision_ = 0;
  Nanoseconds measured_from_{0};
  RequestStatistics statistics_;
  std::array<Nanoseconds, record::kNumResources> busy_before_{};  // of each resource, in the warm-up
  IoHistogram io_before_;
  std::vector<record::Span> kept_spans_;
};

Run::Run(const Point& point, SharedInputs& inputs, const RunOptions& options, SharedSelections* selections)
    : point_(point),
      options_(options),
      importance_(inputs.importance(point)),
      mass_meter_(*importance_),
      decisions_(options.keep_decisions ? cache::DecisionLog::Keep::full_list : cache::DecisionLog::Keep::digest_only) {
  environment_.geometry = point.geometry;
  environment_.path = point.path;
  environment_.store_block_tokens = point.store_block_tokens;
  environment_.max_in_flight = point.workload.max_in_flight();
  environment_.importance = importance_.get();
  environment_.segment_tokens = [this](SegmentId segment) { return plan_->segment_tokens(segment); };
  environment_.token_places = [this](SegmentId segment, int layer_idx) {
    return orders_ ? orders_->places(segment, layer_idx) : std::span<const std::uint32_t>{};
  };
  system_ = make_system(point, environment_);
  if (const std::uint32_t requests = requests_before_run(point, *system_)) orders_.emplace(*importance_, requests);
  if (options.range_replica) {
    replica_profile_ = with_host_of_replica(point.profile, point.seed, noise_replica(point, options));
  }
  const SimulatedMachineOptions machine_options{
      .geometry = &point.geometry,
      .profile = replica_profile_ ? &*replica_profile_ : &point.profile,
      .path = &point.path,
      .importance = importance_.get(),
      .selections = selections,
      .store_layout = system_->store_layout(),
      .segment_tokens = environment_.segment_tokens,
      .staging = system_->staging(),
      .stream_weights = point.weights.placement == WeightPlacement::stream_from_host,
      .noise = point.noise || options.range_replica,
      .model_error = options.range_replica.has_value(),
      .seed = point.seed,
      .replica = noise_replica(point, options)};
  machine_ = std::make_unique<SimulatedMachine>(simulation_, machine_options, *this);
  plan_ = make_request_plan(point, options.num_warmup, inputs,
                            [this](std::uint32_t tokens) { return machine_->recompute_time(tokens); });
  if (system_->cache() != nullptr) system_->cache()->set_decision_log(&decisions_);
  if (system_->foresees()) foresee(inputs);
}

/// A plan of its own, since resolving appends: what is stored at a request depends on those before it.
void Run::foresee(SharedInputs& inputs) {
  const std::unique_ptr<RequestPlan> plan = make_request_plan(
      point_, options_.num_warmup, inputs, [this](std::uint32_t tokens) { return machine_->recompute_time(tokens); });
  for (std::uint64_t index = 0; index < plan->num_requests(); ++index) {
    system_->foresee(resolve(*plan, index));
    plan->finished(index);
  }
}

void Run::on_span(const record::Span& span) {
  for (ActiveRequest& active : active_) {
    if (active.request.id == span.request) {
      active.spans.push_back(span);
      return;
    }
  }
  for (WaitingRequest& waiting : waiting_) {
    if (waiting.announced && waiting.index == span.request) waiting.spans.push_back(span);
  }
  // Background work of a request that has its first token: writes, waste, demotions.
  if (options_.keep_spans) kept_spans_.push_back(span);
}

void Run::on_attend(const pipeline::Request& request, int layer_idx, const pipeline::KvView& view) {
  for (ActiveRequest& active : active_) {
    if (active.request.id != request.id) continue;
    if (active.measured && statistics_.mass_requests < point_.mass_requests) {
      mass_meter_.add(request, layer_idx, view, active.mass);
    }
  }
}

void Run::schedule_next_arrival() {
  if (next_request_ < plan_->num_requests()) {
    simulation_.schedule(*this, std::max(simulation_.now(), plan_->planned(next_request_).arrival));
  }
}

/// The next request of an open workload arrives.
void Run::fire() {
  waiting_.push_back({.index = next_request_, .arrival = simulation_.now(), .account = {}, .spans = {}});
  if (++next_request_ == plan_->num_requests()) statistics_.waiting_at_last_arrival = waiting_.size() - 1;
  schedule_next_arrival();
  admit();
}

void Run::admit() {
  const auto limit = static_cast<std::size_t>(environment_.max_in_flight);
  if (plan_->open_arrivals()) {
    while (active_.size() < limit && !waiting_.empty()) {
      WaitingRequest next = std::move(waiting_.front());
      waiting_.pop_front();
      ActiveRequest& active = start(next.index, next.arrival);
      active.request.account += next.account;
      active.spans.insert(active.spans.begin(), next.spans.begin(), next.spans.end());
    }
    announce_waiting();
    return;
  }
  while (active_.size() < limit && next_request_ < plan_->num_requests()) start(next_request_++, simulation_.now());
}

/// The scheduler knows the queue: the first of those that wait are announced, each once.
void Run::announce_waiting() {
  const std::size_t count = std::min<std::size_t>(system_->scheduler_lookahead(), waiting_.size());
  for (std::size_t i = 0; i < count; ++i) {
    WaitingRequest& waiting = waiting_[i];
    if (std::exchange(waiting.announced, true)) continue;
    pipeline::Request request;
    request.id = static_cast<std::uint32_t>(waiting.index);
    request.importance_id = waiting.index;
    plan_->preview(waiting.index, request);
    system_->announce(*machine_, request);
    waiting.account = request.account;
  }
}

pipeline::Request Run::resolve(RequestPlan& plan, std::uint64_t index) const {
  pipeline::Request request;
  request.id = static_cast<std::uint32_t>(index);
  request.importance_id = index;
  plan.resolve(index, request, system_->prunes());
  if (!system_->reuses_prefix()) {
    request.own_tokens = request.prompt_tokens;
    request.stored_tokens = 0;
    request.stored_prefix.clear();
  }
  if (system_->store_layout() == nullptr) request.append.reset();
  return request;
}

ActiveRequest& Run::start(std::uint64_t index, Nanoseconds arrival) {
  if (index == options_.num_warmup) {
    measured_from_ = simulation_.now();
    busy_before_ = busy_times();
    io_before_ = machine_->io_histogram();
    first_measured_decision_ = decisions_.decisions().size();
    if (system_->cache() != nullptr) system_->cache()->reset_statistics();
  }
  ActiveRequest& active = active_.emplace_back();
  active.index = index;
  active.arrival = arrival;
  active.admission = simulation_.now();
  active.measured = index >= options_.num_warmup;
  active.request = resolve(*plan_, index);
  if (orders_) orders_->note(active.request);
  active.task = system_->serve(*machine_, active.request);
  active.task.start();
  return active;
}

void Run::collect_finished() {
  bool any = false;
  for (auto active = active_.begin(); active != active_.end();) {
    if (!active->task.done()) {
      ++active;
      continue;
    }
    active->task.check();
    finish(*active);
    active = active_.erase(active);
    any = true;
  }
  if (any) admit();
}

void Run::finish(ActiveRequest& active) {
  ++num_finished_;
  plan_->finished(active.index);
  if (decodes(point_)) {
    const auto layers = static_cast<std::uint64_t>(point_.geometry.num_layers);
    const std::uint64_t kept_tokens = active.request.account.kv_tokens_kept / (2 * layers);
    const std::uint64_t steps = plan_->planned(active.index).output_tokens;  // the first token is out
    if (steps > 1) machine_->decode(active.request.id, kept_tokens + active.request.own_tokens, steps - 1);
  }
  const Nanoseconds now = simulation_.now();
  if (options_.stop_when_full && both_tiers_full()) ended_ = true;
  if (!active.measured) return;
  statistics_.requests.push_back({active.arrival, active.admission, now});
  if (options_.only_request == active.index - options_.num_warmup) {
    recorded_ = RecordedRequest{active.request, statistics_.requests.back(), active.spans};
    ended_ = true;
  }
  statistics_.account += active.request.account;
  statistics_.stored_tokens += active.request.stored_tokens;
  statistics_.hit_trace_tokens += active.request.hit_trace_tokens;
  statistics_.prompt_tokens += active.request.prompt_tokens;
  const record::TimeBreakdown time = record::classify_time(active.arrival, active.admission, now, active.spans);
  for (std::size_t i = 0; i < time.by_class.size(); ++i) statistics_.time.by_class[i] += time.by_class[i];
  statistics_.time.identification += time.identification;
  if (active.mass.num_layers > 0 && statistics_.mass_requests < point_.mass_requests) {
    ++statistics_.mass_requests;
    statistics_.mass_sum += active.mass.sum / active.mass.num_layers;
    statistics_.mass_worst_sum += active.mass.worst;
    statistics_.recall_sum += active.mass.recall_sum;
    statistics_.recall_selections += static_cast<std::uint64_t>(active.mass.num_selections);
  }
  if (options_.keep_spans) kept_spans_.insert(kept_spans_.end(), active.spans.begin(), active.spans.end());
}

bool Run::both_tiers_full() {
  cache::TieredCache* cache = system_->cache();
  return cache == nullptr || (cache->has_been_full(cache::Tier::gpu) && cache->has_been_full(cache::Tier::host));
}

std::array<Nanoseconds, record::kNumResources> Run::busy_times() const {
  std::array<Nanoseconds, record::kNumResources> times{};
  for (std::size_t i = 0; i < times.size(); ++i) times[i] = machine_->busy_time(static_cast<record::Resource>(i));
  return times;
}

RunResult Run::simulate() {
  begin();
  advance(plan_->num_requests());
  return result();
}

void Run::begin() {
  if (plan_->open_arrivals()) {
    schedule_next_arrival();
  } else {
    admit();
  }
}

bool Run::advance(std::uint64_t num_requests) {
  constexpr std::uint64_t kPollMask = 0xffff;
  // Left behind a step only, so that what comes next is what would have come without leaving.
  while (!is_over()) {
    machine_->resume_ready();
    collect_finished();
    if (is_over()) break;
    REPREFILL_CHECK(simulation_.step(), "deadlock: {} requests in flight and no event left", active_.size());
    if ((simulation_.num_events() & kPollMask) == 0) {
      if (options_.interrupted != nullptr && *options_.interrupted) throw Interrupted();
      if (options_.on_progress) {
        options_.on_progress(static_cast<double>(num_finished_) / static_cast<double>(plan_->num_requests()));
      }
    }
    if (num_finished_ >= num_requests) break;
  }
  return !is_over();
}

RunResult Run::result() {
  RunResult result;
  result.num_events = simulation_.num_events();
  result.num_requests = num_finished_;
  result.virtual_time = simulation_.now();
  result.spans = std::move(kept_spans_);
  result.recorded = std::move(recorded_);
  result.decisions = decisions_.decisions();
  result.first_measured_decision = first_measured_decision_;
  if (options_.stop_when_full || options_.only_request) return result;
  RowInputs inputs{.point = point_,
                   .statistics = statistics_,
                   .plan = *plan_,
                   .system = *system_,
                   .decisions = decisions_,
                   .operations = machine_->operation_model(),
                   .num_warmup = options_.num_warmup,
                   .importance_mismatch = importance_mismatch(point_, *importance_),
                   .io = machine_->io_histogram().since(io_before_),
                   .num_decode_steps = machine_->num_decode_steps(),
                   .busy = {},
                   .measured_time = simulation_.now() - measured_from_};
  const auto busy = busy_times();
  for (std::size_t i = 0; i < busy.size(); ++i) inputs.busy[i] = busy[i] - busy_before_[i];
  result.row = make_result_row(inputs);
  return result;
}

}  // namespace

RunResult run_point(const Point& point, SharedInputs& inputs, const RunOptions& options) {
  return Run(point, inputs, options).simulate();
}

std::vector<RunResult> run_together(std::span<const RunMember> members, SharedInputs& inputs) {
  const auto same_rule = [&](const RunMember& member) {
    const Json &first = members.front().point->system_params, &params = member.point->system_params;
    for (const char* key : {"budget", "similarity_exponent", "vote"}) {
      if (first.value(key, Json()) != params.value(key, Json())) return false;
    }
    return true;
  };
  SharedSelections selections(std::ranges::all_of(members, same_rule) ? SharedSelections::Keep::selections
                                                                      : SharedSelections::Keep::scores_too);
  std::deque<Run> runs;
  for (const RunMember& member : members) runs.emplace_back(*member.point, inputs, member.options, &selections).begin();
  bool any_left = true;
  for (std::uint64_t num_requests = 1; any_left; ++num_requests) {
    any_left = false;
    for (Run& run : runs) any_left |= run.advance(num_requests);
  }
  std::vector<RunResult> results;
  for (Run& run : runs) results.push_back(run.result());
  return results;
}

void check_inputs(const Point& point, SharedInputs& inputs) {
  inputs.importance(point);
  std::uint32_t longest = stored_tokens_of(point.workload.pool.prefix_tokens, point.store_block_tokens);
  if (point.workload.is_trace) {
    longest = 0;
    for (const traces::TraceRequest& request : inputs.trace(point)->requests()) {
      longest = std::max(longest, request.input_tokens);
    }
    make_request_plan(point, 0, inputs, [](std::uint32_t) { return Nanoseconds{1}; });
  }
  pipeline::SystemEnvironment environment{.geometry = point.geometry,
                                          .path = point.path,
                                          .store_block_tokens = point.store_block_tokens,
                                          .max_in_flight = point.workload.max_in_flight(),
                                          .segment_tokens = [](SegmentId) { return 0u; }};
  const std::unique_ptr<pipeline::System> system = make_system(point, environment);
  if (requests_before_run(point, *system) > 0 && point.importance.kind == "recorded") {
    throw ConfigError(fmt::format(
        "{}: systems.{}.reorder.io: found offline with recorded importance, which has none of requests before the run; "
        "expected background, or an importance preset",
        point.origin, point.label));
  }
  const Bytes working_set = system->one_layer_working_set(longest);
  const Bytes workspace{system->workspace().value / static_cast<std::uint64_t>(environment.max_in_flight)};
  const Bytes read = system->largest_read(longest);
  if (working_set.value == 0) return;
  if (working_set > workspace) {
    throw ConfigError(
        fmt::format("{}: systems.{}.workspace_bytes: one layer of a request with {} stored tokens needs {} bytes, a "
                    "request has {}; set workspace_bytes higher or in_flight lower",
                    point.origin, point.label, longest, working_set.value, workspace.value));
  }
  // Reads that land in GPU memory need no staging.
  if (point.path.read_target == pipeline::ReadTarget::host && read > system->staging()) {
    throw ConfigError(
        fmt::format("{}: systems.{}.staging_bytes: a read of one layer of a request with {} stored tokens may take {} "
                    "bytes with alignment, found {}; set staging_bytes higher",
                    point.origin, point.label, longest, read.value, system->staging().value));
  }
}

std::uint64_t warmup_limit(const Point& point) {
  if (point.workload.is_trace) return 0;
  const PrefixPoolSpec& pool = point.workload.pool;
  if (pool.warmup_requests) return 0;
  if (pool.initial_cache == InitialCache::cold) return 0;
  if (pool.initial_cache == InitialCache::warm) return pool_size(point);
  return 2 * pool_size(point);
}

std::uint64_t warmup_needed(const Point& point, SharedInputs& inputs, const RunOptions& options) {
  const std::uint64_t limit = warmup_limit(point);
  if (limit == 0 || point.workload.pool.initial_cache == InitialCache::warm) return limit;
  Point fill = point;
  fill.workload.pool.measured_requests = 1;
  fill.mass_requests = 0;
  RunOptions fill_options = options;
  fill_options.num_warmup = limit - 1;
  fill_options.stop_when_full = true;
  Run run(fill, inputs, fill_options);
  run.simulate();
  return run.requests_until_full();
}

}  // namespace reprefill::sim
