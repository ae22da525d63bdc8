// The budgets of design 10 for whole runs: 1000 ContiguousKV requests, the Mooncake replay, and how a sweep scales.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>

#include "sim/simulation/run_point.hpp"
#include "sim/sweep/parallel_runner.hpp"

namespace reprefill::sim {
namespace {

const std::filesystem::path kHome = REPREFILL_SOURCE_DIR;

ScenarioContext context() {
  const char* traces = std::getenv("REPREFILL_TRACES");
  const std::filesystem::path shared = kHome.parent_path() / "shared" / "traces";
  return {.models = kHome / "scenarios" / "models",
          .profiles = kHome / "calibrate" / "profiles",
          .traces = traces != nullptr                 ? std::filesystem::path(traces)
                    : std::filesystem::exists(shared) ? shared
                                                      : std::filesystem::path(),
          .samples = kHome / "traces" / "samples"};
}

Scenario contiguous_kv_scenario(std::uint64_t num_requests, int repeats) {
  const Json json = {{"model", "qwen2.5-7b"},
                     {"profile", "a800-990pro"},
                     {"software_path", "direct"},
                     {"systems", {"contiguous_kv"}},
                     {"workload",
                      {{"kind", "prefix_pool"},
                       {"preset", "rte"},
                       {"num_prefixes", 550},
                       {"warmup_requests", 0},
                       {"measured_requests", num_requests}}},
                     {"repeats", repeats}};
  return read_scenario(json, "benchmark", {}, context());
}

/// 7B, 5 %, 6k prefix, direct, 550 prefixes, no span list: budget 1 s and 300 MB on one core.
void ContiguousKv1000Requests(benchmark::State& state) {
  const Scenario scenario = contiguous_kv_scenario(1000, 1);
  const ScenarioContext where = context();
  std::uint64_t events = 0;
  for (auto _ : state) {
    SharedInputs inputs(where);
    const RunResult result = run_point(scenario.points.front(), inputs, {});
    events += result.num_events;
    benchmark::DoNotOptimize(result.row);
  }
  state.counters["events_per_s"] = benchmark::Counter(static_cast<double>(events), benchmark::Counter::kIsRate);
}
BENCHMARK(ContiguousKv1000Requests)->Unit(benchmark::kMillisecond)->Repetitions(5)->ReportAggregatesOnly();

/// A public trace through contiguous_kv on one core, reading included. Its memory: /usr/bin/time -v with a filter.
void replay(benchmark::State& state, const std::string& file, Json workload) {
  const ScenarioContext where = context();
  if (where.traces.empty() || !std::filesystem::exists(where.traces / file)) {
    state.SkipWithError(("no " + file + ": set REPREFILL_TRACES").c_str());
    return;
  }
  workload["kind"] = "trace";
  workload["file"] = "$REPREFILL_TRACES/" + file;
  workload["target_utilisation"] = 0.6;
  const Json json = {
      {"model", "qwen2.5-7b"}, {"profile", "a800-990pro"}, {"systems", {"contiguous_kv"}}, {"workload", workload}};
  const Scenario scenario = read_scenario(json, "benchmark", {}, where);
  std::uint64_t events = 0;
  std::uint64_t requests = 0;
  for (auto _ : state) {
    SharedInputs inputs(where);
    const RunResult result = run_point(scenario.points.front(), inputs, {});
    events += result.num_events;
    requests = result.num_requests;
  }
  state.counters["events_per_s"] = benchmark::Counter(static_cast<double>(events), benchmark::Counter::kIsRate);
  state.counters["requests"] = static_cast<double>(requests);
}

/// All 7,000 requests of the Mooncake cut: budget 20 s and 1 GB.
void MooncakeReplay(benchmark::State& state) {
  replay(state, "mooncake-conversation/conversation_trace.first7000.jsonl", Json::object());
}
BENCHMARK(MooncakeReplay)->Unit(benchmark::kMillisecond)->Iterations(1)->Repetitions(3)->ReportAggregatesOnly();

/// All conversations of coding agents, nested ones included: budget 60 s and 2 GB.
void AgenticReplay(benchmark::State& state) { replay(state, "agentic-coding", {{"format", "agentic"}}); }
BENCHMARK(AgenticReplay)->Unit(benchmark::kMillisecond)->Iterations(1)->Repetitions(3)->ReportAggregatesOnly();

/// 32 equal points on k threads: budget 0.9 k times one core. Compare the rates of one run.
void SweepOnJobs(benchmark::State& state) {
  const Scenario scenario = contiguous_kv_scenario(300, 32);
  const ScenarioContext where = context();
  const std::vector<double> costs(scenario.points.size(), 1.0);
  const std::atomic<bool> interrupted{false};
  for (auto _ : state) {
    SharedInputs inputs(where);
    run_points(
        costs, static_cast<std::size_t>(state.range(0)),
        [&](std::size_t index) { run_point(scenario.points[index], inputs, {}); }, interrupted);
  }
  state.counters["points_per_s"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * static_cast<double>(costs.size()), benchmark::Counter::kIsRate);
}
BENCHMARK(SweepOnJobs)
    ->Arg(1)
    ->Arg(2)
    ->Arg(4)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond)
    ->Repetitions(5)
    ->ReportAggregatesOnly();

}  // namespace
}  // namespace reprefill::sim

BENCHMARK_MAIN();
