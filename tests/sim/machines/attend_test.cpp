// Measured durations of attention are of what kernels go through for a system's view, and of the mask over it.
#include <gtest/gtest.h>

#include "tests/sim/machines/machines_fixture.hpp"

namespace reprefill {
namespace {

using namespace test_support;
using namespace pipeline;

constexpr double kBase = 1'000, kToken = 10, kMaskedKey = 3, kMaskedValue = 5;

sim::DurationTable line(double base, double per_token) {
  return {{1, 1000}, {0, 1000}, {base, base + 1000 * per_token, base, base + 1000 * per_token}};
}

sim::Profile measured_profile() {
  sim::Profile profile = datasheet_profile();
  profile.interference.clear();
  profile.gpu.operation_overhead = Nanoseconds{0};
  sim::ModelOperations model{.shape = small_model(),
                             .project = sim::DurationTable({1, 1000}, {0}, {100, 100}),
                             .attend = line(kBase, kToken),
                             .score = line(50, 0)};
  model.first_token_ns = 70;
  model.mask_keys = line(0, kMaskedKey);
  model.mask_values = line(0, kMaskedValue);
  profile.gpu.operations = std::make_shared<const std::vector<sim::ModelOperations>>(std::vector{model});
  return profile;
}

/// Of every layer of one request; all alike.
void expect_attends(const Variant& variant, double ns) {
  const sim::Profile profile = measured_profile();
  Bench bench(variant, PathKind::direct);
  SimulatedBench machine(bench, profile);
  Request request = bench.request(0);
  Task task = bench.system->serve(machine.machine, request);
  task.start();
  ASSERT_TRUE(machine.drive(task)) << variant;
  task.check();
  int num_layers = 0;
  for (const record::Span& span : machine.spans.spans) {
    if (span.operation != record::Operation::attend) continue;
    EXPECT_EQ((span.end - span.start).value, static_cast<std::int64_t>(ns)) << variant << " " << span.layer_idx;
    ++num_layers;
  }
  EXPECT_EQ(num_layers, small_model().num_layers) << variant;
}

TEST(MeasuredAttention, IsOfTheKeptTokensWhereAllHeadsShareThem) {
  expect_attends({"everything", "attention_store", Json::object()}, kBase + kStoredTokens * kToken);
  expect_attends({"a quarter", "resident", {{"budget", 0.25}}}, kBase + kStoredTokens / 4 * kToken);
}

TEST(MeasuredAttention, IsOfTheWholePrefixUnderMasksOfValuesWhereHeadsChoose) {
  for (const double budget : {0.05, 0.5}) {
    expect_attends({"heads", "as_h2o", {{"budget", budget}}}, kBase + kStoredTokens * (kToken + kMaskedValue));
  }
}

TEST(MeasuredAttention, IsOfTheWholePrefixUnderAMaskOfKeysAtFullLength) {
  expect_attends({"full", "impress", {{"budget", 0.25}, {"attention_over", "full_length"}}},
                 kBase + kStoredTokens * (kToken + kMaskedKey));
}

}  // namespace
}  // namespace reprefill
