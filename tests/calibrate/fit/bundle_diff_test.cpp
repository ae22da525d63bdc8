#include "calibrate/bundle_diff.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/bundle.hpp"
#include "calibrate/derive.hpp"
#include "sim/devices/profile.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::calibrate {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

const std::filesystem::path kShipped = std::filesystem::path(REPREFILL_SOURCE_DIR) / "calibrate" / "profiles";

Json model_with(double measured, double spread) {
  const FitReport fit{
      .name = "copy",
      .rule = "r",
      .points = {{.shape = {{"bytes", 1}}, .measured = measured, .spread = spread, .fitted = measured}}};
  return {{"schema_version", 1}, {"fits", {fit.to_json()}}};
}

Change change_of(double first, double first_spread, double second, double second_spread) {
  const auto differences = diff_bundles(model_with(first, first_spread), model_with(second, second_spread));
  EXPECT_EQ(differences.size(), 1u);
  return differences.at(0).change;
}

TEST(BundleDiff, AMedianIsBetterOrWorseBeyondBothSpreadsTogether) {
  EXPECT_EQ(change_of(100, 0.03, 80, 0.03), Change::better);
  EXPECT_EQ(change_of(80, 0.03, 100, 0.03), Change::worse);
  EXPECT_EQ(change_of(100, 0.15, 80, 0.15), Change::ambiguous);
}

TEST(BundleDiff, CloseMediansAreTheSameOnlyIfTheirSpreadsAllowToSaySo) {
  EXPECT_EQ(change_of(100, 0.01, 101, 0.01), Change::same);
  EXPECT_EQ(change_of(100, 0.2, 101, 0.2), Change::ambiguous);
  EXPECT_EQ(change_of(100, 0, 100, 0), Change::same);
  EXPECT_EQ(change_of(100, 0, 101, 0), Change::same);   // below 2 %
  EXPECT_EQ(change_of(100, 0, 110, 0), Change::worse);  // longer
}

TEST(BundleDiff, OfPlainNumbersTheirKindSaysWhatIsBetter) {
  const Json first = {{"ssd", {{"read_bandwidth_bytes_per_s", 7e9}, {"read_latency_ns", 50}, {"num_devices", 1}}}};
  const Json second = {{"ssd", {{"read_bandwidth_bytes_per_s", 14e9}, {"read_latency_ns", 60}, {"num_devices", 4}}}};
  const auto differences = diff_bundles(first, second);
  ASSERT_EQ(differences.size(), 3u);
  EXPECT_EQ(differences[0].change, Change::better);
  EXPECT_EQ(differences[1].change, Change::worse);
  EXPECT_EQ(differences[2].change, Change::ambiguous);
}

TEST(BundleDiff, WhatOnlyOneHasIsSaid) {
  const auto differences = diff_bundles(model_with(1, 0), {{"gpu", {{"peak_flops_per_s", 1e12}}}});
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].change, Change::only_first);
  EXPECT_EQ(differences[1].change, Change::only_second);
}

TEST(FitReportJson, ComesBackWithItsPredictions) {
  const FitReport fit{
      .name = "attend/x",
      .rule = "r",
      .points = {{.shape = {{"queries", 1}}, .measured = 100, .spread = 0.1, .fitted = 105, .held_out = 108},
                 {.shape = {{"queries", 2}}, .measured = 200, .converged = false, .fitted = 200}}};
  const Json json = fit.to_json();
  const FitReport back = FitReport::from_json(JsonValue(json, "x"));
  EXPECT_EQ(back.to_json(), json);
  EXPECT_EQ(back.num_within_spread(), 1u);
  EXPECT_NEAR(json["held_out"]["median"].get<double>(), 0.08, 1e-12);
}

TEST(Derive, OneNumberChangesAndSaysWhereItIsFrom) {
  const DerivedBundle bundle = derive_bundle(
      "a800-990pro", {{"ssd", {.from = "", .numbers = {{"read_bandwidth", "14 GB/s"}}}}}, "what-if", kShipped);
  const Json base = sim::read_bundle(kShipped / "a800-990pro").at("model");
  EXPECT_EQ(bundle.meta["kind"], "hypothetical");
  EXPECT_EQ(bundle.model["ssd"]["read_bandwidth_bytes_per_s"], 14e9);
  EXPECT_THAT(bundle.model["ssd"]["sources"]["read_bandwidth_bytes_per_s"].get<std::string>(), HasSubstr("derive"));
  EXPECT_EQ(bundle.model["ssd"]["write_bandwidth_bytes_per_s"], base["ssd"]["write_bandwidth_bytes_per_s"]);
  EXPECT_EQ(bundle.model["gpu"], base["gpu"]);
}

TEST(Derive, WhatComesOutIsAProfileThatSweepTakes) {
  const test_support::TemporaryFolder folder;
  const DerivedBundle derived = derive_bundle(
      "a800-990pro", {{"gpu", {.from = "h100-sxm"}}, {"ssd", {.from = "ssd-gen5", .numbers = {{"num_devices", "2"}}}}},
      "two", kShipped);
  std::filesystem::create_directories(folder / "two");
  write_bundle(folder / "two", {.meta = derived.meta, .model = derived.model, .fits = {}});
  const Json name = (folder / "two").string();
  const sim::Profile profile = sim::read_profile(JsonValue(name, "test"), kShipped);
  EXPECT_EQ(profile.ssd.num_devices, 2u);
  EXPECT_EQ(profile.ssd.read_bandwidth.value, 14.5e9);
  EXPECT_EQ(profile.gpu.memory_bandwidth.value, 3.35e12);
  EXPECT_TRUE(profile.hypothetical);
}

TEST(Derive, WrongNumbersAndNamesAreRefused) {
  const auto derive = [](const char* key, const char* value) {
    derive_bundle("a800-990pro", {{"ssd", {.from = "", .numbers = {{key, value}}}}}, "x", kShipped);
  };
  EXPECT_THROW(derive("read_bandwidth", "14 GB"), ConfigError);
  EXPECT_THROW(derive("read_bandwith", "14 GB/s"), ConfigError);
  EXPECT_THROW(derive("num_channels", "-1"), ConfigError);
  EXPECT_THROW(derive_bundle("no-such-profile", {}, "x", kShipped), ConfigError);
}

TEST(Bundle, OneByteMoreInTheModelIsRefused) {
  const test_support::TemporaryFolder folder;
  const DerivedBundle derived = derive_bundle("a800-990pro", {}, "b", kShipped);
  write_bundle(folder.path(), {.meta = derived.meta, .model = derived.model, .fits = {}});
  EXPECT_NO_THROW(sim::check_bundle(folder.path()));
  std::ofstream(folder / "model.json", std::ios::app) << " ";
  EXPECT_THAT([&] { sim::check_bundle(folder.path()); },
              ThrowsMessage<ConfigError>(HasSubstr("is not what was measured")));
}

}  // namespace
}  // namespace reprefill::calibrate
