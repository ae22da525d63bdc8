#include "sim/devices/operation_tables.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/devices/operation_model.hpp"

namespace reprefill::sim {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

const DurationTable kTable({1, 11}, {0, 100}, {1000, 2000, 3000, 6000});

TEST(DurationTable, IsExactAtItsPointsAndLinearBetween) {
  EXPECT_EQ(kTable.at(1, 0).ns, 1000);
  EXPECT_EQ(kTable.at(11, 100).ns, 6000);
  EXPECT_EQ(kTable.at(6, 0).ns, 2000);
  EXPECT_EQ(kTable.at(1, 50).ns, 1500);
  EXPECT_EQ(kTable.at(6, 50).ns, 3000);  // the mean of all four
}

TEST(DurationTable, OutsideIsTheNearestEdgeAndSaysSo) {
  EXPECT_EQ(kTable.at(20, 50).ns, kTable.at(11, 50).ns);
  EXPECT_FALSE(kTable.at(20, 50).inside);
  EXPECT_FALSE(kTable.at(5, 101).inside);
  EXPECT_FALSE(kTable.at(0, 0).inside);
  EXPECT_TRUE(kTable.at(11, 100).inside);  // the edge itself was measured
}

TEST(DurationTable, WithoutKeysAnyNumberOfThemIsInside) {
  const DurationTable table({1, 3}, {0}, {10, 30});
  EXPECT_EQ(table.at(2, 999).ns, 20);
  EXPECT_TRUE(table.at(2, 999).inside);
}

TEST(DurationTable, ComesBackFromJson) {
  for (const DurationTable& table : {kTable, DurationTable({1, 3}, {0}, {10, 30})}) {
    const Json json = table.to_json();
    EXPECT_EQ(DurationTable(JsonValue(json, "test")).to_json(), json);
  }
}

TEST(DurationTable, GridsThatAreNotFilledOrNotAscendingAreRefused) {
  const auto expect_refused = [](const char* text, const char* message) {
    const Json json = Json::parse(text);
    EXPECT_THAT([&] { DurationTable(JsonValue(json, "m.json")); }, ThrowsMessage<ConfigError>(HasSubstr(message)))
        << text;
  };
  expect_refused(R"({"queries": [1, 1], "ns": [1, 2]})", "queries: found [1,1]; expected ascending numbers");
  expect_refused(R"({"queries": [], "ns": []})", "expected 1 to 4096 numbers");
  expect_refused(R"({"queries": [1, 2], "ns": [1]})", "expected 2 rows");
  expect_refused(R"({"queries": [1], "keys": [0, 1], "ns": [[1]]})", "ns[0]: found [1]; expected 2 numbers");
  expect_refused(R"({"queries": [1], "keys": [0], "ns": [5]})", "ns[0]");
  expect_refused(R"({"queries": [1], "ns": [-1]})", "ns[0]");
  expect_refused(R"({"queries": [1], "ns": [1], "nss": 1})", "nss: unknown key");
}

ModelGeometry shape() {
  ModelGeometry geometry;
  geometry.name = "m";
  geometry.num_layers = 2;
  geometry.hidden = 64;
  geometry.num_query_heads = 4;
  geometry.num_kv_heads = 2;
  geometry.head_dim = 16;
  geometry.intermediate = 96;
  geometry.vocab = 128;
  return geometry;
}

GpuProfile measured_gpu() {
  GpuProfile gpu;
  gpu.peak_rate = {1e9};
  gpu.memory_bandwidth = {1e15};  // FLOPs decide
  gpu.operation_overhead = Nanoseconds{7};
  ModelOperations model{.shape = shape(),
                        .project = DurationTable({1, 10}, {0}, {100, 1000}),
                        .attend = DurationTable({1, 10}, {0, 100}, {500, 600, 5000, 6000}),
                        .score = DurationTable({1, 10}, {10, 100}, {50, 60, 500, 600}),
                        .score_probe = DurationTable({1, 10}, {10, 100}, {5, 6, 50, 60}),
                        .probe_query_heads = 2,
                        .first_token_ns = 77};
  gpu.operations = std::make_shared<const std::vector<ModelOperations>>(std::vector{model});
  return gpu;
}

AttendShape over(std::uint64_t queries, std::uint64_t own_before, std::uint32_t tokens) {
  return {.queries = queries,
          .own_before = own_before,
          .k_tokens = tokens,
          .v_tokens = tokens,
          .walk = {.num_tokens = tokens}};
}

TEST(MeasuredOperations, InsideTheGridTheTableSpeaksAndTheHandOverIsAdded) {
  OperationModel model(measured_gpu(), shape());
  EXPECT_EQ(model.project(10), Nanoseconds{1007});
  EXPECT_EQ(model.attend(over(10, 0, 100)), Nanoseconds{6007});
  EXPECT_EQ(model.attend(over(1, 20, 80)), Nanoseconds{607});  // own tokens before the block are keys too
  // What is kept of K and V does not matter: the kernels go through all of the walk.
  EXPECT_EQ(model.attend({.queries = 1, .k_tokens = 10, .v_tokens = 5, .walk = {.num_tokens = 100}}), Nanoseconds{607});
  EXPECT_EQ(model.score(1, 100, 4, 2), Nanoseconds{67});
  EXPECT_EQ(model.score(1, 100, 2, 1), Nanoseconds{13});
  EXPECT_EQ(model.first_token(), Nanoseconds{84});
  EXPECT_EQ(model.num_queries(), 7u);
  EXPECT_EQ(model.num_extrapolated(), 0u);
}

TEST(MeasuredOperations, BeyondTheGridTheRooflineGoesOnFromItsEdgeAndIsCounted) {
  OperationModel model(measured_gpu(), shape());
  // FLOPs of a projection are proportional to its queries: twice the edge's, so about twice the time.
  EXPECT_NEAR(static_cast<double>(model.project(20).value), 2007, 5);
  EXPECT_EQ(model.num_extrapolated(), 1u);
  EXPECT_GT(model.attend(over(10, 0, 200)), Nanoseconds{6007});
  EXPECT_EQ(model.num_extrapolated(), 2u);
  // One probed head where two were measured.
  EXPECT_LT(model.score(1, 100, 1, 1), Nanoseconds{13});
  EXPECT_EQ(model.num_extrapolated(), 3u);
}

TEST(MeasuredOperations, AMaskAddsWhatItWasMeasuredToAddToTheWalkItLiesOver) {
  GpuProfile gpu = measured_gpu();
  ModelOperations tables = gpu.operations->front();
  tables.mask_values = DurationTable({2, 10}, {0, 50}, {0, 20, 0, 40});
  gpu.operations = std::make_shared<const std::vector<ModelOperations>>(std::vector{tables});
  OperationModel model(gpu, shape());
  const auto under = [&](std::uint64_t queries, std::uint32_t tokens, pipeline::AttentionMask mask) {
    AttendShape masked = over(queries, 0, tokens);
    masked.walk.mask = mask;
    return model.attend(masked) - model.attend(over(queries, 0, tokens));
  };
  EXPECT_EQ(under(10, 50, pipeline::AttentionMask::values), Nanoseconds{40});
  EXPECT_EQ(under(10, 25, pipeline::AttentionMask::values), Nanoseconds{20});
  EXPECT_EQ(under(6, 50, pipeline::AttentionMask::values), Nanoseconds{30});
  EXPECT_EQ(under(10, 50, pipeline::AttentionMask::keys), Nanoseconds{0}) << "was not measured";
  EXPECT_EQ(model.num_extrapolated(), 0u);
  // Beyond the masks' own grid: by the tokens; fewer queries than the fewest are a tile all the same.
  EXPECT_EQ(under(10, 100, pipeline::AttentionMask::values), Nanoseconds{80});
  EXPECT_EQ(under(1, 50, pipeline::AttentionMask::values), Nanoseconds{20});
  EXPECT_EQ(model.num_extrapolated(), 2u);
}

TEST(Select, CostsEachScoreAndEachVoteWhatItWasMeasuredToCost) {
  GpuProfile gpu;
  gpu.select_overhead = Nanoseconds{100};
  gpu.select_per_score_ns = 2;
  EXPECT_EQ(OperationModel(gpu).select(50, pipeline::SelectionMode::top_k_per_group), Nanoseconds{200});
  EXPECT_EQ(OperationModel(gpu).select(50, pipeline::SelectionMode::probe_vote), Nanoseconds{200}) << "not measured";
  gpu.select_per_vote_ns = 3;
  EXPECT_EQ(OperationModel(gpu).select(50, pipeline::SelectionMode::probe_vote), Nanoseconds{250});
  EXPECT_EQ(OperationModel(gpu).select(50, pipeline::SelectionMode::top_k_of_sum), Nanoseconds{200});
}

TEST(MeasuredOperations, TheNumberOfLayersDoesNotMatterAnyOtherNumberOfTheShapeDoes) {
  ModelGeometry deeper = shape();
  deeper.num_layers = 80;
  EXPECT_TRUE(OperationModel(measured_gpu(), deeper).is_measured());
  ModelGeometry wider = shape();
  wider.intermediate = 128;
  EXPECT_FALSE(OperationModel(measured_gpu(), wider).is_measured());
}

TEST(MeasuredOperations, AModelThatWasNotMeasuredIsARoofline) {
  GpuProfile gpu = measured_gpu();
  ModelGeometry other = shape();
  other.hidden = 128;
  OperationModel model(gpu, other);
  const OperationCosts costs(other);
  EXPECT_EQ(model.project(10), model.overhead() + model.gemm(costs.project(10)));
}

}  // namespace
}  // namespace reprefill::sim
