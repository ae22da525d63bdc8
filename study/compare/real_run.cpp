#include "study/compare/real_run.hpp"

#include "core/pipeline/identification.hpp"

namespace reprefill::study {
namespace {

engine::SessionOptions session_options(const sim::Point& point, const RealRunOptions& options) {
  return {.system = point.system,
          .system_params = point.system_params,
          .path = point.path.kind,
          .path_params = pipeline::software_path_params().write(point.path),
          .max_in_flight = point.workload.max_in_flight(),
          .buffered_reads = options.buffered_reads,
          .unregistered_buffers = options.unregistered_buffers,
          .keep_spans = true};
}

std::unique_ptr<engine::ImportanceRecorder> make_recorder(const std::filesystem::path& file, const sim::Point& point) {
  if (file.empty()) return nullptr;
  const Json& params = point.system_params;
  engine::ImportanceRecorder::Options options{.mode = engine::RecordMode::as_run, .geometry = point.geometry};
  options.probe_heads = pipeline::probe_heads_of(params, point.geometry);
  engine::ImportanceRecorder::add_channels_of(params, options);
  options.recorded_under = traces::recorded_under(point.system, params);
  return std::make_unique<engine::ImportanceRecorder>(file, options);
}

}  // namespace

MachineRun run_on_engine(engine::Model& model, const engine::Store& store, const sim::Point& point,
                         const CompareWorkload& workload, const RealRunOptions& options,
                         const std::filesystem::path& record) {
  engine::Session session(model, &store, session_options(point, options));
  REPREFILL_CHECK(session.resolved().at("params") == point.system_params, "{} runs with {} on the engine, not with {}",
                  point.label, session.resolved().at("params").dump(), point.system_params.dump());
  const auto recorder = make_recorder(record, point);
  engine::SessionCallbacks callbacks;
  callbacks.interrupted = options.interrupted;
  const std::vector<engine::RequestOutcome> outcomes = session.serve(workload.prompts, callbacks, recorder.get());
  if (recorder) recorder->finish();
  MachineRun run;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const engine::RequestOutcome& outcome = outcomes[i];
    if (i < workload.num_warmup) {
      run.warmup_accounts.push_back(account_json(outcome.request.account));
      continue;
    }
    run.requests.push_back(measured_request(outcome.request, outcome.ttft(), outcome.time, outcome.spans));
    if (i == workload.num_warmup) run.timeline = from_arrival(outcome.spans, outcome.arrival);
  }
  run.num_decisions = session.decisions().num_decisions();
  run.decisions_digest = fmt::format("{:016x}", session.decisions().digest());
  run.identification_digest = fmt::format("{:016x}", session.identification_decisions().digest());
  return run;
}

pipeline::SystemEnvironment environment_of(const sim::Point& point) {
  return {.geometry = point.geometry,
          .path = point.path,
          .store_block_tokens = point.store_block_tokens,
          .max_in_flight = 1,
          .segment_tokens = [](SegmentId) { return 0u; }};
}

std::vector<pipeline::Request> resolve_requests(const engine::Store& store, const sim::Point& point,
                                                const CompareWorkload& workload) {
  const pipeline::SystemEnvironment environment = environment_of(point);
  const Json name = point.system;
  const auto system = pipeline::find_system(JsonValue(name, point.origin)).make(point.system_params, environment);
  std::vector<pipeline::Request> requests;
  for (const engine::Prompt& prompt : workload.prompts) {
    pipeline::Request request;
    request.id = static_cast<std::uint32_t>(requests.size());
    request.importance_id = request.id;
    request.prompt_tokens = static_cast<std::uint32_t>(prompt.ids.size());
    if (system->reuses_prefix()) {
      request.stored_prefix = store.match(std::span(prompt.ids).first(prompt.ids.size() - 1));
      for (const SegmentSpan& span : request.stored_prefix) request.stored_tokens += span.num_tokens;
    }
    request.own_tokens = request.prompt_tokens - request.stored_tokens;
    request.hit_trace_tokens = request.stored_tokens;
    requests.push_back(std::move(request));
  }
  return requests;
}

}  // namespace reprefill::study
