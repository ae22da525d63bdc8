// Result rows of whole points: what they say of themselves.
#include "sim/simulation/run_point.hpp"

#include <gmock/gmock.h>

#include "core/record/result_folder.hpp"
#include "tests/sim/simulation/one_point.hpp"

namespace reprefill::sim {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

// ---- timing_dependent ----

TEST(ResultRow, SaysWhetherItDependsOnTiming) {
  for (const char* system : {"recompute", "attention_store", "as_h2o", "impress", "contiguous_kv"}) {
    EXPECT_EQ(OnePoint(pool_scenario(system)).row()["timing_dependent"], false) << system;
    EXPECT_EQ(OnePoint(pool_scenario(system), {"workload.in_flight=2"}).row()["timing_dependent"], true) << system;
  }
  EXPECT_EQ(OnePoint(pool_scenario("contiguous_kv"), {"prefetch_drop=unsubmitted"}).row()["timing_dependent"], true);
  EXPECT_EQ(OnePoint(trace_scenario("attention_store")).row()["timing_dependent"], false)
      << "first come first served, one at a time";
  EXPECT_EQ(OnePoint(trace_scenario("attention_store"), {"workload.max_in_flight=2"}).row()["timing_dependent"], true);
}

// ---- percentiles ----

TEST(ResultRow, HasNoTailWithOneRequestInFlightAndNoNoiseAndSaysSo) {
  const Json row = OnePoint(pool_scenario("contiguous_kv")).row();
  EXPECT_TRUE(row["ttft"].at("p95_ttft_ms").is_null());
  EXPECT_THAT(row["ttft"].at("p95_note").get<std::string>(), HasSubstr("one request in flight"));
  EXPECT_THAT(record::to_csv({row}), AllOf(HasSubstr("ttft.p95_ttft_ms"), HasSubstr("ttft.p95_note")));
}

TEST(ResultRow, HasATailWithNoiseOrQueues) {
  for (const char* set : {"noise=true", "workload.in_flight=2", "workload.arrivals=poisson"}) {
    const Json row = OnePoint(pool_scenario("contiguous_kv"), {set}).row();
    EXPECT_TRUE(row["ttft"].at("p95_ttft_ms").is_number()) << set;
    EXPECT_FALSE(row["ttft"].contains("p95_note")) << set;
  }
}

// ---- busy shares ----

TEST(ResultRow, NoResourceIsBusyForLongerThanItWasMeasured) {
  // Appends write in the background: they end long after the request that issued them, and after the last one.
  for (const char* append : {"none", "suffix"}) {
    const Json row = OnePoint(trace_scenario("attention_store"),
                              {std::string("workload.append=") + append, "workload.max_in_flight=3"})
                         .row();
    for (const auto& [resource, share] : row["busy"].items()) {
      EXPECT_GE(share.get<double>(), 0) << resource;
      EXPECT_LE(share.get<double>(), 1) << resource;
    }
    EXPECT_EQ(row["busy"]["ssd_write"].get<double>() > 0, std::string(append) == "suffix");
  }
}

// ---- limits ----

TEST(ContextLimit, MayBeANumberOfTokensAName) {
  const auto dropped = [](const char* limit) {
    return OnePoint(trace_scenario("recompute"), {std::string("workload.context_limit=") + limit})
        .row()["workload"]["dropped_requests"]
        .get<int>();
  };
  EXPECT_EQ(dropped("trace"), 0);
  EXPECT_GT(dropped("4000"), 0);
  EXPECT_GT(dropped("4000"), dropped("16000"));
  EXPECT_EQ(dropped("32768"), dropped("model"));  // Qwen2.5-0.5B has 32,768 positions
  EXPECT_EQ(
      OnePoint(trace_scenario("recompute"), {"workload.context_limit=4000"}).point().workload.resolved["context_limit"],
      4000);
  Json text = trace_scenario("recompute");
  text["workload"]["context_limit"] = "4000";
  EXPECT_THAT([&] { OnePoint point(text); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("test.json: workload.context_limit: found \"4000\""),
                                               HasSubstr("\"trace\", \"model\" or a whole number"))));
}

TEST(CheckInputs, StagingMustHoldAReadWithItsAlignment) {
  // 8 tokens of K are 2 KiB here, read as one or two pages: a layer's logical bytes do not fit what its reads ask for.
  const std::vector<std::string> small = {"software_path=prototype", "kv_layout.block_tokens=8",
                                          "staging_bytes=600000"};  // 960 tokens, 512 bytes of K and V each
  EXPECT_THAT([&] { OnePoint(pool_scenario("attention_store"), small).check(); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("staging_bytes"), HasSubstr("alignment"))));
  OnePoint enough(pool_scenario("attention_store"),
                  {"software_path=prototype", "kv_layout.block_tokens=8", "staging_bytes=2100000"});
  EXPECT_NO_THROW(enough.check());
  EXPECT_NO_THROW(enough.row());
}

// ---- progress ----

TEST(RunPoint, ReportsTheShareOfFinishedRequestsWhileItRuns) {
  std::vector<double> shares;
  OnePoint(pool_scenario("attention_store"),
           {"workload.measured_requests=300", "gpu_cache=1 MB", "host_cache=1 MB", "software_path=prototype"})
      .row({.num_warmup = 3, .on_progress = [&](double share) { shares.push_back(share); }});
  ASSERT_GT(shares.size(), 2u);
  EXPECT_TRUE(std::is_sorted(shares.begin(), shares.end()));
  EXPECT_GT(shares.front(), 0.0);
  EXPECT_LT(shares.front(), 0.5);
  EXPECT_LE(shares.back(), 1.0);
}

TEST(RunPoint, TheOracleReadsLessThanTheSameSelectionsUnderEveryCachePolicy) {
  const std::vector<std::string> small = {"gpu_cache=3 MB", "host_cache=0 B", "budget=0.25"};
  Json json = pool_scenario("oracle");
  json["workload"]["measured_requests"] = 40;
  const Json oracle = OnePoint(json, small).row();
  json["systems"] = {"contiguous_kv"};
  for (const char* policy : {"lru", "lfu", "s3_fifo", "arc", "attention_guided"}) {
    std::vector<std::string> sets = small;
    for (const char* set : {"inter_prefetch=false", "leader_keys=reread", "prefetch_gpu=0 B", "prefetch_host=0 B"}) {
      sets.emplace_back(set);
    }
    sets.push_back(std::string("cache_policy=") + policy);
    const Json row = OnePoint(json, sets).row();
    EXPECT_LT(oracle["bytes_per_request"]["payload_read_bytes"], row["bytes_per_request"]["payload_read_bytes"])
        << policy;
    EXPECT_EQ(oracle["bytes_per_request"]["payload_needed_bytes"], row["bytes_per_request"]["payload_needed_bytes"]);
    EXPECT_EQ(oracle["attention_mass_kept"], row["attention_mass_kept"]);
  }
}

TEST(RunPoint, TheOracleForeseesWhatATraceWillAppend) {
  // Segments that earlier requests append are looked up by later ones: they must be known before the run, too.
  const Json row = OnePoint(trace_scenario("oracle")).row();
  EXPECT_GT(row["bytes_per_request"]["appended_bytes"], 0);
  EXPECT_GT(row["efficiency"]["gpu_hit_fraction"], 0.2);
}

}  // namespace
}  // namespace reprefill::sim
