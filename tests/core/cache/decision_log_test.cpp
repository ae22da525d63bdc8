#include "core/cache/decision_log.hpp"

#include <gmock/gmock.h>

#include <set>

#include "tests/core/cache/cache_fixture.hpp"

namespace reprefill::cache {
namespace {

TEST(DecisionLog, DigestDependsOnEveryFieldAndOnTheOrder) {
  const Move a = moved(1, 10, Decision::entered_gpu);
  const std::vector<std::vector<Move>> logs = {{},
                                               {a},
                                               {moved(2, 10, Decision::entered_gpu)},
                                               {moved(1, 11, Decision::entered_gpu)},
                                               {moved(1, 10, Decision::entered_host)},
                                               {a, a},
                                               {a, moved(2, 10, Decision::entered_gpu)},
                                               {moved(2, 10, Decision::entered_gpu), a}};
  std::set<std::uint64_t> digests;
  for (const std::vector<Move>& moves : logs) {
    DecisionLog log;
    for (const Move& move : moves) log.record(move);
    digests.insert(log.digest());
    EXPECT_EQ(log.num_decisions(), moves.size());
    EXPECT_TRUE(log.decisions().empty());
  }
  EXPECT_EQ(digests.size(), logs.size());
}

TEST(DecisionLog, HoldsLookUpsAndMovesInProgramOrder) {
  TestCache t(10, 10, "lru");
  DecisionLog log(DecisionLog::Keep::full_list);
  t.cache.set_decision_log(&log);
  t.miss_and_load(1);
  t.miss_and_load(2);
  t.hit(1);
  t.promote(1);
  t.hit(1);
  EXPECT_THAT(log.decisions(), testing::ElementsAre(moved(1, 0, Decision::missed), moved(1, 10, Decision::entered_gpu),
                                                    moved(2, 0, Decision::missed), moved(1, 10, Decision::demoted),
                                                    moved(2, 10, Decision::entered_gpu),
                                                    moved(1, 10, Decision::hit_host), moved(2, 10, Decision::demoted),
                                                    moved(1, 10, Decision::promoted), moved(1, 10, Decision::hit_gpu)));
}

TEST(DecisionLog, EveryDecisionHasAName) {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(Decision::state_dropped); ++i) names.insert(name_of(static_cast<Decision>(i)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Decision::state_dropped) + 1);
  EXPECT_FALSE(names.contains("unknown"));
}

}  // namespace
}  // namespace reprefill::cache
