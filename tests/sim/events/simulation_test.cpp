#include "sim/events/simulation.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "core/base/random.hpp"

namespace reprefill::sim {
namespace {

using ::testing::ElementsAre;

Nanoseconds ns(std::int64_t count) { return Nanoseconds{count}; }

class Call final : public Timer {
 public:
  explicit Call(std::function<void()> what) : what_(std::move(what)) {}

 private:
  void fire() override { what_(); }
  std::function<void()> what_;
};

class SimulationTest : public ::testing::Test {
 protected:
  /// Logs "name@time" when it fires.
  std::unique_ptr<Call> logging(const std::string& name) {
    return std::make_unique<Call>([this, name] { log.push_back(name + "@" + std::to_string(simulation.now().value)); });
  }

  std::vector<std::string> log;
  Simulation simulation;
};

TEST_F(SimulationTest, AnEmptyOneDoesNothing) {
  EXPECT_TRUE(simulation.empty());
  EXPECT_FALSE(simulation.step());
  simulation.run();
  EXPECT_EQ(simulation.now(), ns(0));
  EXPECT_EQ(simulation.num_events(), 0u);
}

TEST_F(SimulationTest, FiresInOrderOfTime) {
  const auto a = logging("a"), b = logging("b"), c = logging("c");
  simulation.schedule(*a, ns(30));
  simulation.schedule(*b, ns(10));
  simulation.schedule(*c, ns(20));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("b@10", "c@20", "a@30"));
  EXPECT_EQ(simulation.num_timed_events(), 3u);
}

TEST_F(SimulationTest, TiesFireInTheOrderOfScheduling) {
  std::vector<std::unique_ptr<Call>> timers;
  std::vector<std::string> expected;
  for (int i = 0; i < 100; ++i) {
    timers.push_back(logging(std::to_string(i)));
    expected.push_back(std::to_string(i) + "@7");
  }
  for (const auto& timer : timers) simulation.schedule(*timer, ns(7));
  simulation.run();
  EXPECT_EQ(log, expected);
}

TEST_F(SimulationTest, AtOneTimeWhatWasScheduledEarlierComesBeforeWakeUps) {
  const auto late = logging("late"), wake_up = logging("wake-up"), now = logging("now");
  Call first([&] {
    simulation.wake(*wake_up);
    simulation.schedule(*now, ns(10));  // at once, but behind the wake-up
  });
  simulation.schedule(first, ns(10));
  simulation.schedule(*late, ns(10));  // before `first` fires, hence before the wake-up
  simulation.run();
  EXPECT_THAT(log, ElementsAre("late@10", "wake-up@10", "now@10"));
  EXPECT_EQ(simulation.num_timed_events(), 2u);
  EXPECT_EQ(simulation.num_events(), 4u);
}

TEST_F(SimulationTest, WakeUpsOfWakeUpsComeBeforeTimeGoesOn) {
  const auto later = logging("later"), third = logging("third");
  Call second([&] {
    log.push_back("second");
    simulation.wake(*third);
  });
  Call first([&] { simulation.wake(second); });
  simulation.schedule(*later, ns(6));
  simulation.schedule(first, ns(5));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("second", "third@5", "later@6"));
}

TEST_F(SimulationTest, AnEventInThePastIsABrokenInvariant) {
  const auto timer = logging("timer");
  simulation.run_until(ns(10));
  EXPECT_THROW(simulation.schedule(*timer, ns(9)), InvariantError);
  EXPECT_THROW(simulation.run_until(ns(9)), InvariantError);
  simulation.schedule(*timer, ns(10));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("timer@10"));
}

TEST_F(SimulationTest, SchedulingAgainMovesTheEventBehindItsTies) {
  const auto a = logging("a"), b = logging("b");
  simulation.schedule(*a, ns(10));
  simulation.schedule(*b, ns(10));
  simulation.schedule(*a, ns(10));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("b@10", "a@10"));
}

TEST_F(SimulationTest, MovesBetweenNowAndLater) {
  const auto a = logging("a"), b = logging("b");
  simulation.schedule(*a, ns(10));
  simulation.wake(*a);
  simulation.wake(*b);
  simulation.schedule(*b, ns(3));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("a@0", "b@3"));
}

TEST_F(SimulationTest, CancelledAndDestroyedTimersDoNotFire) {
  auto a = logging("a"), b = logging("b"), c = logging("c"), d = logging("d");
  simulation.schedule(*a, ns(1));
  simulation.wake(*b);
  simulation.schedule(*c, ns(3));
  simulation.wake(*d);
  a->cancel();
  a->cancel();
  EXPECT_FALSE(a->scheduled());
  b.reset();
  c.reset();
  d->cancel();
  EXPECT_TRUE(simulation.empty());
  simulation.run();
  EXPECT_THAT(log, ElementsAre());
}

TEST_F(SimulationTest, ATimerMayScheduleItselfAndCancelOthersAsItFires) {
  const auto victim = logging("victim");
  int left = 3;
  std::unique_ptr<Call> periodic;
  periodic = std::make_unique<Call>([&] {
    EXPECT_FALSE(periodic->scheduled());
    log.push_back("tick@" + std::to_string(simulation.now().value));
    if (--left > 0) simulation.schedule(*periodic, simulation.now() + ns(5));
    victim->cancel();
  });
  simulation.schedule(*periodic, ns(5));
  simulation.schedule(*victim, ns(5));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("tick@5", "tick@10", "tick@15"));
}

