// Several turns of conversations on the engine, and a trace of them on the simulator with the importance that the
// engine recorded: what is stored, read, written and decided is equal, turn by turn (semantics 1, "Append").
#include <gtest/gtest.h>

#include "core/pipeline/account_metrics.hpp"
#include "core/pipeline/identification.hpp"
#include "tests/engine/session/conversation_fixture.hpp"
#include "tests/sim/simulation/one_point.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using pipeline::Append;
using pipeline::AppendKv;
using pipeline::PathKind;
using AppendCase = std::tuple<Variant, PathKind, Append, AppendKv>;

class AppendEquality : public testing::TestWithParam<AppendCase> {
 protected:
  static void SetUpTestSuite() { small_ = new SmallModel; }
  static void TearDownTestSuite() { delete small_; }

  /// On the engine; importance goes to `run.rimp`, the trace to `turns.jsonl`.
  std::vector<Turn> serve(Session& session) {
    const auto& [variant, path, append, append_kv] = GetParam();
    const Json& params = session.resolved().at("params");
    const ModelGeometry& geometry = small_->model.checkpoint->geometry();
    ImportanceRecorder::Options recording{.mode = RecordMode::as_run,
                                          .geometry = geometry,
                                          .probe_heads = pipeline::probe_heads_of(params, geometry),
                                          .recorded_under = traces::recorded_under(variant.system, params)};
    ImportanceRecorder::add_channels_of(params, recording);
    ImportanceRecorder recorder(folder_ / "run.rimp", recording);
    std::vector<Turn> turns = serve_conversations(session, append == Append::suffix_and_output ? 40 : 2, &recorder);
    recorder.finish();
    write_trace(folder_ / "turns.jsonl", turns);
    return turns;
  }

  Json scenario() const {
    const auto& [variant, path, append, append_kv] = GetParam();
    return {{"model", small_->folder().string()},
            {"profile", "a800-990pro"},
            {"software_path", enum_name(path)},
            {"systems", {{{"name", variant.system}, {"params", variant.params}}}},
            {"workload",
             {{"kind", "trace"},
              {"file", (folder_ / "turns.jsonl").string()},
              {"block_tokens", kBlockTokens},
              {"append", enum_name(append)},
              {"append_kv", enum_name(append_kv)}}},
            {"importance", {{"kind", "recorded"}, {"file", (folder_ / "run.rimp").string()}}},
            {"mass_requests", 0}};
  }

  TemporaryFolder folder_;
  static SmallModel* small_;
};
SmallModel* AppendEquality::small_ = nullptr;

void expect_same_append(const std::optional<pipeline::AppendPlan>& a, const std::optional<pipeline::AppendPlan>& b) {
  ASSERT_EQ(a.has_value(), b.has_value());
  if (!a) return;
  EXPECT_EQ(a->segment, b->segment);
  EXPECT_EQ(a->num_tokens, b->num_tokens);
  EXPECT_EQ(a->recompute_tokens, b->recompute_tokens);
}

TEST_P(AppendEquality, StoredTokensBytesReadsWritesAndDecisionsAreTheSimulators) {
  const auto& [variant, path, append, append_kv] = GetParam();
  const EmptyStore store(small_->model, variant, path);
  SessionOptions options = session_options(variant, path);
  options.append = append;
  options.append_kv = append_kv;
  options.verify_reads = true;
  Session session(small_->model, &*store, options);
  const std::vector<Turn> turns = serve(session);

  sim::OnePoint point(scenario());
  Bytes appended;
  std::uint64_t stored_tokens = 0, approximate_tokens = 0;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const pipeline::Request& real = turns[i].outcome.request;
    const auto simulated = point.run({.only_request = i}).recorded->request;
    ASSERT_EQ(real.account, simulated.account)
        << "turn " << i << "\nsimulator " << pipeline::bytes_per_request(simulated.account, 1) << "\nengine    "
        << pipeline::bytes_per_request(real.account, 1);
    EXPECT_EQ(real.stored_prefix, simulated.stored_prefix) << i;
    expect_same_append(real.append, simulated.append);
    appended += real.account.appended;
    stored_tokens += real.stored_tokens;
    approximate_tokens += real.account.approximate_tokens_reused;
  }
  const sim::RunResult whole = point.run({.keep_spans = true});
  const auto num_writes = std::ranges::count_if(
      whole.spans, [](const record::Span& span) { return span.operation == record::Operation::write; });
  EXPECT_EQ(session.append_counts().writes, static_cast<std::uint64_t>(num_writes));
  EXPECT_EQ(session.append_counts().bytes, appended);

  if (variant.system == "recompute") {
    EXPECT_EQ(num_writes, 0);
    return;
  }
  EXPECT_EQ(whole.row["cache"]["decisions_digest"], fmt::format("{:016x}", session.decisions().digest()));
  EXPECT_GT(stored_tokens, 0u);
  EXPECT_EQ(session.append_counts().segments, 10u) << "every turn fills a block, and the last prompt does not";
  const bool is_approximate = session.system().prunes() && append_kv == AppendKv::as_computed;
  EXPECT_EQ(approximate_tokens > 0, is_approximate);
}

std::string name_of_case(const testing::TestParamInfo<AppendCase>& info) {
  const auto& [variant, path, append, append_kv] = info.param;
  return fmt::format("{}_{}_{}_{}", enum_name(path), variant.name, enum_name(append), enum_name(append_kv));
}

/// Those that the engine appends for.
std::vector<Variant> appending_variants() {
  std::vector<Variant> variants = reprefill::test_support::all_variants();
  std::erase_if(variants, [](const Variant& variant) {
    return variant.system == "resident" || variant.system == "oracle" || variant.params.contains("reorder");
  });
  return variants;
}

std::vector<Variant> some_variants() {
  std::vector<Variant> variants = appending_variants();
  std::erase_if(variants, [](const Variant& variant) {
    const std::string_view chosen[] = {"recompute",      "attention_store",  "hybrid",
                                       "impress_groups", "ckv_whole_period", "ckv_pinned"};
    return std::ranges::find(chosen, variant.name) == std::end(chosen);
  });
  return variants;
}

INSTANTIATE_TEST_SUITE_P(AllSystems, AppendEquality,
                         testing::Combine(testing::ValuesIn(appending_variants()),
                                          testing::Values(PathKind::prototype, PathKind::direct),
                                          testing::Values(Append::suffix), testing::Values(AppendKv::as_computed)),
                         name_of_case);
INSTANTIATE_TEST_SUITE_P(Outputs, AppendEquality,
                         testing::Combine(testing::ValuesIn(some_variants()), testing::Values(PathKind::direct),
                                          testing::Values(Append::suffix_and_output),
                                          testing::Values(AppendKv::as_computed, AppendKv::recompute_exact)),
                         name_of_case);
INSTANTIATE_TEST_SUITE_P(Exact, AppendEquality,
                         testing::Combine(testing::ValuesIn(some_variants()),
                                          testing::Values(PathKind::prototype, PathKind::direct),
                                          testing::Values(Append::suffix), testing::Values(AppendKv::recompute_exact)),
                         name_of_case);

}  // namespace
}  // namespace reprefill::engine
