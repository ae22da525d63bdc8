#include "sim/events/resource.hpp"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "core/base/random.hpp"
#include "sim/events/process.hpp"

namespace reprefill::sim {
namespace {

using ::testing::ElementsAre;
using Log = std::vector<std::string>;

Nanoseconds ns(std::int64_t count) { return Nanoseconds{count}; }

/// Logs "name start-end".
Process user(Simulation& simulation, Resource& resource, Log& log, std::string name, std::uint64_t units,
             Nanoseconds duration) {
  const Lease lease = co_await resource.acquire(units);
  const Nanoseconds start = simulation.now();
  co_await simulation.delay(duration);
  log.push_back(name + " " + std::to_string(start.value) + "-" + std::to_string(simulation.now().value));
}

class ResourceTest : public ::testing::Test {
 protected:
  Process use(std::string name, std::uint64_t units, std::int64_t duration) {
    return user(simulation, *resource, log, std::move(name), units, ns(duration));
  }
  Log log;
  Simulation simulation;
  std::unique_ptr<Resource> resource;
};

TEST_F(ResourceTest, OneServerServesInOrder) {
  resource = std::make_unique<Resource>(simulation, 1);
  simulation.spawn(use("a", 1, 10));
  simulation.spawn(use("b", 1, 1));
  simulation.spawn(use("c", 1, 5));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("a 0-10", "b 10-11", "c 11-16"));
  EXPECT_EQ(resource->num_free(), 1u);
}

TEST_F(ResourceTest, TwoServersTakeTheNextAsSoonAsOneIsFree) {
  resource = std::make_unique<Resource>(simulation, 2);
  simulation.spawn(use("a", 1, 10));
  simulation.spawn(use("b", 1, 4));
  simulation.spawn(use("c", 1, 8));
  simulation.spawn(use("d", 1, 1));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("b 0-4", "a 0-10", "d 10-11", "c 4-12"));
}

TEST_F(ResourceTest, NobodyOvertakesALargeRequest) {
  resource = std::make_unique<Resource>(simulation, 4);
  simulation.spawn(use("a", 3, 10));
  simulation.spawn(use("large", 4, 5));
  simulation.spawn(use("small", 1, 1));  // one unit is free, but `large` was here first
  simulation.run();
  EXPECT_THAT(log, ElementsAre("a 0-10", "large 10-15", "small 15-16"));
}

TEST_F(ResourceTest, ExactlyFullIsNotTooFull) {
  resource = std::make_unique<Resource>(simulation, 4);
  simulation.spawn(use("a", 3, 10));
  simulation.spawn(use("b", 1, 10));
  simulation.spawn(use("c", 1, 10));
  simulation.run_until(ns(5));
  EXPECT_EQ(resource->num_free(), 0u);
  EXPECT_EQ(resource->num_waiting(), 1u);
  simulation.run();
  EXPECT_THAT(log, ElementsAre("a 0-10", "b 0-10", "c 10-20"));
}

TEST_F(ResourceTest, ALateComerDoesNotTakeAUnitThatWasGranted) {
  resource = std::make_unique<Resource>(simulation, 1);
  std::optional<Lease> lease = resource->try_acquire();
  ASSERT_TRUE(lease);
  simulation.spawn(use("waits", 1, 5));
  simulation.run();
  lease.reset();  // grants it to the one who waits, who has not run yet
  EXPECT_FALSE(resource->try_acquire());
  simulation.spawn(use("late", 1, 5));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("waits 0-5", "late 5-10"));
}

TEST_F(ResourceTest, ImpossibleRequestsAreRefused) {
  resource = std::make_unique<Resource>(simulation, 4);
  EXPECT_THROW(static_cast<void>(resource->acquire(5)), InvariantError);
  EXPECT_THROW(static_cast<void>(resource->acquire(0)), InvariantError);
  EXPECT_THROW(static_cast<void>(resource->try_acquire(5)), InvariantError);
}

TEST_F(ResourceTest, LeasesMoveAndGiveBackOnce) {
  resource = std::make_unique<Resource>(simulation, 4);
  Lease a = *resource->try_acquire(3);
  Lease b = std::move(a);
  EXPECT_FALSE(a);
  EXPECT_EQ(a.units(), 0u);
  EXPECT_EQ(b.units(), 3u);
  a = *resource->try_acquire(1);
  EXPECT_EQ(resource->num_free(), 0u);
  b = std::move(a);  // gives back the three
  EXPECT_EQ(resource->num_in_use(), 1u);
  b.release();
  b.release();
  EXPECT_EQ(resource->num_free(), 4u);
}