TEST_F(SimulationTest, ATimerMayDestroyItselfAsItFires) {
  std::unique_ptr<Call> timer;
  timer = std::make_unique<Call>([&] { timer.reset(); });
  simulation.schedule(*timer, ns(1));
  simulation.run();
  EXPECT_EQ(timer, nullptr);
}

TEST_F(SimulationTest, RunUntilIncludesItsEndAndSetsTheClock) {
  const auto a = logging("a"), b = logging("b"), c = logging("c");
  simulation.schedule(*a, ns(10));
  simulation.schedule(*b, ns(11));
  Call wakes([&] { simulation.wake(*c); });
  simulation.schedule(wakes, ns(10));
  simulation.run_until(ns(10));
  EXPECT_THAT(log, ElementsAre("a@10", "c@10"));
  simulation.run_until(ns(10));
  EXPECT_EQ(simulation.now(), ns(10));
  simulation.run_until(ns(50));
  EXPECT_THAT(log, ElementsAre("a@10", "c@10", "b@11"));
  EXPECT_EQ(simulation.now(), ns(50));
}

TEST_F(SimulationTest, StepFiresOneEvent) {
  const auto a = logging("a"), b = logging("b");
  simulation.schedule(*a, ns(1));
  simulation.wake(*b);
  EXPECT_TRUE(simulation.step());
  EXPECT_THAT(log, ElementsAre("b@0"));
  EXPECT_TRUE(simulation.step());
  EXPECT_FALSE(simulation.step());
  EXPECT_THAT(log, ElementsAre("b@0", "a@1"));
}

TEST_F(SimulationTest, RunningItFromWithinAnEventIsRefused) {
  Call runs([&] { simulation.run(); });
  Call steps([&] { simulation.step(); });
  Call clears([&] { simulation.clear(); });
  simulation.schedule(runs, ns(1));
  simulation.schedule(steps, ns(2));
  simulation.schedule(clears, ns(3));
  for (int i = 0; i < 3; ++i) EXPECT_THROW(simulation.run(), InvariantError);
  EXPECT_EQ(simulation.now(), ns(3));
  EXPECT_TRUE(simulation.empty());
}

TEST_F(SimulationTest, AfterAnExceptionOfATimerItGoesOn) {
  const auto later = logging("later");
  Call throws([] { throw std::runtime_error("broken"); });
  simulation.schedule(throws, ns(1));
  simulation.schedule(*later, ns(2));
  EXPECT_THROW(simulation.run(), std::runtime_error);
  simulation.run();
  EXPECT_THAT(log, ElementsAre("later@2"));
}

TEST_F(SimulationTest, TimersMayOutliveTheirSimulation) {
  auto a = logging("a"), b = logging("b");
  {
    Simulation short_lived;
    short_lived.schedule(*a, ns(1));
    short_lived.wake(*b);
  }
  EXPECT_FALSE(a->scheduled());
  EXPECT_FALSE(b->scheduled());
  simulation.schedule(*a, ns(2));
  simulation.run();
  EXPECT_THAT(log, ElementsAre("a@2"));
}

/// The queue against std::map as a plain reference, under random scheduling, moving and cancelling, from outside and
/// from within events, with many ties.
class RandomQueue {
 public:
  explicit RandomQueue(std::uint64_t seed, std::size_t num_timers) : random_(seed, 0, "queue") {
    for (std::size_t i = 0; i < num_timers; ++i) timers_.push_back(std::make_unique<Call>([this, i] { fired(i); }));
    keys_.resize(num_timers);
  }

  void run() {
    change(timers_.size() * 2);
    while (simulation_.step()) {}
    EXPECT_TRUE(expected_.empty());
    EXPECT_GT(num_fired_, 5000);
  }

 private:
  using Key = std::pair<std::int64_t, std::uint64_t>;

  void fired(std::size_t index) {
    ASSERT_FALSE(expected_.empty());
    ASSERT_EQ(expected_.begin()->second, index);
    ASSERT_EQ(expected_.begin()->first.first, simulation_.now().value);
    expected_.erase(expected_.begin());
    if (++num_fired_ < 6000) change(random_.below(4));
  }
  void change(std::uint64_t num_changes) {
    for (std::uint64_t i = 0; i < num_changes; ++i) {
      const std::size_t index = random_.below(timers_.size());
      if (timers_[index]->scheduled()) expected_.erase(keys_[index]);
      if (random_.below(5) == 0) {
        timers_[index]->cancel();
        continue;
      }
      keys_[index] = {simulation_.now().value + static_cast<std::int64_t>(random_.below(20)), sequence_++};
      expected_[keys_[index]] = index;
      simulation_.schedule(*timers_[index], ns(keys_[index].first));
    }
    if (num_fired_ < 6000 && expected_.empty()) change(3);
  }

  RandomStream random_;
  Simulation simulation_;
  std::vector<std::unique_ptr<Call>> timers_;
  std::vector<Key> keys_;
  std::map<Key, std::size_t> expected_;
  std::uint64_t sequence_ = 0;
  int num_fired_ = 0;
};

TEST(SimulationProperty, TheQueueAgreesWithAnOrderedMap) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    for (const std::size_t num_timers : {1, 2, 5, 6, 40, 300}) RandomQueue(seed, num_timers).run();
  }
}

}  // namespace
}  // namespace reprefill::sim
