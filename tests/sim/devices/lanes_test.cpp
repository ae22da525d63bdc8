#include "sim/devices/lanes.hpp"

#include <array>

#include "core/base/random.hpp"
#include "tests/sim/devices/lane_fixture.hpp"

namespace reprefill::sim {
namespace {

class LanesTest : public LaneTest {
 protected:
  Interference interference{simulation, {}};
};

// ---- one lane ----

TEST_F(LanesTest, WorkEndsAfterItsTimeAndNotANanosecondBefore) {
  Lane lane(interference, Activity::gemm);
  const RecordedWork& work = enqueue(lane, Activity::gemm, 100);
  EXPECT_EQ(work.start, 0);
  run_until(99);
  EXPECT_EQ(work.end, RecordedWork::kNone);
  EXPECT_TRUE(lane.busy());
  run_until(100);
  EXPECT_EQ(work.end, 100);
  EXPECT_FALSE(lane.busy());
}

TEST_F(LanesTest, WorkRunsOneByOneInTheOrderInWhichItCame) {
  Lane lane(interference, Activity::gemm);
  const RecordedWork& first = enqueue(lane, Activity::gemm, 10);
  const RecordedWork& second = enqueue(lane, Activity::attention, 20);
  run_until(5);
  const RecordedWork& third = enqueue(lane, Activity::gemm, 30);
  simulation.run();
  EXPECT_THAT(first, Ran(0, 10));
  EXPECT_THAT(second, Ran(10, 30));
  EXPECT_THAT(third, Ran(30, 60));
}

TEST_F(LanesTest, AnIdleLaneStartsAtOnce) {
  Lane lane(interference, Activity::gemm);
  enqueue(lane, Activity::gemm, 10);
  run_until(50);
  const RecordedWork& late = enqueue(lane, Activity::gemm, 10);
  simulation.run();
  EXPECT_THAT(late, Ran(50, 60));
}

TEST_F(LanesTest, WorkOfNoTimeEndsWhenItStartsAndKeepsItsPlaceInTheQueue) {
  Lane lane(interference, Activity::gemm);
  const RecordedWork& nothing = enqueue(lane, Activity::gemm, 0);
  const RecordedWork& something = enqueue(lane, Activity::gemm, 10);
  const RecordedWork& nothing_behind = enqueue(lane, Activity::gemm, 0);
  simulation.run();
  EXPECT_THAT(nothing, Ran(0, 0));
  EXPECT_THAT(something, Ran(0, 10));
  EXPECT_THAT(nothing_behind, Ran(10, 10));
}

TEST_F(LanesTest, WorkThatIsAddedWhenOtherWorkEndsGoesBehindWhatWaits) {
  Lane lane(interference, Activity::gemm);
  const RecordedWork* added = nullptr;
  RecordedWork& first = enqueue(lane, Activity::gemm, 10);
  first.then = [&] { added = &enqueue(lane, Activity::gemm, 5); };
  const RecordedWork& waiting = enqueue(lane, Activity::gemm, 20);
  simulation.run();
  EXPECT_THAT(waiting, Ran(10, 30));
  EXPECT_THAT(*added, Ran(30, 35));
}

TEST_F(LanesTest, LanesOfTheirOwnDoNotDisturbEachOther) {
  Lane gpu(interference, Activity::gemm), host(interference, Activity::d2h);
  const RecordedWork& on_gpu = enqueue(gpu, Activity::gemm, 100);
  const RecordedWork& on_host = enqueue(host, Activity::d2h, 60);
  simulation.run();
  EXPECT_THAT(on_gpu, Ran(0, 100));
  EXPECT_THAT(on_host, Ran(0, 60));
}

TEST_F(LanesTest, MayBeTornDownWithWorkRunningAndWaiting) {
  {
    Lane lane(interference, Activity::gemm);
    enqueue(lane, Activity::gemm, 10);
    enqueue(lane, Activity::gemm, 10);
    run_until(5);
  }
  simulation.run();
  EXPECT_EQ(simulation.now(), Nanoseconds{5});
}

// ---- two lanes that share the link ----

class SharedLanesTest : public LanesTest {
 protected:
  RecordedWork& copy(std::int64_t duration_ns) { return enqueue(link.lane(0), Activity::h2d, duration_ns); }
  RecordedWork& gather(std::int64_t duration_ns) { return enqueue(link.lane(1), Activity::gather, duration_ns); }

