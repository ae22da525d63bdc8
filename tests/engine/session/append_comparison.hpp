// Turns of conversations on the engine, and a trace of them on the simulator with the importance that the engine
// recorded.
#pragma once

#include <gtest/gtest.h>

#include "core/pipeline/account_metrics.hpp"
#include "core/pipeline/identification.hpp"
#include "tests/engine/session/conversation_fixture.hpp"
#include "tests/sim/simulation/one_point.hpp"

namespace reprefill::engine::test_support {

struct AppendedRun {
  Variant variant;
  pipeline::PathKind path = pipeline::PathKind::direct;
  pipeline::Append append = pipeline::Append::suffix;
  pipeline::AppendKv append_kv = pipeline::AppendKv::as_computed;
};

inline SessionOptions session_options(const AppendedRun& run) {
  SessionOptions options = session_options(run.variant, run.path);
  options.append = run.append;
  options.append_kv = run.append_kv;
  options.verify_reads = true;
  return options;
}

/// As the engine served them: importance is in `run.rimp`, the trace in `turns.jsonl`.
class RecordedTurns {
 public:
  RecordedTurns(Model& model, Session& session, const AppendedRun& run, const Conversations& shape) {
    const Json& params = session.resolved().at("params");
    const ModelGeometry& geometry = model.checkpoint->geometry();
    ImportanceRecorder::Options recording{.mode = RecordMode::as_run,
                                          .geometry = geometry,
                                          .probe_heads = pipeline::probe_heads_of(params, geometry),
                                          .recorded_under = traces::recorded_under(run.variant.system, params)};
    ImportanceRecorder::add_channels_of(params, recording);
    ImportanceRecorder recorder(importance(), recording);
    const std::uint32_t max_tokens = run.append == pipeline::Append::suffix_and_output ? shape.output_tokens : 2;
    turns = serve_conversations(session, max_tokens, &recorder, {}, shape);
    recorder.finish();
    write_trace(folder_ / "turns.jsonl", turns);
  }
  std::filesystem::path importance() const { return folder_ / "run.rimp"; }

  /// The same requests of a system in the simulator.
  Json scenario(const std::filesystem::path& model, const AppendedRun& run) const {
    return {{"model", model.string()},
            {"profile", "a800-990pro"},
            {"software_path", enum_name(run.path)},
            {"systems", {{{"name", run.variant.system}, {"params", run.variant.params}}}},
            {"workload",
             {{"kind", "trace"},
              {"file", (folder_ / "turns.jsonl").string()},
              {"block_tokens", kBlockTokens},
              {"append", enum_name(run.append)},
              {"append_kv", enum_name(run.append_kv)}}},
            {"importance", {{"kind", "recorded"}, {"file", importance().string()}}},
            {"mass_requests", 0}};
  }

 private:
  reprefill::test_support::TemporaryFolder folder_;

 public:
  std::vector<Turn> turns;
};

inline void expect_same_append(const std::optional<pipeline::AppendPlan>& a,
                               const std::optional<pipeline::AppendPlan>& b) {
  ASSERT_EQ(a.has_value(), b.has_value());
  if (!a) return;
  EXPECT_EQ(a->segment, b->segment);
  EXPECT_EQ(a->num_tokens, b->num_tokens);
  EXPECT_EQ(a->recompute_tokens, b->recompute_tokens);
}

/// What is stored, read, written and decided, turn by turn. Returns the simulated number of writes.
inline std::uint64_t expect_turns_are_the_simulators(const Session& session,
                                                     std::span<const pipeline::Request> requests,
                                                     const Json& scenario) {
  sim::OnePoint point(scenario);
  Bytes appended;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const pipeline::Request& real = requests[i];
    const auto simulated = point.run({.only_request = i}).recorded->request;
    EXPECT_EQ(real.account, simulated.account)
        << "turn " << i << "\nsimulator " << pipeline::bytes_per_request(simulated.account, 1) << "\nengine    "
        << pipeline::bytes_per_request(real.account, 1);
    EXPECT_EQ(real.stored_prefix, simulated.stored_prefix) << i;
    expect_same_append(real.append, simulated.append);
    appended += real.account.appended;
  }
  const sim::RunResult whole = point.run({.keep_spans = true});
  const auto num_writes = static_cast<std::uint64_t>(std::ranges::count_if(
      whole.spans, [](const record::Span& span) { return span.operation == record::Operation::write; }));
  EXPECT_EQ(session.append_counts().writes, num_writes);
  EXPECT_EQ(session.append_counts().bytes, appended);
  if (num_writes > 0) {
    EXPECT_EQ(whole.row["cache"]["decisions_digest"], fmt::format("{:016x}", session.decisions().digest()));
  }
  return num_writes;
}

inline std::vector<pipeline::Request> requests_of(std::span<const Turn> turns) {
  std::vector<pipeline::Request> requests;
  for (const Turn& turn : turns) requests.push_back(turn.outcome.request);
  return requests;
}

/// Serves the conversations and repeats them on the simulator.
inline void expect_equal_appends(Model& model, const std::filesystem::path& model_folder, const AppendedRun& run,
                                 const Conversations& shape = {}) {
  const EmptyStore store(model, run.variant, run.path);
  Session session(model, &*store, session_options(run));
  const RecordedTurns recorded(model, session, run, shape);
  const std::uint64_t num_writes =
      expect_turns_are_the_simulators(session, requests_of(recorded.turns), recorded.scenario(model_folder, run));
  if (run.variant.system == "recompute") {
    EXPECT_EQ(num_writes, 0u);
    return;
  }
  std::uint64_t stored_tokens = 0, approximate_tokens = 0;
  for (const Turn& turn : recorded.turns) {
    stored_tokens += turn.outcome.request.stored_tokens;
    approximate_tokens += turn.outcome.request.account.approximate_tokens_reused;
  }
  EXPECT_GT(stored_tokens, 0u);
  EXPECT_EQ(session.append_counts().segments, shape.count * shape.num_turns)
      << "every turn fills a block, and the last prompt does not";
  // The first turn finds nothing stored: a second one's KV is the first that can be approximate.
  const bool is_approximate = session.system().prunes() && run.append_kv == pipeline::AppendKv::as_computed;
  EXPECT_EQ(approximate_tokens > 0, is_approximate && shape.num_turns > 2);
}

/// Those that the engine appends for and that need no selections.
inline std::vector<Variant> appending_variants() {
  std::vector<Variant> variants = reprefill::test_support::all_variants();
  std::erase_if(variants, [](const Variant& variant) {
    return variant.system == "resident" || variant.system == "oracle" || variant.params.contains("reorder");
  });
  return variants;
}

}  // namespace reprefill::engine::test_support