TEST_F(ResourceTest, CancellingAHolderServesTheNext) {
  resource = std::make_unique<Resource>(simulation, 1);
  Process holder = use("holder", 1, 10);
  holder.start(simulation);
  simulation.spawn(use("next", 1, 5));
  simulation.run_until(ns(3));
  holder.cancel();
  simulation.run();
  EXPECT_THAT(log, ElementsAre("next 3-8"));
}

TEST_F(ResourceTest, CancellingALargeRequestLetsThoseBehindItGo) {
  resource = std::make_unique<Resource>(simulation, 4);
  simulation.spawn(use("a", 3, 10));
  Process large = use("large", 4, 5);
  large.start(simulation);
  simulation.spawn(use("small", 1, 1));
  simulation.run_until(ns(2));
  large.cancel();
  simulation.run();
  EXPECT_THAT(log, ElementsAre("small 2-3", "a 0-10"));
}

TEST_F(ResourceTest, CancellingBetweenGrantAndWakeUpGivesTheUnitsBack) {
  resource = std::make_unique<Resource>(simulation, 1);
  std::optional<Lease> lease = resource->try_acquire();
  Process granted = use("granted", 1, 5);
  granted.start(simulation);
  simulation.run();
  simulation.spawn(use("next", 1, 7));
  simulation.run();
  lease.reset();
  granted.cancel();
  simulation.run();
  EXPECT_THAT(log, ElementsAre("next 0-7"));
  EXPECT_EQ(resource->num_free(), 1u);
}

TEST_F(ResourceTest, LeasesMayOutliveTheirResource) {
  resource = std::make_unique<Resource>(simulation, 2);
  simulation.spawn(use("a", 1, 10));
  simulation.spawn(use("b", 1, 20));
  Process waits = use("waits", 2, 5);
  waits.start(simulation);
  simulation.run_until(ns(5));
  resource.reset();
  simulation.run();
  EXPECT_THAT(log, ElementsAre("a 0-10", "b 0-20"));
  EXPECT_FALSE(waits.done());
}

/// First come, first served by hand: each starts when all before it have started and enough units are free.
std::vector<std::int64_t> start_times(const std::vector<std::int64_t>& arrivals,
                                      const std::vector<std::uint64_t>& units,
                                      const std::vector<std::int64_t>& durations, std::uint64_t capacity) {
  std::vector<std::int64_t> starts;
  for (std::size_t i = 0; i < arrivals.size(); ++i) {
    std::int64_t start = std::max(arrivals[i], starts.empty() ? 0 : starts.back());
    for (;;) {
      std::uint64_t in_use = 0;
      std::int64_t next_end = std::numeric_limits<std::int64_t>::max();
      for (std::size_t j = 0; j < i; ++j) {
        const std::int64_t end = starts[j] + durations[j];
        if (end <= start) continue;
        in_use += units[j];
        next_end = std::min(next_end, end);
      }
      if (in_use + units[i] <= capacity) break;
      start = next_end;
    }
    starts.push_back(start);
  }
  return starts;
}

Process timed_user(Simulation& simulation, Resource& resource, std::int64_t arrival, std::uint64_t units,
                   std::int64_t duration, std::int64_t& start) {
  co_await simulation.delay(ns(arrival));
  const Lease lease = co_await resource.acquire(units);
  EXPECT_EQ(lease.units(), units);
  start = simulation.now().value;
  co_await simulation.delay(ns(duration));
}

TEST(ResourceProperty, StartTimesAgreeWithAPlainReference) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    RandomStream random(seed, 0, "resource");
    const std::uint64_t capacity = 1 + random.below(6);
    std::vector<std::int64_t> arrivals, durations, starts(200);
    std::vector<std::uint64_t> units;
    Simulation simulation;
    Resource resource(simulation, capacity);
    std::int64_t now = 0;
    for (std::int64_t& start : starts) {
      now += static_cast<std::int64_t>(random.below(8));
      arrivals.push_back(now);
      units.push_back(1 + random.below(capacity));
      durations.push_back(static_cast<std::int64_t>(1 + random.below(10)));
      simulation.spawn(timed_user(simulation, resource, now, units.back(), durations.back(), start));
    }
    simulation.run();
    EXPECT_EQ(starts, start_times(arrivals, units, durations, capacity)) << "seed " << seed;
    EXPECT_EQ(resource.num_free(), capacity);
  }
}

}  // namespace
}  // namespace reprefill::sim