  SharedLanes link{interference, {Activity::h2d, Activity::gather}};
};

TEST_F(SharedLanesTest, OneTransportAloneHasTheWholeLink) {
  const RecordedWork& alone = gather(100);
  simulation.run();
  EXPECT_THAT(alone, Ran(0, 100));
}

TEST_F(SharedLanesTest, TwoTransfersTakeTwiceAsLongWhileBothRun) {
  const RecordedWork& a = copy(100);
  const RecordedWork& b = gather(100);
  run_until(199);
  EXPECT_EQ(a.end, RecordedWork::kNone);
  simulation.run();
  EXPECT_THAT(a, Ran(0, 200));
  EXPECT_THAT(b, Ran(0, 200));
}

TEST_F(SharedLanesTest, TheLongerOneHasTheLinkForItselfOnceTheShorterIsDone) {
  const RecordedWork& shorter = copy(100);
  const RecordedWork& longer = gather(300);
  simulation.run();
  EXPECT_THAT(shorter, Ran(0, 200));
  EXPECT_THAT(longer, Ran(0, 400));  // 100 of 300 done at 200
}

TEST_F(SharedLanesTest, ALateTransferSlowsDownWhatIsLeftOfTheOther) {
  const RecordedWork& early = copy(100);
  run_until(50);
  const RecordedWork& late = gather(100);
  simulation.run();
  EXPECT_THAT(early, Ran(0, 150));  // 50 left, at half speed
  EXPECT_THAT(late, Ran(50, 200));  // 50 done at 150, the rest alone
}

TEST_F(SharedLanesTest, ATransportsQueueKeepsItsShareWithoutAGap) {
  const RecordedWork& first = copy(50);
  const RecordedWork& second = copy(50);
  const RecordedWork& other = gather(100);
  simulation.run();
  EXPECT_THAT(first, Ran(0, 100));
  EXPECT_THAT(second, Ran(100, 200));
  EXPECT_THAT(other, Ran(0, 200));
}

TEST_F(SharedLanesTest, AnOddNanosecondIsRoundedUp) {
  const RecordedWork& early = copy(100);
  run_until(1);
  const RecordedWork& late = gather(10);  // to 21; the copy then has 89 left
  simulation.run();
  EXPECT_THAT(late, Ran(1, 21));
  EXPECT_THAT(early, Ran(0, 110));
}

/// Two queues that share one server, one nanosecond after the other, in halves: no events, no rounding.
struct ByTheNanosecond {
  struct Item {
    std::int64_t at, duration, start = RecordedWork::kNone, end = RecordedWork::kNone;
  };
  std::array<std::vector<Item>, 2> lanes;

  void run() {
    std::array<std::size_t, 2> next{};
    std::array<std::int64_t, 2> left{};
    const auto running = [&](std::size_t lane) {
      return next[lane] < lanes[lane].size() && lanes[lane][next[lane]].start != RecordedWork::kNone;
    };
    for (std::int64_t now = 0; next[0] < lanes[0].size() || next[1] < lanes[1].size(); ++now) {
      for (const std::size_t lane : {std::size_t{0}, std::size_t{1}}) {
        for (;;) {
          if (running(lane) && left[lane] <= 0) lanes[lane][next[lane]++].end = now;
          if (running(lane) || next[lane] == lanes[lane].size() || lanes[lane][next[lane]].at > now) break;
          lanes[lane][next[lane]].start = now;
          left[lane] = 2 * lanes[lane][next[lane]].duration;
        }
      }
      const std::int64_t halves = running(0) && running(1) ? 1 : 2;
      for (const std::size_t lane : {std::size_t{0}, std::size_t{1}}) {
        if (running(lane)) left[lane] -= halves;
      }
    }
  }
};

TEST_F(SharedLanesTest, EqualAModelThatGoesByTheNanosecond) {
  RandomStream random(11, 0, "lanes");
  for (int round = 0; round < 100; ++round) {
    ByTheNanosecond expected;
    std::vector<std::pair<std::size_t, const RecordedWork*>> found;
    const std::int64_t begin = simulation.now().value;
    std::int64_t at = 0;
    for (int i = 0; i < 30; ++i) {
      at += static_cast<std::int64_t>(random.below(40));
      const std::size_t lane = random.below(2);
      const auto duration = static_cast<std::int64_t>(1 + random.below(50));
      run_until(begin + at);
      expected.lanes[lane].push_back({at, duration});
      found.emplace_back(lane, lane == 0 ? &copy(duration) : &gather(duration));
    }
    simulation.run();
    expected.run();
    std::array<std::size_t, 2> index{};
    for (const auto& [lane, work] : found) {
      const ByTheNanosecond::Item& item = expected.lanes[lane][index[lane]++];
      EXPECT_THAT(*work, Ran(begin + item.start, begin + item.end)) << "round " << round;
    }
    ASSERT_FALSE(HasFailure());
  }
}

}  // namespace
}  // namespace reprefill::sim
