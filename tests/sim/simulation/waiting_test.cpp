// What depends on time: how long a request waits for its reads, and what is read for requests that wait.
#include <gmock/gmock.h>

#include "tests/sim/machines/machines_fixture.hpp"
#include "tests/sim/simulation/one_point.hpp"

namespace reprefill::sim {
namespace {

using test_support::Bench;
using test_support::SimulatedBench;

struct Outcome {
  pipeline::Request request;
  Nanoseconds ttft{0};
};

/// One cold request of 640 stored tokens on hicache_like.
Outcome cold_request(const Json& params) {
  const Profile profile = test_support::datasheet_profile();
  Bench bench({"hicache", "hicache_like", params}, pipeline::PathKind::direct);
  SimulatedBench machine(bench, profile);
  Outcome outcome{.request = bench.request(0)};
  pipeline::Task task = bench.system->serve(machine.machine, outcome.request);
  task.start();
  EXPECT_TRUE(machine.drive(task));
  task.check();
  outcome.ttft = machine.simulation.now();
  while (machine.simulation.step()) machine.machine.resume_ready();
  EXPECT_EQ(machine.machine.num_unfinished(), 0u);
  bench.system->cache()->check_invariants();
  return outcome;
}

constexpr std::uint64_t kPrefixBytes = 10 * 640 * 2 * 128;  // layers, tokens, K and V

TEST(HiCache, BestEffortComputesWhatIsNotThereWhenTheRequestBegins) {
  const Outcome outcome = cold_request({{"prefetch_policy", "best_effort"}});
  EXPECT_EQ(outcome.request.stored_tokens, 0u);
  EXPECT_EQ(outcome.request.own_tokens, outcome.request.prompt_tokens);
  EXPECT_TRUE(outcome.request.stored_prefix.empty());
  EXPECT_EQ(outcome.request.account.payload_needed, Bytes{0});
  EXPECT_EQ(outcome.request.account.prefetch_read + outcome.request.account.prefetch_dropped, Bytes{kPrefixBytes});
}

TEST(HiCache, ATimeoutThatIsLongEnoughUsesEverythingAndEndsWithTheReads) {
  const Outcome all = cold_request({{"prefetch_policy", "wait_complete"}});
  const Outcome timeout = cold_request({{"prefetch_policy", "timeout"}});
  EXPECT_EQ(timeout.request.stored_tokens, 640u);
  EXPECT_EQ(timeout.request.account.payload_read, all.request.account.payload_read);
  EXPECT_EQ(timeout.request.account.payload_needed, Bytes{kPrefixBytes});
  EXPECT_EQ(timeout.request.account.prefetch_used, Bytes{kPrefixBytes});
  EXPECT_LT(timeout.ttft, all.ttft + Nanoseconds{2'000'000}) << "it looks every millisecond, and waits no longer";
}

TEST(HiCache, AShortTimeoutUsesTheLeadingPagesThatCame) {
  // A slow drive: 640 tokens take about 16 ms, a wait of 5 ms brings some of them.
  Profile profile = test_support::datasheet_profile();
  profile.ssd.read_bandwidth = BytesPerSecond{1e8};
  Bench bench({"hicache",
               "hicache_like",
               {{"prefetch_policy", "timeout"}, {"timeout_base", "5 ms"}, {"timeout_per_1024_tokens", "0 s"}}},
              pipeline::PathKind::direct);
  SimulatedBench machine(bench, profile);
  pipeline::Request request = bench.request(0);
  pipeline::Task task = bench.system->serve(machine.machine, request);
  task.start();
  ASSERT_TRUE(machine.drive(task));
  EXPECT_GT(request.stored_tokens, 0u);
  EXPECT_LT(request.stored_tokens, 640u);
  EXPECT_EQ(request.stored_tokens % 64, 0u) << "whole pages";
  EXPECT_EQ(request.stored_tokens + request.own_tokens, request.prompt_tokens);
  EXPECT_EQ(request.account.payload_needed, Bytes{10u * request.stored_tokens * 2 * 128});
  EXPECT_EQ(request.account.prefetch_used, request.account.payload_needed);
  EXPECT_LE(request.account.prefetch_used, request.account.prefetch_read);
}

TEST(HiCache, OnlyWaitCompleteIsFreeOfTiming) {
  for (const char* policy : {"wait_complete", "best_effort", "timeout"}) {
    const Json row = OnePoint(pool_scenario("hicache_like"), {std::string("prefetch_policy=") + policy}).row();
    EXPECT_EQ(row["timing_dependent"], std::string_view(policy) != "wait_complete") << policy;
  }
}

TEST(HiCache, APolicyWithoutHostFirstIsRefused) {
  EXPECT_THROW(OnePoint(pool_scenario("attention_store"), {"prefetch_policy=best_effort"}), ConfigError);
}

TEST(Hybrid, OverlapsWhatItComputesWithWhatItLoads) {
  // A drive on which loading takes about as long as computing: half and half beats either.
  const auto ttft = [](int split) {
    Json json = pool_scenario("hybrid");
    json["workload"]["prefix_tokens"] = 4096;
    json["workload"]["order"] = "distinct";
    json["workload"]["num_prefixes"] = 30;
    json["profile"] = {{"name", "a800-990pro"}, {"ssd", {{"from", "a800-990pro"}, {"read_bandwidth", "2 GB/s"}}}};
    const Json row = OnePoint(json, {"split_tokens=" + std::to_string(split)}).row();
    EXPECT_EQ(row["attention_mass_kept"]["mean"], 1.0);
    EXPECT_EQ(row["bytes_per_request"]["payload_read_bytes"], (4096 - split) * 12288.0);
    return row["ttft"]["mean_ttft_ms"].get<double>();
  };
  const double loads = ttft(0), computes = ttft(4096), both = ttft(2048);
  EXPECT_LT(both, 0.8 * loads);
  EXPECT_LT(both, 0.8 * computes);
}

TEST(Hybrid, ASplitNeedsLayerWiseLoads) {
  EXPECT_THROW(OnePoint(pool_scenario("hicache_like"), {"split_tokens=64"}), ConfigError);
}

Json busy_scenario() {
  Json json = pool_scenario("attention_store");
  json["workload"]["arrivals"] = "target_utilisation";
  json["workload"]["target_utilisation"] = 0.3;
  json["workload"]["measured_requests"] = 60;
  json["profile"] = {{"name", "a800-990pro"}, {"ssd", {{"from", "a800-990pro"}, {"read_bandwidth", "1 GB/s"}}}};
  return json;
}

TEST(SchedulerLookahead, RequestsThatWaitFindTheirKvInHostMemory) {
  const Json without = OnePoint(busy_scenario(), {"gpu_cache=0 B", "host_cache=40 MB"}).row();
  const Json with = OnePoint(busy_scenario(), {"gpu_cache=0 B", "host_cache=40 MB", "scheduler_lookahead=2"}).row();
  EXPECT_EQ(without["timing_dependent"], false);
  EXPECT_EQ(with["timing_dependent"], true);
  EXPECT_GT(with["efficiency"]["host_hit_fraction"], without["efficiency"]["host_hit_fraction"]);
  EXPECT_LT(with["time_ms"]["queueing"], without["time_ms"]["queueing"]) << "reads overlap the service of others";
  const double parts = [&] {
    double sum = 0;
    for (const auto& [name, time] : with["time_ms"].items()) sum += time.get<double>();
    return sum;
  }();
  EXPECT_NEAR(parts, with["ttft"]["mean_ttft_ms"].get<double>(), 1e-6);
}

TEST(SchedulerLookahead, IsNothingWhereNobodyWaits) {
  const Json without = OnePoint(pool_scenario("attention_store")).row();
  const Json with = OnePoint(pool_scenario("attention_store"), {"scheduler_lookahead=4"}).row();
  EXPECT_EQ(without["bytes_per_request"], with["bytes_per_request"]);
  EXPECT_EQ(without["ttft"], with["ttft"]);
}

}  // namespace
}  // namespace reprefill::sim
