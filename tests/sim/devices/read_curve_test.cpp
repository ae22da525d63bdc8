// Measured parts of a bundle: reads by size, bundles that hold some parts only, and what overrides do to them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/devices/operation_model.hpp"
#include "sim/devices/profile.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::sim {
namespace {

using test_support::TemporaryFolder;
using testing::HasSubstr;
using testing::ThrowsMessage;

SsdProfile drive() {
  SsdProfile ssd;
  ssd.read_latency = Nanoseconds{50'000};
  ssd.read_bandwidth = {4e9};
  ssd.read_curve = {{Bytes{4096}, Nanoseconds{50'000}, {1e9}}, {Bytes{16384}, Nanoseconds{70'000}, {3e9}}};
  return ssd;
}

TEST(ReadCurve, IsLinearInTheLogarithmOfTheSizeAndFlatOutside) {
  EXPECT_EQ(drive().read_cost(Bytes{4096}).latency, Nanoseconds{50'000});
  EXPECT_EQ(drive().read_cost(Bytes{8192}).latency, Nanoseconds{60'000});
  EXPECT_EQ(drive().read_cost(Bytes{8192}).bandwidth.value, 2e9);
  EXPECT_EQ(drive().read_cost(Bytes{512}).bandwidth.value, 1e9);
  EXPECT_EQ(drive().read_cost(Bytes{1 << 30}).latency, Nanoseconds{70'000});
}

TEST(ReadCurve, WithoutACurveEverySizeCostsTheHeadlineNumbers) {
  SsdProfile ssd = drive();
  ssd.read_curve.clear();
  EXPECT_EQ(ssd.read_cost(Bytes{4096}).latency, ssd.read_latency);
  EXPECT_EQ(ssd.read_cost(Bytes{1 << 20}).bandwidth.value, 4e9);
}

/// A bundle in `folder`/b: the shipped one's drive, with a curve.
class BundleTest : public testing::Test {
 protected:
  BundleTest() {
    model = read_json_file(shipped / "a800-990pro" / "model.json");
    for (const char* part : {"gpu", "link", "host"}) model.erase(part);
    model["ssd"]["read_curve"] = Json::parse(R"([
      {"bytes": 4096, "latency_ns": 60000, "bandwidth_bytes_per_s": 1e9},
      {"bytes": 65536, "latency_ns": 80000, "bandwidth_bytes_per_s": 6e9}])");
  }
  Profile read(Json value) {
    std::filesystem::create_directories(folder / "b");
    test_support::write_text(folder / "b" / "meta.json", R"({"kind": "measured"})");
    test_support::write_text(folder / "b" / "model.json", model.dump());
    return read_profile(JsonValue(value, "scenario.json", "profile"), shipped);
  }
  const std::filesystem::path shipped = test_support::source_folder() / "calibrate" / "profiles";
  TemporaryFolder folder;
  Json model;
};

TEST_F(BundleTest, AMeasuredDriveMixesIntoAnotherProfile) {
  const Profile profile = read({{"name", "a800-990pro"}, {"ssd", (folder / "b").string()}});
  EXPECT_EQ(profile.ssd.read_cost(Bytes{65536}).latency, Nanoseconds{80'000});
  EXPECT_EQ(profile.resolved["ssd"]["read_curve"][1]["latency_ns"], 80'000);
}

TEST_F(BundleTest, AFasterDriveKeepsTheCurvesForm) {
  const Profile profile =
      read({{"name", "a800-990pro"}, {"ssd", {{"from", (folder / "b").string()}, {"read_bandwidth", "14.9 GB/s"}}}});
  EXPECT_DOUBLE_EQ(profile.ssd.read_curve[0].bandwidth.value, 2e9);  // 14.9 is twice the 990 Pro's 7.45
  EXPECT_EQ(profile.ssd.read_curve[0].latency, Nanoseconds{60'000});
  EXPECT_TRUE(profile.hypothetical);
}

TEST_F(BundleTest, APartThatTheBundleHasNotMustBeMixedIn) {
  EXPECT_THAT([&] { read((folder / "b").string()); },
              ThrowsMessage<ConfigError>(HasSubstr("gpu is missing: name a part to mix in")));
  const Profile profile =
      read({{"name", (folder / "b").string()}, {"gpu", "h100-sxm"}, {"link", "h100-sxm"}, {"host", "a800-990pro"}});
  EXPECT_EQ(profile.link.name, "PCIe 5.0 x16");
}

TEST_F(BundleTest, NumbersAloneAreNoPartWhereTheBundleHasNone) {
  EXPECT_THAT(
      [&] {
        read({{"name", (folder / "b").string()},
              {"gpu", {{"peak_flops_per_s", 1e12}}},
              {"link", "h100-sxm"},
              {"host", "a800-990pro"}});
      },
      ThrowsMessage<ConfigError>(HasSubstr("is missing")));
}

TEST_F(BundleTest, TheDriversCostsAreReadAndResolvedAndADatasheetHasNone) {
  EXPECT_FALSE(read("a800-990pro").host.driver.any());
  EXPECT_FALSE(read("a800-990pro").resolved["host"].contains("driver"));
  model["host"] = read_json_file(shipped / "a800-990pro" / "model.json")["host"];
  model["host"]["driver"] = {{"per_operation_ns", 1}, {"per_piece_ns", 2}, {"start_ns", 3}, {"notice_ns", 4}};
  const Json measured = {{"name", "a800-990pro"}, {"host", (folder / "b").string()}};
  const Profile profile = read(measured);
  EXPECT_EQ(profile.host.driver, (DriverCosts{Nanoseconds{1}, Nanoseconds{2}, Nanoseconds{3}, Nanoseconds{4}}));
  EXPECT_EQ(profile.resolved["host"]["driver"]["notice_ns"], 4);
  EXPECT_FALSE(profile.host.driver.streams);
  model["host"]["driver"]["streams"] = true;
  EXPECT_TRUE(read(measured).host.driver.streams);
  EXPECT_EQ(read(measured).resolved["host"]["driver"]["streams"], true);
  model["host"]["driver"]["notice_ns"] = -1;
  EXPECT_THROW(read(measured), ConfigError);
}

TEST_F(BundleTest, ASelectionOnTheHostTakesTimeForEachScore) {
  model["gpu"] = read_json_file(shipped / "a800-990pro" / "model.json")["gpu"];
  model["gpu"]["select_per_score_ns"] = 2.5;
  const Json measured = {{"name", "a800-990pro"}, {"gpu", (folder / "b").string()}};
  const Profile profile = read(measured);
  EXPECT_EQ(profile.resolved["gpu"]["select_per_score_ns"], 2.5);
  EXPECT_EQ(OperationModel(profile.gpu, {}).select(1000, pipeline::SelectionMode::top_k_of_sum),
            profile.gpu.select_overhead + Nanoseconds{2500});
  EXPECT_EQ(OperationModel(read("a800-990pro").gpu, {}).select(1000, pipeline::SelectionMode::top_k_of_sum),
            profile.gpu.select_overhead);
  model["gpu"]["select_per_score_ns"] = -1;
  EXPECT_THROW(read(measured), ConfigError);
}

TEST_F(BundleTest, SizesOfACurveAscend) {
  model["ssd"]["read_curve"][1]["bytes"] = 4096;
  EXPECT_THAT(
      [&] {
        read({{"name", "a800-990pro"}, {"ssd", (folder / "b").string()}});
      },
      ThrowsMessage<ConfigError>(HasSubstr("ascending sizes")));
}

TEST_F(BundleTest, AGpuWithAnOverriddenNumberForgetsWhatWasMeasuredOnTheRealOne) {
  Json gpu = read_json_file(shipped / "a800-990pro" / "model.json")["gpu"];
  gpu["operations"] = Json::parse(R"([{"model": "m", "shape": {"hidden": 64, "query_heads": 4, "kv_heads": 2,
    "head_dim": 16, "intermediate": 96, "vocab": 128, "mlp_matrices": 3, "kv_element_bytes": 2,
    "weight_element_bytes": 2}, "project": {"queries": [1], "ns": [5]},
    "attend": {"queries": [1], "keys": [1], "ns": [[5]]}, "score": {"queries": [1], "keys": [1], "ns": [[5]]},
    "first_token_ns": 9}])");
  model["gpu"] = gpu;
  const Json from = (folder / "b").string();
  EXPECT_EQ(read({{"name", "a800-990pro"}, {"gpu", from}}).gpu.operations->size(), 1u);
  const Profile what_if = read({{"name", "a800-990pro"}, {"gpu", {{"from", from}, {"peak_flops_per_s", 1e12}}}});
  EXPECT_TRUE(what_if.gpu.operations->empty());
}

}  // namespace
}  // namespace reprefill::sim
