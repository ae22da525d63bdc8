#include "sim/simulation/run_point.hpp"

#include <algorithm>
#include <list>

#include "core/pipeline/mass_meter.hpp"
#include "core/pipeline/request.hpp"
#include "sim/simulated_machine.hpp"
#include "sim/simulation/request_statistics.hpp"
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

class Run final : public MachineObserver, private Timer {
 public:
  Run(const Point& point, SharedInputs& inputs, const RunOptions& options);
  RunResult simulate();
  /// Of a fill run.
  std::uint64_t requests_until_full() const { return num_finished_; }

 private:
  void on_span(const record::Span& span) override;
  void on_attend(const pipeline::Request& request, int layer_idx, const pipeline::KvView& view) override;
  void fire() override;

  void schedule_next_arrival();
  void admit();
  void start(std::uint64_t index, Nanoseconds arrival);
  void collect_finished();
  void finish(ActiveRequest& active);
  bool both_tiers_full();
  std::array<Nanoseconds, record::kNumResources> busy_times() const;
  RunResult result();

  const Point& point_;
  RunOptions options_;
  Simulation simulation_;
  pipeline::SystemEnvironment environment_;
  std::unique_ptr<pipeline::System> system_;
  std::shared_ptr<const traces::ImportanceSource> importance_;
  std::unique_ptr<SimulatedMachine> machine_;
  std::unique_ptr<RequestPlan> plan_;
  pipeline::MassMeter mass_meter_;
  cache::DecisionLog decisions_;

  std::list<ActiveRequest> active_;  // after the machine: coroutines let go of its operations first
  std::vector<std::pair<std::uint64_t, Nanoseconds>> waiting_;
  std::size_t first_waiting_ = 0;
  std::uint64_t next_request_ = 0;
  std::uint64_t num_finished_ = 0;
  bool full_ = false;
  Nanoseconds measured_from_{0};
  RequestStatistics statistics_;
  std::array<Nanoseconds, record::kNumResources> busy_before_{};  // of each resource, in the warm-up
  std::vector<record::Span> kept_spans_;
};

Run::Run(const Point& point, SharedInputs& inputs, const RunOptions& options)
    : point_(point), options_(options), importance_(inputs.importance(point)), mass_meter_(*importance_) {
  environment_.geometry = point.geometry;
  environment_.path = point.path;
  environment_.store_block_tokens = point.store_block_tokens;
  environment_.max_in_flight = point.workload.max_in_flight();
  environment_.segment_tokens = [this](SegmentId segment) { return plan_->segment_tokens(segment); };
  system_ = make_system(point, environment_);
  const SimulatedMachineOptions machine_options{.geometry = &point.geometry,
                                                .profile = &point.profile,
                                                .path = &point.path,
                                                .importance = importance_.get(),
                                                .store_layout = system_->store_layout(),
                                                .segment_tokens = environment_.segment_tokens,
                                                .staging = system_->staging(),
                                                .noise = point.noise,
                                                .seed = point.seed,
                                                .replica = point.replica};
  machine_ = std::make_unique<SimulatedMachine>(simulation_, machine_options, *this);
  plan_ = make_request_plan(point, options.num_warmup, inputs,
                            [this](std::uint32_t tokens) { return machine_->recompute_time(tokens); });
  if (system_->cache() != nullptr) system_->cache()->set_decision_log(&decisions_);
}

void Run::on_span(const record::Span& span) {
  for (ActiveRequest& active : active_) {
    if (active.request.id == span.request) {
      active.spans.push_back(span);
      return;
    }
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
  waiting_.emplace_back(next_request_, simulation_.now());
  if (++next_request_ == plan_->num_requests())
    statistics_.waiting_at_last_arrival = waiting_.size() - first_waiting_ - 1;
  schedule_next_arrival();
  admit();
}

void Run::admit() {
  const auto limit = static_cast<std::size_t>(environment_.max_in_flight);
  if (plan_->open_arrivals()) {
    while (active_.size() < limit && first_waiting_ < waiting_.size()) {
      const auto [index, arrival] = waiting_[first_waiting_++];
      start(index, arrival);
    }
    return;
  }
  while (active_.size() < limit && next_request_ < plan_->num_requests()) start(next_request_++, simulation_.now());
}

void Run::start(std::uint64_t index, Nanoseconds arrival) {
  if (index == options_.num_warmup) {
    measured_from_ = simulation_.now();
    busy_before_ = busy_times();
    if (system_->cache() != nullptr) system_->cache()->reset_statistics();
  }
  ActiveRequest& active = active_.emplace_back();
  active.index = index;
  active.arrival = arrival;
  active.admission = simulation_.now();
  active.measured = index >= options_.num_warmup;
  active.request.id = static_cast<std::uint32_t>(index);
  active.request.importance_id = index;
  plan_->resolve(index, active.request);
  if (!system_->reuses_prefix()) {
    active.request.own_tokens = active.request.prompt_tokens;
    active.request.stored_tokens = 0;
    active.request.stored_prefix.clear();
  }
  if (system_->store_layout() == nullptr) active.request.append.reset();
  active.task = system_->serve(*machine_, active.request);
  active.task.start();
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
  const Nanoseconds now = simulation_.now();
  if (options_.stop_when_full && both_tiers_full()) full_ = true;
  if (!active.measured) return;
  statistics_.requests.push_back({active.arrival, active.admission, now});
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
  if (plan_->open_arrivals()) {
    schedule_next_arrival();
  } else {
    admit();
  }
  constexpr std::uint64_t kPollMask = 0xffff;
  while (num_finished_ < plan_->num_requests() && !full_) {
    machine_->resume_ready();
    collect_finished();
    if (num_finished_ == plan_->num_requests() || full_) break;
    REPREFILL_CHECK(simulation_.step(), "deadlock: {} requests in flight and no event left", active_.size());
    if ((simulation_.num_events() & kPollMask) != 0) continue;
    if (options_.interrupted != nullptr && *options_.interrupted) throw Interrupted();
    if (options_.on_progress) {
      options_.on_progress(static_cast<double>(num_finished_) / static_cast<double>(plan_->num_requests()));
    }
  }
  return result();
}

RunResult Run::result() {
  RunResult result;
  result.num_events = simulation_.num_events();
  result.num_requests = num_finished_;
  result.virtual_time = simulation_.now();
  result.spans = std::move(kept_spans_);
  if (options_.stop_when_full) return result;
  RowInputs inputs{.point = point_,
                   .statistics = statistics_,
                   .plan = *plan_,
                   .system = *system_,
                   .decisions = decisions_,
                   .operations = machine_->operation_model(),
                   .num_warmup = options_.num_warmup,
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

void check_inputs(const Point& point, SharedInputs& inputs) {
  inputs.importance(point);
  std::uint32_t longest = stored_tokens_of(point.workload.pool.prefix_tokens, point.store_block_tokens);
  if (point.workload.is_trace) {
    longest = 0;
    for (const traces::TraceRequest& request : inputs.trace(point.workload.trace.file, point.origin)->requests()) {
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
  if (read > system->staging()) {
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
