// The engine's requests in virtual time, and what must be equal then.
#pragma once

#include <gtest/gtest.h>

#include "core/pipeline/account_metrics.hpp"
#include "core/pipeline/identification.hpp"
#include "sim/simulation/calibrated_orders.hpp"
#include "tests/engine/session/session_fixture.hpp"

namespace reprefill::engine::test_support {

/// The same requests in virtual time.
class SimulatedRun {
 public:
  SimulatedRun(const Variant& variant, pipeline::PathKind path, const ModelGeometry& geometry, const Store& store,
               const traces::ImportanceSource& importance)
      : importance_(importance) {
    environment_.geometry = geometry;
    environment_.path = pipeline::default_software_path(path);
    environment_.importance = &importance_;
    environment_.segment_tokens = [&store](SegmentId id) { return store.segment(id).num_tokens(); };
    if (const std::uint32_t requests = calibration_requests_of(variant, path)) calibrate(store, requests);
    const Json name = variant.system;
    system_ = pipeline::find_system(JsonValue(name, "test")).make(resolve(variant, path), environment_);
    if (system_->cache() != nullptr) system_->cache()->set_decision_log(&decisions);
    if (auto* keys = system_->identification_cache()) keys->set_decision_log(&identification_decisions);
    machine_ = std::make_unique<sim::SimulatedMachine>(
        simulation_,
        sim::SimulatedMachineOptions{.geometry = &environment_.geometry,
                                     .profile = &profile_,
                                     .path = &environment_.path,
                                     .importance = &importance_,
                                     .store_layout = system_->store_layout(),
                                     .segment_tokens = environment_.segment_tokens,
                                     .staging = system_->staging()},
        spans_);
  }

  void foresee(const pipeline::Request& request) { system_->foresee(request); }

  pipeline::RequestAccount serve(pipeline::Request request) {
    request.account = {};
    request.own_tokens -= std::exchange(request.front_tokens, 0u);  // as it was when it arrived
    pipeline::Task task = system_->serve(*machine_, request);
    task.start();
    for (;;) {
      machine_->resume_ready();
      if (task.done()) break;
      REPREFILL_CHECK(simulation_.step(), "deadlock in request {}", request.id);
    }
    task.check();
    while (simulation_.step()) machine_->resume_ready();
    return request.account;
  }

  cache::DecisionLog decisions, identification_decisions;

 private:
  /// Orders as the simulator derives them, not those of the store's files: they must be the same.
  void calibrate(const Store& store, std::uint32_t requests) {
    orders_.emplace(calibration_importance(), requests);
    for (std::uint32_t i = 0; i < store.num_segments(); ++i) {
      pipeline::Request on_segment;
      on_segment.stored_prefix = store.path_of(SegmentId{i});
      orders_->note(on_segment);
    }
    environment_.token_places = [this](SegmentId segment, int layer) { return orders_->places(segment, layer); };
  }

  const traces::ImportanceSource& importance_;
  std::optional<sim::CalibratedOrders> orders_;
  sim::Profile profile_ = reprefill::test_support::datasheet_profile();
  pipeline::SystemEnvironment environment_;
  std::unique_ptr<pipeline::System> system_;
  sim::Simulation simulation_;
  reprefill::test_support::SpanList spans_;
  std::unique_ptr<sim::SimulatedMachine> machine_;
};

/// Serves the requests on the engine, records their importance, and repeats them on the simulator.
inline void expect_equal_runs(Model& model, const Store& store, const Variant& variant, pipeline::PathKind path,
                              std::span<const Prompt> requests) {
  const ModelGeometry& geometry = model.checkpoint->geometry();
  const TemporaryFolder folder;
  Session session(model, &store, session_options(variant, path));
  const Json& params = session.resolved().at("params");
  ImportanceRecorder::Options recording{.mode = RecordMode::as_run,
                                        .geometry = geometry,
                                        .probe_heads = pipeline::probe_heads_of(params, geometry),
                                        .recorded_under = {variant.system, "", 1}};
  ImportanceRecorder::add_channels_of(params, recording);
  ImportanceRecorder recorder(folder / "run.rimp", recording);
  const std::vector<RequestOutcome> outcomes = session.serve(requests, {}, &recorder);
  recorder.finish();

  const auto recorded = traces::RecordedImportance::open(folder / "run.rimp");
  const traces::ImportanceSource* known = known_selections(variant);
  SimulatedRun simulated(variant, path, geometry, store, known != nullptr ? *known : recorded);
  for (const RequestOutcome& outcome : outcomes) simulated.foresee(outcome.request);
  for (const RequestOutcome& outcome : outcomes) {
    const pipeline::RequestAccount account = simulated.serve(outcome.request);
    ASSERT_EQ(account, outcome.request.account)
        << "request " << outcome.name << "\nsimulator " << pipeline::bytes_per_request(account, 1) << "\nengine    "
        << pipeline::bytes_per_request(outcome.request.account, 1);
  }
  EXPECT_EQ(simulated.decisions.num_decisions(), session.decisions().num_decisions());
  EXPECT_EQ(simulated.decisions.digest(), session.decisions().digest());
  EXPECT_EQ(simulated.identification_decisions.digest(), session.identification_decisions().digest());
}

}  // namespace reprefill::engine::test_support
