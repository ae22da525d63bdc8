// Program-order accounting of bounded memory, and the arithmetic of units along a prefix, by hand.
#include <gmock/gmock.h>

#include "core/pipeline/ledger.hpp"
#include "core/pipeline/prefix_units.hpp"
#include "core/pipeline/tiered_system.hpp"
#include "tests/core/pipeline/toy_machine.hpp"

namespace reprefill::pipeline {
namespace {

using test_support::ToyMachine;
using testing::ElementsAre;
using testing::IsEmpty;

std::size_t count(const Deps& deps) { return static_cast<std::size_t>(deps.end() - deps.begin()); }

// ---- WorkspaceLedger ----

TEST(WorkspaceLedger, GrantsWhatIsFreeWithoutWaiting) {
  WorkspaceLedger ledger(Bytes{100});
  const auto first = ledger.try_reserve(Bytes{60});
  ASSERT_TRUE(first);
  EXPECT_EQ(count(*first), 0u);
  ASSERT_TRUE(ledger.try_reserve(Bytes{40})) << "exactly full";
  EXPECT_FALSE(ledger.try_reserve(Bytes{1}));
  EXPECT_TRUE(ledger.try_reserve(Bytes{0})) << "nothing fits everywhere";
}

TEST(WorkspaceLedger, WaitsForTheOldestReleasesAndNoMoreThanItNeeds) {
  ToyMachine machine;
  WorkspaceLedger ledger(Bytes{100});
  const Op a = machine.work(), b = machine.work(), c = machine.work();
  ASSERT_TRUE(ledger.try_reserve(Bytes{100}));
  ledger.release_after(a, Bytes{30});
  ledger.release_after(b, Bytes{30});
  ledger.release_after(c, Bytes{40});
  const auto room = ledger.try_reserve(Bytes{50});
  ASSERT_TRUE(room);
  EXPECT_THAT(std::vector<Op>(room->begin(), room->end()), ElementsAre(a, b));
  // 10 of b's are left over: they are free without waiting for more.
  const auto rest = ledger.try_reserve(Bytes{10});
  ASSERT_TRUE(rest);
  EXPECT_EQ(count(*rest), 0u);
  const auto last = ledger.try_reserve(Bytes{40});
  ASSERT_TRUE(last);
  EXPECT_THAT(std::vector<Op>(last->begin(), last->end()), ElementsAre(c));
}

TEST(WorkspaceLedger, ARefusalChangesNothing) {
  ToyMachine machine;
  WorkspaceLedger ledger(Bytes{100});
  const Op a = machine.work();
  ASSERT_TRUE(ledger.try_reserve(Bytes{80}));
  ledger.release_after(a, Bytes{50});
  EXPECT_FALSE(ledger.try_reserve(Bytes{71})) << "20 free and 50 released";
  const auto room = ledger.try_reserve(Bytes{20});
  ASSERT_TRUE(room);
  EXPECT_EQ(count(*room), 0u) << "the release is still unused";
}

TEST(WorkspaceLedger, AFinishedReleaseIsNoDependency) {
  ToyMachine machine;
  WorkspaceLedger ledger(Bytes{10});
  const Op a = machine.work();
  ASSERT_TRUE(ledger.try_reserve(Bytes{10}));
  ledger.release_after(a, Bytes{10});
  machine.finish(a);
  const auto room = ledger.try_reserve(Bytes{10});
  ASSERT_TRUE(room);
  EXPECT_EQ(count(*room), 0u);
}

TEST(WorkspaceLedger, NeverLendsMoreThanItsCapacity) {
  WorkspaceLedger ledger(Bytes{100});
  EXPECT_FALSE(ledger.try_reserve(Bytes{101}));
  EXPECT_EQ(ledger.capacity(), Bytes{100});
}

// ---- PrefetchQuota ----

TEST(PrefetchQuota, ChargesAtIssueUntilItIsUsedUp) {
  PrefetchQuota quota(Bytes{10});
  EXPECT_TRUE(quota.try_charge(Bytes{7}));
  EXPECT_FALSE(quota.try_charge(Bytes{4}));
  EXPECT_TRUE(quota.try_charge(Bytes{3})) << "a refusal charged nothing; exactly full";
  EXPECT_FALSE(quota.try_charge(Bytes{1}));
  quota.give_back(Bytes{7});
  EXPECT_TRUE(quota.try_charge(Bytes{7}));
}

TEST(PrefetchQuota, OfNothingTakesOnlyNothing) {
  PrefetchQuota quota(Bytes{0});
  EXPECT_TRUE(quota.try_charge(Bytes{0}));
  EXPECT_FALSE(quota.try_charge(Bytes{1}));
}

// ---- PrefixUnits ----

struct Visit {
  std::uint32_t segment, index;
  std::size_t position;
  bool operator==(const Visit&) const = default;
};

std::vector<Visit> visits(const PrefixUnits& units, const std::vector<std::uint32_t>& chosen) {
  std::vector<Visit> list;
  units.for_each(chosen, [&](SegmentId segment, std::uint32_t index, std::size_t position) {
    list.push_back({segment.value, index, position});
  });
  return list;
}

TEST(PrefixUnits, RestartAtEverySegment) {
  const std::vector<SegmentSpan> prefix = {{SegmentId{5}, 128}, {SegmentId{9}, 64}, {SegmentId{2}, 192}};
  const PrefixUnits units(prefix, 64);
  EXPECT_EQ(units.size(), 6u);
  EXPECT_THAT(visits(units, {0, 1, 2, 3, 5}),
              ElementsAre(Visit{5, 0, 0}, Visit{5, 1, 1}, Visit{9, 0, 2}, Visit{2, 0, 3}, Visit{2, 2, 4}));
}

TEST(PrefixUnits, SkipOverSegmentsWithoutChosenUnitsAndWithoutUnits) {
  const std::vector<SegmentSpan> prefix = {{SegmentId{5}, 16}, {SegmentId{6}, 0}, {SegmentId{7}, 16}};
  const PrefixUnits units(prefix, 16);
  EXPECT_EQ(units.size(), 2u);
  EXPECT_THAT(visits(units, {1}), ElementsAre(Visit{7, 0, 0}));
  EXPECT_THAT(visits(units, {}), IsEmpty());
}

TEST(PrefixUnits, OfNoPrefixAreNone) { EXPECT_EQ(PrefixUnits({}, 16).size(), 0u); }

TEST(PrefixUnits, RefuseASegmentThatIsNoMultiple) {
  const std::vector<SegmentSpan> prefix = {{SegmentId{0}, 65}};
  EXPECT_THROW(PrefixUnits(prefix, 64), InvariantError);
}

// ---- blocks ----

TEST(BlocksOfTokens, CountTheChosenTokensOfEachTouchedBlock) {
  const std::vector<std::uint32_t> tokens = {0, 3, 4, 63, 64, 200};
  const TouchedBlocks touched = blocks_of_tokens(tokens, 64);
  EXPECT_THAT(touched.blocks, ElementsAre(0, 1, 3));
  EXPECT_THAT(touched.num_tokens, ElementsAre(4, 1, 1));
}

TEST(BlocksOfTokens, OfOneTokenAreTheTokens) {
  const std::vector<std::uint32_t> tokens = {2, 3, 7};
  EXPECT_THAT(blocks_of_tokens(tokens, 1).blocks, ElementsAre(2, 3, 7));
  EXPECT_THAT(blocks_of_tokens({}, 64).blocks, IsEmpty());
}

TEST(AllUnits, CountUpFromZero) {
  EXPECT_THAT(all_units(3), ElementsAre(0, 1, 2));
  EXPECT_THAT(all_units(0), IsEmpty());
}

}  // namespace
}  // namespace reprefill::pipeline
