#include "study/compare/simulated_session.hpp"

#include <list>

#include "sim/simulated_machine.hpp"

namespace reprefill::study {
namespace {

struct InFlight {
  std::size_t index = 0;
  pipeline::Request request;
  Nanoseconds arrival{0};
  std::vector<record::Span> spans;
  pipeline::Task task;
};

class Session final : public sim::MachineObserver {
 public:
  Session(const SimulatedSessionOptions& options, const sim::Profile& profile, std::size_t num_warmup)
      : num_warmup_(num_warmup) {
    environment_ = {.geometry = options.geometry,
                    .path = options.path,
                    .store_block_tokens = options.store_block_tokens,
                    .max_in_flight = options.max_in_flight,
                    .segment_tokens = options.segment_tokens,
                    .token_places = options.token_places};
    if (options.uncertain) profile_ = sim::with_host_of_replica(profile, options.seed, options.replica);
    const Json name = options.system;
    system_ = pipeline::find_system(JsonValue(name, "compare")).make(options.system_params, environment_);
    if (system_->cache() != nullptr) system_->cache()->set_decision_log(&decisions_);
    if (auto* keys = system_->identification_cache()) keys->set_decision_log(&identification_decisions_);
    machine_ = std::make_unique<sim::SimulatedMachine>(
        simulation_,
        sim::SimulatedMachineOptions{.geometry = &environment_.geometry,
                                     .profile = options.uncertain ? &profile_ : &profile,
                                     .path = &environment_.path,
                                     .importance = options.importance,
                                     .store_layout = system_->store_layout(),
                                     .segment_tokens = environment_.segment_tokens,
                                     .staging = system_->staging(),
                                     .noise = options.uncertain,
                                     .model_error = options.uncertain,
                                     .seed = options.seed,
                                     .replica = options.replica},
        *this);
  }

  MachineRun serve(std::span<const pipeline::Request> requests) {
    run_.requests.resize(requests.size() - num_warmup_);
    for (std::size_t i = 0; i < num_warmup_; ++i) run_.warmup_accounts.push_back(nullptr);
    const auto limit = static_cast<std::size_t>(environment_.max_in_flight);
    for (std::size_t next = 0; next < requests.size() || !in_flight_.empty();) {
      while (next < requests.size() && in_flight_.size() < limit) start(requests[next], next), ++next;
      machine_->resume_ready();
      if (collect_finished()) continue;
      REPREFILL_CHECK(simulation_.step(), "deadlock: {} requests in flight and no event left", in_flight_.size());
    }
    while (simulation_.step()) machine_->resume_ready();
    run_.num_decisions = decisions_.num_decisions();
    run_.decisions_digest = fmt::format("{:016x}", decisions_.digest());
    run_.identification_digest = fmt::format("{:016x}", identification_decisions_.digest());
    return std::move(run_);
  }

 private:
  void on_span(const record::Span& span) override {
    for (InFlight& entry : in_flight_) {
      if (entry.request.id == span.request) entry.spans.push_back(span);
    }
  }
  void on_attend(const pipeline::Request&, int, const pipeline::KvView&) override {}

  void start(const pipeline::Request& request, std::size_t index) {
    InFlight& entry = in_flight_.emplace_back();
    entry.index = index;
    entry.request = request;
    entry.request.account = {};
    entry.arrival = simulation_.now();
    entry.task = system_->serve(*machine_, entry.request);
    entry.task.start();
  }

  bool collect_finished() {
    bool any = false;
    for (auto entry = in_flight_.begin(); entry != in_flight_.end();) {
      if (!entry->task.done()) {
        ++entry;
        continue;
      }
      entry->task.check();
      finish(*entry);
      entry = in_flight_.erase(entry);
      any = true;
    }
    return any;
  }

  void finish(const InFlight& entry) {
    if (entry.index < num_warmup_) {
      run_.warmup_accounts[entry.index] = account_json(entry.request.account);
      return;
    }
    const Nanoseconds now = simulation_.now();
    const record::TimeBreakdown time = record::classify_time(entry.arrival, entry.arrival, now, entry.spans);
    run_.requests[entry.index - num_warmup_] = measured_request(entry.request, now - entry.arrival, time, entry.spans);
    if (entry.index == num_warmup_) run_.timeline = from_arrival(entry.spans, entry.arrival);
  }

  std::size_t num_warmup_;
  MachineRun run_;
  cache::DecisionLog decisions_, identification_decisions_;
  sim::Simulation simulation_;
  sim::Profile profile_;  // of a replica
  pipeline::SystemEnvironment environment_;
  std::unique_ptr<pipeline::System> system_;
  std::unique_ptr<sim::SimulatedMachine> machine_;
  std::list<InFlight> in_flight_;  // after the machine: coroutines let go of its operations first
};

}  // namespace

MachineRun simulate_requests(const SimulatedSessionOptions& options, const sim::Profile& profile,
                             std::span<const pipeline::Request> requests, std::size_t num_warmup) {
  REPREFILL_CHECK(num_warmup < requests.size(), "{} requests, of which {} to warm up", requests.size(), num_warmup);
  return Session(options, profile, num_warmup).serve(requests);
}

}  // namespace reprefill::study
