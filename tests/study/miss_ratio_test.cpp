// Belady against every possible cache on small traces, and curves of real runs against their properties.
#include "study/miss_ratio/miss_ratio.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "study/miss_ratio/belady.hpp"

namespace reprefill::study {
namespace {

std::vector<Access> accesses_of(std::initializer_list<std::uint64_t> keys) {
  std::vector<Access> accesses;
  for (const std::uint64_t key : keys) accesses.push_back({key, Bytes{1}});
  return accesses;
}

/// The fewest misses over all choices of what to keep, by trying them all.
std::uint64_t fewest_misses(std::span<const Access> accesses, std::size_t capacity, std::set<std::uint64_t> resident,
                            std::map<std::pair<std::size_t, std::set<std::uint64_t>>, std::uint64_t>& known) {
  if (accesses.empty()) return 0;
  const auto state = std::pair(accesses.size(), resident);
  if (const auto found = known.find(state); found != known.end()) return found->second;
  const std::uint64_t key = accesses.front().key;
  std::uint64_t best;
  if (resident.contains(key)) {
    best = fewest_misses(accesses.subspan(1), capacity, resident, known);
  } else {
    best = 1 + fewest_misses(accesses.subspan(1), capacity, resident, known);  // bypass
    std::vector<std::set<std::uint64_t>> choices;
    if (resident.size() < capacity) choices.push_back(resident);
    for (const std::uint64_t victim : resident) {
      choices.push_back(resident);
      choices.back().erase(victim);
    }
    for (std::set<std::uint64_t>& choice : choices) {
      if (choice.size() >= capacity) continue;
      choice.insert(key);
      best = std::min(best, 1 + fewest_misses(accesses.subspan(1), capacity, choice, known));
    }
  }
  return known[state] = best;
}

TEST(Belady, KeepsWhatIsUsedSoonest) {
  // a b c a b: room for two: a and b stay, c stays out.
  EXPECT_EQ(belady_misses(accesses_of({1, 2, 3, 1, 2}), Bytes{2}, 0).count, 3u);
  EXPECT_EQ(belady_misses(accesses_of({1, 2, 3, 1, 2}), Bytes{1}, 0).count, 4u);
}

TEST(Belady, TheEndsOfCapacity) {
  const std::vector<Access> accesses = accesses_of({1, 2, 1, 2, 1, 1});
  EXPECT_EQ(belady_misses(accesses, Bytes{0}, 0).count, 6u);
  EXPECT_EQ(belady_misses(accesses, Bytes{2}, 0).count, 2u);
  EXPECT_EQ(belady_misses({}, Bytes{2}, 0).count, 0u);
}

TEST(Belady, WhatIsNotCountedWarms) {
  EXPECT_EQ(belady_misses(accesses_of({1, 2, 1, 2, 3}), Bytes{2}, 2).count, 1u);
  EXPECT_EQ(belady_misses(accesses_of({1, 2}), Bytes{2}, 2).count, 0u);
}

TEST(Belady, HasAsFewMissesAsTheBestOfAllCaches) {
  std::mt19937 random(3);
  for (int round = 0; round < 60; ++round) {
    std::vector<Access> accesses;
    for (int i = 0; i < 12; ++i) accesses.push_back({random() % 5, Bytes{1}});
    for (std::size_t capacity = 0; capacity < 4; ++capacity) {
      std::map<std::pair<std::size_t, std::set<std::uint64_t>>, std::uint64_t> known;
      ASSERT_EQ(belady_misses(accesses, Bytes{capacity}, 0).count, fewest_misses(accesses, capacity, {}, known))
          << "round " << round << ", capacity " << capacity;
    }
  }
}

class MissRatio : public testing::Test {
 protected:
  MissRatio() {
    const std::filesystem::path source = REPREFILL_SOURCE_DIR;
    context_ = {
        .models = source / "scenarios/models", .profiles = source / "calibrate/profiles", .traces = {}, .samples = {}};
    json_ = {{"name", "small"},
             {"model", "qwen2.5-0.5b"},
             {"profile", "a800-990pro"},
             {"systems", {"recompute", "attention_store", "contiguous_kv"}},
             {"workload",
              {{"kind", "prefix_pool"},
               {"prefix_tokens", 1024},
               {"num_prefixes", 8},
               {"warmup_requests", 10},
               {"measured_requests", 30}}}};
  }
  MissRatios ratios(const MissRatioOptions& options) {
    const sim::Scenario scenario = sim::read_scenario(json_, "small.json", {}, context_);
    sim::SharedInputs inputs(context_);
    const std::atomic<bool> interrupted{false};
    return miss_ratios(scenario, inputs, options, interrupted);
  }
  sim::ScenarioContext context_;
  Json json_;
};

TEST_F(MissRatio, NoPolicyBeatsTheFutureAndMoreRoomNeverHurtsIt) {
  for (const char* system : {"attention_store", "contiguous_kv"}) {
    const MissRatios result = ratios({.system = system, .sizes = {0.02, 0.1, 0.3, 2}});
    ASSERT_EQ(result.rows.size(), 4u);
    double before = 1;
    for (const MissRatioRow& row : result.rows) {
      EXPECT_GT(row.accesses, 0u);
      EXPECT_EQ(row.accesses, result.rows.front().accesses) << "what is wanted does not depend on the cache";
      for (const double ratio : row.miss_ratio) EXPECT_GE(ratio, row.belady) << system << " at " << row.size;
      EXPECT_LE(row.belady, before);
      before = row.belady;
    }
    // Everything fits: only what comes for the first time is missed, by all alike.
    for (const double ratio : result.rows.back().miss_ratio) EXPECT_EQ(ratio, result.rows.back().belady) << system;
  }
}

TEST_F(MissRatio, RefusesWhatHasNoCurve) {
  EXPECT_THAT([&] { ratios({.system = "recompute"}); },
              testing::ThrowsMessage<ConfigError>(testing::HasSubstr("keeps no cache")));
  EXPECT_THAT([&] { ratios({.policies = {"lfru"}}); },
              testing::ThrowsMessage<ConfigError>(testing::HasSubstr("did you mean")));
  json_["workload"]["in_flight"] = 2;
  EXPECT_THAT([&] { ratios({}); }, testing::ThrowsMessage<ConfigError>(testing::HasSubstr("one request in flight")));
}

}  // namespace
}  // namespace reprefill::study
