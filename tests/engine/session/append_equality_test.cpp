// Several turns of conversations on the engine, and a trace of them on the simulator with the importance that the
// engine recorded: what is stored, read, written and decided is equal, turn by turn (semantics 1, "Append").
#include <gtest/gtest.h>

#include "tests/engine/session/append_comparison.hpp"

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
  static SmallModel* small_;
};
SmallModel* AppendEquality::small_ = nullptr;

TEST_P(AppendEquality, StoredTokensBytesReadsWritesAndDecisionsAreTheSimulators) {
  const auto& [variant, path, append, append_kv] = GetParam();
  expect_equal_appends(small_->model, small_->folder(),
                       {.variant = variant, .path = path, .append = append, .append_kv = append_kv});
}

std::string name_of_case(const testing::TestParamInfo<AppendCase>& info) {
  const auto& [variant, path, append, append_kv] = info.param;
  return fmt::format("{}_{}_{}_{}", enum_name(path), variant.name, enum_name(append), enum_name(append_kv));
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

// ---- whoever knows all prompts knows what they append ----

/// What a run of contiguous_kv found important, for prompts that are all known before the run.
class OracleAppends : public testing::TestWithParam<PathKind> {
 protected:
  static void SetUpTestSuite() { small_ = new SmallModel; }
  static void TearDownTestSuite() { delete small_; }
  static SmallModel* small_;
};
SmallModel* OracleAppends::small_ = nullptr;

TEST_P(OracleAppends, WithARecordedTraceAreTheSimulators) {
  const AppendedRun recorded_run{.variant = {"ckv", "contiguous_kv", {{"budget", 0.25}}}, .path = GetParam()};
  const EmptyStore store(small_->model, recorded_run.variant, recorded_run.path);
  const RecordedTurns recorded = [&] {
    Session session(small_->model, &*store, session_options(recorded_run));
    return RecordedTurns(small_->model, session, recorded_run, {});
  }();
  std::vector<Prompt> prompts;
  for (const Turn& turn : recorded.turns) prompts.push_back({.name = turn.outcome.name, .ids = turn.prompt});

  const auto known = traces::RecordedImportance::open(recorded.importance());
  for (const AppendKv append_kv : {AppendKv::as_computed, AppendKv::recompute_exact}) {
    const Json params = {{"gpu_cache", "300 kB"}, {"host_cache", "700 kB"}, {"budget", 0.25}};
    const AppendedRun run{.variant = {"oracle", "oracle", params}, .path = GetParam(), .append_kv = append_kv};
    SessionOptions options = session_options(run);
    options.selections = &known;
    Session session(small_->model, &*store, options);
    std::vector<pipeline::Request> requests;
    for (const RequestOutcome& outcome : session.serve(prompts, {})) requests.push_back(outcome.request);
    const auto num_writes =
        expect_turns_are_the_simulators(session, requests, recorded.scenario(small_->folder(), run));
    EXPECT_EQ(num_writes, 10u * 2 * 5);
  }
}

INSTANTIATE_TEST_SUITE_P(BothPaths, OracleAppends, testing::Values(PathKind::prototype, PathKind::direct),
                         [](const auto& info) { return enum_name(info.param); });

}  // namespace
}  // namespace reprefill::engine
