#include "calibrate/predicted_session.hpp"

#include "calibrate/session/driver_cells.hpp"
#include "sim/simulated_machine.hpp"
#include "traces/importance/importance_presets.hpp"
#include "traces/importance/synthetic_importance.hpp"

namespace reprefill::calibrate {
namespace {

constexpr std::uint32_t kWarmup = kProbePrefixes, kMeasured = 3 * kProbePrefixes;  // as a turn of the meter

class Session final : public sim::MachineObserver {
 public:
  Session(const Json& shape, const ModelGeometry& geometry, const sim::Profile& profile)
      : profile_(profile),
        importance_(traces::importance_preset("paper-5pct", "calibrate").params,
                    {.num_kv_heads = geometry.num_kv_heads, .probe_kv_heads = {0, 0, 0}}, 1),
        prefix_tokens_(probe_prefix_tokens(geometry)) {
    profile_.host.tokenise_per_token = Nanoseconds{0};  // prompts are given as ids
    environment_.geometry = geometry;
    environment_.path = pipeline::default_software_path(pipeline::PathKind::direct);
    environment_.segment_tokens = [this](SegmentId) { return prefix_tokens_; };
    const pipeline::SystemEntry& entry = pipeline::find_system(JsonValue(shape.at("system"), "calibrate"));
    const Json params = probe_params(shape, geometry);
    system_ = entry.make(entry.resolve(JsonValue(params, "calibrate"), pipeline::PathKind::direct), environment_);
    machine_ = std::make_unique<sim::SimulatedMachine>(
        simulation_,
        sim::SimulatedMachineOptions{.geometry = &environment_.geometry,
                                     .profile = &profile_,
                                     .path = &environment_.path,
                                     .importance = &importance_,
                                     .store_layout = system_->store_layout(),
                                     .segment_tokens = environment_.segment_tokens,
                                     .staging = system_->staging()},
        *this);
  }

  PredictedSession serve() {
    for (std::uint32_t number = 0; number < kWarmup + kMeasured; ++number) serve(number);
    while (simulation_.step()) machine_->resume_ready();
    return result_;
  }

 private:
  void on_span(const record::Span& span) override {
    if (span.request == request_.id) spans_.push_back(span);
  }
  void on_attend(const pipeline::Request&, int, const pipeline::KvView&) override {}

  void serve(std::uint32_t number) {
    const SegmentId prefix{number % kProbePrefixes};
    request_ = {};
    request_.id = number;
    request_.importance_id = number;
    request_.task = prefix.value;
    request_.prompt_tokens = prefix_tokens_ + kProbeSuffixTokens;
    if (system_->reuses_prefix()) {
      request_.stored_prefix = {{prefix, prefix_tokens_}};
      request_.stored_tokens = request_.hit_trace_tokens = prefix_tokens_;
    }
    request_.own_tokens = request_.prompt_tokens - request_.stored_tokens;
    spans_.clear();
    const Nanoseconds arrival = simulation_.now();
    task_ = system_->serve(*machine_, request_);
    task_.start();
    for (machine_->resume_ready(); !task_.done(); machine_->resume_ready()) {
      REPREFILL_CHECK(simulation_.step(), "deadlock: a probe's request waits and no event is left");
    }
    task_.check();
    if (number >= kWarmup) add(arrival, simulation_.now());
  }

  void add(Nanoseconds arrival, Nanoseconds first_token) {
    result_.ttft_ns += static_cast<double>((first_token - arrival).value) / kMeasured;
    result_.work += work_of(spans_);
    const record::TimeBreakdown time = record::classify_time(arrival, arrival, first_token, spans_);
    for (std::size_t i = 0; i < time.by_class.size(); ++i) result_.time.by_class[i] += time.by_class[i];
  }

  sim::Profile profile_;
  traces::SyntheticImportance importance_;
  std::uint32_t prefix_tokens_;
  pipeline::SystemEnvironment environment_;
  std::unique_ptr<pipeline::System> system_;
  sim::Simulation simulation_;
  std::unique_ptr<sim::SimulatedMachine> machine_;
  pipeline::Request request_;
  std::vector<record::Span> spans_;
  pipeline::Task task_;  // after the machine: it lets go of its operations first
  PredictedSession result_;
};

}  // namespace

PredictedSession predict_session(const Json& shape, const ModelGeometry& geometry, const sim::Profile& profile) {
  return Session(shape, geometry, profile).serve();
}

}  // namespace reprefill::calibrate
