// What only replays of traces have: tokens after the first, and a store that fills.
#include <gmock/gmock.h>

#include "tests/sim/simulation/one_point.hpp"

namespace reprefill::sim {
namespace {

double mean_ttft(const Json& row) { return row["ttft"]["mean_ttft_ms"].get<double>(); }

TEST(Decode, StepsOfEarlierRequestsDelayPrefill) {
  const std::vector<std::string> sets = {"workload.target_utilisation=0.5"};
  std::vector<std::string> decoding = sets;
  decoding.emplace_back("workload.decode=occupancy");
  const Json ignored = OnePoint(trace_scenario("attention_store"), sets).row();
  const Json occupied = OnePoint(trace_scenario("attention_store"), decoding).row();
  EXPECT_EQ(ignored["workload"]["decode_steps"], 0);
  EXPECT_GT(occupied["workload"]["decode_steps"], 100);
  EXPECT_GT(mean_ttft(occupied), mean_ttft(ignored));
  EXPECT_GT(occupied["time_ms"]["queueing"], ignored["time_ms"]["queueing"]);
  EXPECT_GT(occupied["busy"]["gpu_compute"], ignored["busy"]["gpu_compute"]);
  EXPECT_EQ(occupied["bytes_per_request"], ignored["bytes_per_request"]) << "decisions do not depend on it";
  EXPECT_EQ(occupied["timing_dependent"], false);
}

TEST(Decode, ChargesEveryNanosecondOnce) {
  const Json row =
      OnePoint(trace_scenario("contiguous_kv"), {"workload.decode=occupancy", "workload.target_utilisation=0.7"}).row();
  double sum = 0;
  for (const auto& [name, time] : row["time_ms"].items()) sum += time.get<double>();
  EXPECT_NEAR(sum, mean_ttft(row), 1e-6);
}

TEST(SsdCapacity, AFullStoreForgetsAndHitsFallWithItsSize) {
  double last_hits = -1;
  std::uint64_t removed_before = ~std::uint64_t{0};
  for (const char* capacity : {"5 MB", "60 MB", "200 MB", "100 GB"}) {
    const Json row =
        OnePoint(trace_scenario("attention_store"), {std::string("workload.ssd_capacity=") + capacity}).row();
    const double hits = row["workload"]["mean_hit_tokens_chunks"];
    EXPECT_GE(hits, last_hits) << capacity;
    EXPECT_LE(row["workload"]["segments_removed"].get<std::uint64_t>() +
                  row["workload"]["segments_not_stored"].get<std::uint64_t>(),
              removed_before);
    last_hits = hits;
    removed_before = row["workload"]["segments_removed"].get<std::uint64_t>() +
                     row["workload"]["segments_not_stored"].get<std::uint64_t>();
  }
  EXPECT_EQ(removed_before, 0u);
  const Json unlimited = OnePoint(trace_scenario("attention_store")).row();
  EXPECT_EQ(unlimited["workload"]["mean_hit_tokens_chunks"], last_hits);
}

TEST(SsdCapacity, SystemsRunOnAStoreThatForgets) {
  for (const char* system : {"attention_store", "impress", "contiguous_kv", "oracle"}) {
    const Json row =
        OnePoint(trace_scenario(system), {"workload.ssd_capacity=60 MB", "workload.max_in_flight=2"}).row();
    EXPECT_GT(row["workload"]["segments_removed"], 0) << system;
  }
}

}  // namespace
}  // namespace reprefill::sim
