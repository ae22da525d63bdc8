// What a point reads, and says, under each scorer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/model/key_digest.hpp"
#include "tests/sim/simulation/one_point.hpp"

namespace reprefill::sim {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

/// 960 stored tokens of 1,000; three leaders of 24 layers; keys are 256 bytes a token and layer.
constexpr std::uint64_t kStored = 960, kLeaders = 3;

Json row_of(const std::string& scorer, std::vector<std::string> sets = {}) {
  sets.push_back("scorer=" + scorer);
  sets.push_back("mass_requests=8");
  return OnePoint(pool_scenario("contiguous_kv"), sets).row();
}

double identification_read(const Json& row) {
  return row["bytes_per_request"]["identification_read_bytes"].get<double>();
}

TEST(Scorers, ReadTheBytesOfTheirDigestAtEachLeader) {
  const std::uint64_t keys = kStored * 256;
  const std::vector<std::pair<std::string, std::uint64_t>> expected = {
      {"keys", keys}, {"digest:mean", keys / 16}, {"digest:minmax", keys / 8}, {"int4_keys", kStored * 2 * (32 + 4)}};
  for (const auto& [scorer, bytes] : expected) {
    const Json row = row_of(scorer, {"identify_cache=none"});
    EXPECT_DOUBLE_EQ(identification_read(row), static_cast<double>(kLeaders * bytes)) << scorer;
  }
}

TEST(Scorers, FourBitKeysStayInHostMemoryUnlessToldOtherwise) {
  const Json row = row_of("int4_keys");
  EXPECT_EQ(identification_read(row), 0);
  EXPECT_GT(row["bytes_per_request"]["identification_host_hit_bytes"].get<double>(), 0);
  EXPECT_GT(identification_read(row_of("int4_keys", {"identify_cache=none"})), 0);
  EXPECT_GT(identification_read(row_of("digest:mean", {"identify_cache=none"})), 0);
}

TEST(Scorers, RowsSayThatAScorerWithoutAKernelRanOnTheHostAndChargeIt) {
  for (const char* scorer : {"digest:mean", "digest:minmax", "int4_keys"}) {
    const Json host = row_of(scorer), device = row_of(scorer, {"digest_scoring=device"});
    EXPECT_EQ(host["scoring"], "host (no kernel)");
    EXPECT_FALSE(device.contains("scoring"));
    EXPECT_GT(host["time_ms"]["scoring"].get<double>(), device["time_ms"]["scoring"].get<double>()) << scorer;
  }
  EXPECT_FALSE(row_of("keys").contains("scoring"));
}

TEST(Scorers, ADigestLeavesNoKeysToReuse) {
  EXPECT_THAT([] { row_of("digest:mean", {"leader_keys=reuse"}); },
              ThrowsMessage<ConfigError>(HasSubstr("leader_keys: found reuse; scorer digest:mean reads no keys")));
  // The default of the direct path is reuse: with a digest the leader's chosen chunks are read whole.
  const auto payload = [](const Json& row) { return row["bytes_per_request"]["payload_read_bytes"].get<double>(); };
  const std::vector<std::string> cold = {"gpu_cache_bytes=0", "host_cache_bytes=0", "identify_cache=none",
                                         "inter_prefetch=false"};
  std::vector<std::string> reread = cold;
  reread.push_back("leader_keys=reread");
  EXPECT_EQ(payload(row_of("digest:mean", cold)), payload(row_of("keys", reread)));
  EXPECT_LT(payload(row_of("keys", cold)), payload(row_of("keys", reread)));
}

TEST(Scorers, UnknownOnesAreRefusedWithTheList) {
  EXPECT_THAT([] { row_of("digest:max"); }, ThrowsMessage<ConfigError>(HasSubstr("digest:minmax")));
}

TEST(Scorers, ChosenRecallIsOneForKeysAndStatedForDigests) {
  EXPECT_DOUBLE_EQ(row_of("keys", {"budget=0.1"})["chosen_recall"].get<double>(), 1);
  for (const char* scorer : {"digest:mean", "digest:minmax", "int4_keys"}) {
    const double recall = row_of(scorer, {"budget=0.1"})["chosen_recall"].get<double>();
    EXPECT_LT(recall, 1) << scorer;
    EXPECT_GT(recall, 0.15) << scorer << ": chance is 0.1";
  }
  EXPECT_TRUE(OnePoint(pool_scenario("attention_store")).row()["chosen_recall"].is_null());
}

TEST(Scorers, OneProbeHeadAGroupReadsTheKeysOfAllGroups) {
  const auto row = [](std::vector<std::string> sets) {
    sets.push_back("identify_cache=none");
    return OnePoint(pool_scenario("impress"), sets).row();
  };
  EXPECT_DOUBLE_EQ(identification_read(row({})), 24.0 * kStored * 128) << "heads 0, 1, 2 lie in one of two KV heads";
  EXPECT_DOUBLE_EQ(identification_read(row({"scorer=probe_per_group"})), 24.0 * kStored * 256);
  EXPECT_EQ(row({"scorer=probe_per_group"})["bytes_per_request"], row({"probe_heads=[0,7]"})["bytes_per_request"]);
  EXPECT_THAT(
      [&] {
        row({"scorer=probe_per_group", "probe_heads=[0]"});
      },
      ThrowsMessage<ConfigError>(HasSubstr("name one of the two")));
}

}  // namespace
}  // namespace reprefill::sim
