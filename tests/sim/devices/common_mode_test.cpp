#include "sim/devices/common_mode.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/error.hpp"
#include "sim/devices/profile.hpp"

namespace reprefill::sim {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

CommonMode example() {
  return {.gpu = {0.02, 6}, .ssd = {0.2, 5}, .link = {0.05, 4}, .host = {0.1, 6}, .session = {0, 6}};
}

std::vector<double> log_factors(const CommonMode& common, CommonTerm CommonMode::*term, std::uint64_t count) {
  std::vector<double> logs;
  for (std::uint64_t replica = 0; replica < count; ++replica) logs.push_back(std::log(common.factor(term, 3, replica)));
  std::ranges::sort(logs);
  return logs;
}

TEST(CommonMode, DrawsFollowStudentsDistributionOfItsSessions) {
  const std::vector<double> logs = log_factors(example(), &CommonMode::ssd, 20'000);
  // t of 5 degrees of freedom: 95 % lie below 2.015 (any table); 1.645 would be a normal variate's.
  EXPECT_NEAR(logs[19'000], 0.2 * 2.015, 0.02);
  EXPECT_NEAR(logs[1'000], -0.2 * 2.015, 0.02);
  EXPECT_NEAR(logs[10'000], 0, 0.01);
  EXPECT_LE(logs.back(), 0.2 * 4 + 1e-12);
}

TEST(CommonMode, AReplicaIsOneDrawForEachDeviceAndReplicasDiffer) {
  const CommonMode common = example();
  EXPECT_EQ(common.factor(&CommonMode::gpu, 1, 7), common.factor(&CommonMode::gpu, 1, 7));
  EXPECT_NE(common.factor(&CommonMode::gpu, 1, 7), common.factor(&CommonMode::gpu, 1, 8));
  EXPECT_NE(common.factor(&CommonMode::gpu, 1, 7), common.factor(&CommonMode::gpu, 2, 7));
  EXPECT_NE(common.factor(&CommonMode::gpu, 1, 7), common.factor(&CommonMode::link, 1, 7));
}

TEST(CommonMode, TheSessionsTermMultipliesEveryDeviceAlike) {
  CommonMode common{};
  common.session = {0.1, 6};
  EXPECT_NE(common.factor(&CommonMode::gpu, 1, 7), 1);
  EXPECT_EQ(common.factor(&CommonMode::gpu, 1, 7), common.factor(&CommonMode::host, 1, 7));
}

TEST(CommonMode, OfNothingIsOne) { EXPECT_EQ(CommonMode{}.factor(&CommonMode::ssd, 1, 1), 1); }

TEST(CommonMode, SurvivesItsJsonAndRefusesOtherVersions) {
  Json json = to_json(example());
  EXPECT_EQ(read_common_mode(JsonValue(json, "model.json")), example());
  json["version"] = 2;
  EXPECT_THAT([&] { read_common_mode(JsonValue(json, "model.json")); },
              ThrowsMessage<ConfigError>(HasSubstr("version")));
  json = to_json(example());
  json["ssd"]["sigma"] = -0.1;
  EXPECT_THAT([&] { read_common_mode(JsonValue(json, "model.json")); },
              ThrowsMessage<ConfigError>(HasSubstr("ssd.sigma")));
}

TEST(CommonMode, TheHostsCostsOfAReplicaAreScaledTogether) {
  Profile profile;
  profile.host.selection_cost = Nanoseconds{10'000};
  profile.host.driver.per_piece = Nanoseconds{1'000};
  EXPECT_EQ(with_host_of_replica(profile, 1, 7).host.selection_cost, Nanoseconds{10'000});  // no common mode
  profile.common_mode = example();
  const double factor = profile.common_mode->factor(&CommonMode::host, 1, 7);
  ASSERT_NE(factor, 1);
  const HostProfile host = with_host_of_replica(profile, 1, 7).host;
  EXPECT_EQ(host.selection_cost, Nanoseconds{std::llround(10'000 * factor)});
  EXPECT_EQ(host.driver.per_piece, Nanoseconds{std::llround(1'000 * factor)});
}

}  // namespace
}  // namespace reprefill::sim
