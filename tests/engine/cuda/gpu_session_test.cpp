// Sessions whose executor is a GPU: the same bytes, reads, decisions and answers as on the CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/cuda/both_models.hpp"
#include "tests/engine/executor/comparison.hpp"
#include "tests/engine/session/simulated_run.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using pipeline::PathKind;

class GpuSession : public testing::TestWithParam<std::tuple<Variant, PathKind>> {
 protected:
  static void SetUpTestSuite() { both_ = new BothModels; }
  static void TearDownTestSuite() {
    delete both_;
    both_ = nullptr;
  }
  void SetUp() override {
    if (!both_->gpu.executor) GTEST_SKIP() << "no GPU";
  }
  static BothModels* both_;
};
BothModels* GpuSession::both_ = nullptr;

std::size_t num_requests() { return reprefill::test_support::test_gpu_is_emulated() ? 2 : 12; }

TEST_P(GpuSession, BytesReadsAndDecisionsAreTheSimulators) {
  const auto& [variant, path] = GetParam();
  const PrefixStore store(both_->cpu.model, variant, path);
  expect_equal_runs(both_->gpu, *store, variant, path, some_requests(num_requests()));
}

/// On the emulated device one variant of each system.
std::vector<Variant> variants() {
  std::vector<Variant> chosen;
  for (const Variant& variant : reprefill::test_support::all_variants()) {
    const bool is_new = std::ranges::none_of(chosen, [&](const Variant& v) { return v.system == variant.system; });
    if (is_new || !reprefill::test_support::test_gpu_is_emulated()) chosen.push_back(variant);
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(AllSystems, GpuSession,
                         testing::Combine(testing::ValuesIn(variants()),
                                          testing::Values(PathKind::prototype, PathKind::direct)),
                         name_of);

class GpuAnswers : public GpuSession {
 protected:
  std::vector<RequestOutcome> serve(Model& model, const Store& store, SessionOptions options,
                                    std::span<const Prompt> requests) {
    return Session(model, &store, options).serve(requests, {});
  }
};

/// Every variant keeps all of the prefix here: what is chosen cannot differ by a rounding.
TEST_P(GpuAnswers, LogitsAreTheCpusAndDoNotDependOnCachesOrRequestsInFlight) {
  const auto& [variant, path] = GetParam();
  const PrefixStore store(both_->cpu.model, variant, path);
  const std::vector<Prompt> requests = some_requests(num_requests());
  SessionOptions options = session_options(variant, path);
  const std::vector<RequestOutcome> on_cpu = serve(both_->cpu.model, *store, options, requests);
  const std::vector<RequestOutcome> alone = serve(both_->gpu, *store, options, requests);
  options.max_in_flight = 3;
  const std::vector<RequestOutcome> together = serve(both_->gpu, *store, options, requests);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    EXPECT_LT(test::relative_error(alone[i].first_logits, on_cpu[i].first_logits), 0.2) << i;
    EXPECT_EQ(together[i].first_logits, alone[i].first_logits) << i;
    Nanoseconds sum{0};
    for (const Nanoseconds part : alone[i].time.by_class) sum += part;
    EXPECT_EQ(sum, alone[i].ttft());
  }
}

std::vector<Variant> full_variants() {
  return {{.name = "resident", .system = "resident", .params = Json::object()},
          {.name = "attention_store", .system = "attention_store", .params = Json::object()},
          {.name = "contiguous_kv", .system = "contiguous_kv", .params = {{"budget", "1"}}}};
}

INSTANTIATE_TEST_SUITE_P(WholePrefix, GpuAnswers,
                         testing::Combine(testing::ValuesIn(full_variants()), testing::Values(PathKind::direct)),
                         name_of);

TEST_P(GpuAnswers, TokensAfterTheFirstAreTheCpusWhereTheMarginAllows) {
  const auto& [variant, path] = GetParam();
  const PrefixStore store(both_->cpu.model, variant, path);
  std::vector<Prompt> requests = some_requests(1);
  requests.front().max_tokens = 3;
  const SessionOptions options = session_options(variant, path);
  const std::vector<RequestOutcome> on_gpu = serve(both_->gpu, *store, options, requests);
  EXPECT_EQ(on_gpu.front().generated.size(), 3u);
  EXPECT_EQ(on_gpu.front().generated.front(), argmax(on_gpu.front().first_logits));
}

}  // namespace
}  // namespace reprefill::engine
