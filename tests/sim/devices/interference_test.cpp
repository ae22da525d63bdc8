// Operations of different classes that slow each other down: what is left of one is re-planned whenever another starts
// or stops (design 5).
#include <vector>

#include "core/base/random.hpp"
#include "sim/devices/ssd.hpp"
#include "tests/sim/devices/lane_fixture.hpp"

namespace reprefill::sim {
namespace {

class InterferenceTest : public LaneTest {
 protected:
  std::unique_ptr<Lane> lane(Interference& interference, Activity activity) {
    return std::make_unique<Lane>(interference, activity);
  }
};

TEST_F(InterferenceTest, WithoutPairsNothingSlowsDown) {
  Interference interference(simulation, {});
  Lane gpu(interference, Activity::gemm), link(interference, Activity::h2d);
  const RecordedWork& compute = enqueue(gpu, Activity::gemm, 100);
  const RecordedWork& copy = enqueue(link, Activity::h2d, 100);
  simulation.run();
  EXPECT_THAT(compute, Ran(0, 100));
  EXPECT_THAT(copy, Ran(0, 100));
}

TEST_F(InterferenceTest, AnOperationIsSlowedExactlyWhileTheOtherRuns) {
  Interference interference(simulation, {{Activity::gemm, Activity::h2d, 2.0}});
  Lane gpu(interference, Activity::gemm), link(interference, Activity::h2d);
  const RecordedWork& compute = enqueue(gpu, Activity::gemm, 100);
  run_until(50);
  const RecordedWork& copy = enqueue(link, Activity::h2d, 30);
  run_until(114);
  EXPECT_EQ(compute.end, RecordedWork::kNone);
  simulation.run();
  EXPECT_THAT(copy, Ran(50, 80));     // the pair has one direction
  EXPECT_THAT(compute, Ran(0, 115));  // 50, then 15 in 30, then 35
}

TEST_F(InterferenceTest, AnOperationThatStartsNextToAnotherIsSlowFromTheStart) {
  Interference interference(simulation, {{Activity::gemm, Activity::h2d, 4.0}});
  Lane gpu(interference, Activity::gemm), link(interference, Activity::h2d);
  enqueue(link, Activity::h2d, 40);
  const RecordedWork& compute = enqueue(gpu, Activity::gemm, 100);
  simulation.run();
  EXPECT_THAT(compute, Ran(0, 130));  // 10 in 40, then 90
}

TEST_F(InterferenceTest, BothDirectionsSlowEachOther) {
  Interference interference(simulation, {{Activity::gemm, Activity::h2d, 2.0}, {Activity::h2d, Activity::gemm, 2.0}});
  Lane gpu(interference, Activity::gemm), link(interference, Activity::h2d);
  const RecordedWork& compute = enqueue(gpu, Activity::gemm, 100);
  const RecordedWork& copy = enqueue(link, Activity::h2d, 50);
  simulation.run();
  EXPECT_THAT(copy, Ran(0, 100));
  EXPECT_THAT(compute, Ran(0, 150));
}

TEST_F(InterferenceTest, FactorsOfDifferentClassesMultiply) {
  Interference interference(simulation,
                            {{Activity::gemm, Activity::h2d, 2.0}, {Activity::gemm, Activity::ssd_read, 1.5}});
  Lane gpu(interference, Activity::gemm), link(interference, Activity::h2d), ssd(interference, Activity::ssd_read);
  const RecordedWork& compute = enqueue(gpu, Activity::gemm, 100);
  enqueue(link, Activity::h2d, 30);
  enqueue(ssd, Activity::ssd_read, 60);
  simulation.run();
  EXPECT_THAT(compute, Ran(0, 130));  // 10 in 30, 20 in 30, then 70
}

TEST_F(InterferenceTest, SeveralOfOneClassSlowNoMoreThanOne) {
  Interference interference(simulation, {{Activity::gemm, Activity::h2d, 2.0}});
  Lane gpu(interference, Activity::gemm), one(interference, Activity::h2d), two(interference, Activity::h2d);
  const RecordedWork& compute = enqueue(gpu, Activity::gemm, 100);
  enqueue(one, Activity::h2d, 40);
  run_until(20);
  enqueue(two, Activity::h2d, 40);
  simulation.run();
  EXPECT_THAT(compute, Ran(0, 130));  // 30 in the first 60, then 70
}

TEST_F(InterferenceTest, AClassThatIsNotInTheTableHasNoEffect) {
  Interference interference(simulation, {{Activity::gemm, Activity::h2d, 2.0}});
  Lane gpu(interference, Activity::gemm), back(interference, Activity::d2h);
  const RecordedWork& compute = enqueue(gpu, Activity::gemm, 100);
  enqueue(back, Activity::d2h, 70);
  simulation.run();
  EXPECT_THAT(compute, Ran(0, 100));
}

TEST_F(InterferenceTest, ALanesClassIsThatOfTheWorkOnIt) {
  Interference interference(simulation, {{Activity::h2d, Activity::attention, 2.0}});
  Lane gpu(interference, Activity::gemm), link(interference, Activity::h2d);
  const RecordedWork& copy = enqueue(link, Activity::h2d, 100);
  enqueue(gpu, Activity::gemm, 20);
  enqueue(gpu, Activity::attention, 20);
  enqueue(gpu, Activity::gemm, 20);
  simulation.run();
  EXPECT_THAT(copy, Ran(0, 110));  // slow from 20 to 40 only
}

TEST_F(InterferenceTest, SharingAndSlowingDownMultiply) {
  Interference interference(simulation, {{Activity::h2d, Activity::gemm, 2.0}});
  SharedLanes link(interference, {Activity::h2d, Activity::gather});
  Lane gpu(interference, Activity::gemm);
  const RecordedWork& copy = enqueue(link.lane(0), Activity::h2d, 100);
  const RecordedWork& gather = enqueue(link.lane(1), Activity::gather, 100);
  enqueue(gpu, Activity::gemm, 80);
  simulation.run();
  EXPECT_THAT(gather, Ran(0, 200));
  EXPECT_THAT(copy, Ran(0, 220));  // a quarter until 80, a half until 200, then the 20 that are left
}

TEST_F(InterferenceTest, AFactorOfOneChangesNoTime) {
  std::vector<InterferencePair> pairs;
  for (int slowed = 0; slowed < kNumActivities; ++slowed) {
    for (int by = 0; by < kNumActivities; ++by) {
      if (slowed != by) pairs.push_back({static_cast<Activity>(slowed), static_cast<Activity>(by), 1.0});
    }
  }
  Interference interference(simulation, pairs);
  Lane gpu(interference, Activity::gemm), link(interference, Activity::h2d);
  const RecordedWork& compute = enqueue(gpu, Activity::gemm, 1'000'000'007);
  for (int i = 0; i < 1000; ++i) enqueue(link, Activity::h2d, 999'999);
  simulation.run();
  EXPECT_THAT(compute, Ran(0, 1'000'000'007));
}

TEST_F(InterferenceTest, AFlashTransferIsSlowedAndItsLatencyIsNot) {
  class Client final : public SsdClient {
   public:
    explicit Client(const Simulation& simulation) : simulation_(simulation) {}
    void on_request_start() override {}
    void on_request_done() override { done = simulation_.now().value; }
    std::int64_t done = -1;

   private:
    const Simulation& simulation_;
  };
  Interference interference(simulation, {{Activity::ssd_read, Activity::h2d, 2.0}});
  SsdProfile profile;
  profile.read_bandwidth = BytesPerSecond{1e9};
  profile.read_latency = Nanoseconds{1000};
  Client client(simulation);
  Ssd ssd(interference, profile, {}, {}, Noise());
  Lane link(interference, Activity::h2d);
  enqueue(link, Activity::h2d, 1200);
  const SsdRequest request{&client, 0, Bytes{500}};
  ssd.submit(SsdQueue::demand, {&request, 1});
  simulation.run();
  EXPECT_EQ(client.done, 1000 + 200 + 400);  // 100 bytes until 1200, the rest alone
}

TEST_F(InterferenceTest, MayBeTornDownWhileJobsRun) {
  Interference interference(simulation, {{Activity::gemm, Activity::h2d, 2.0}});
  Lane link(interference, Activity::h2d);
  {
    Lane gpu(interference, Activity::gemm);
    enqueue(gpu, Activity::gemm, 100);
    run_until(10);
  }
  const RecordedWork& copy = enqueue(link, Activity::h2d, 50);
  simulation.run();
  EXPECT_THAT(copy, Ran(10, 60));
}

/// Random work on one lane a class against progress counted nanosecond by nanosecond. Factors 1, 2 and 4 make it exact.
TEST_F(InterferenceTest, EqualsAModelThatGoesByTheNanosecond) {
  constexpr std::int64_t kUnit = 1024;  // 4^5: what a nanosecond at full speed is worth
  RandomStream random(12, 0, "interference");
  for (int round = 0; round < 60; ++round) {
    std::int64_t factor[kNumActivities][kNumActivities];
    std::vector<InterferencePair> pairs;
    for (int slowed = 0; slowed < kNumActivities; ++slowed) {
      for (int by = 0; by < kNumActivities; ++by) {
        factor[slowed][by] = slowed == by ? 1 : std::int64_t{1} << random.below(3);
        if (slowed == by || (factor[slowed][by] == 1 && random.below(2) == 0)) continue;
        pairs.push_back(
            {static_cast<Activity>(slowed), static_cast<Activity>(by), static_cast<double>(factor[slowed][by])});
      }
    }
    Simulation own;
    Interference interference(own, pairs);
    std::vector<std::unique_ptr<Lane>> lanes;
    std::deque<RecordedWork> work;
    std::int64_t start[kNumActivities], left[kNumActivities], expected[kNumActivities];
    for (int i = 0; i < kNumActivities; ++i) {
      start[i] = static_cast<std::int64_t>(random.below(60));
      left[i] = static_cast<std::int64_t>(1 + random.below(100)) * kUnit;
      expected[i] = RecordedWork::kNone;
      lanes.push_back(lane(interference, static_cast<Activity>(i)));
      work.emplace_back(own);
    }
    for (std::int64_t now = 0; now < 200'000; ++now) {
      own.run_until(Nanoseconds{now});
      for (int i = 0; i < kNumActivities; ++i) {
        if (start[i] == now) {
          const auto index = static_cast<std::size_t>(i);
          lanes[index]->enqueue(work[index], static_cast<Activity>(i), Nanoseconds{left[i] / kUnit});
        }
        if (start[i] <= now && left[i] <= 0 && expected[i] == RecordedWork::kNone) expected[i] = now;
      }
      std::int64_t progress[kNumActivities] = {};
      for (int i = 0; i < kNumActivities; ++i) {
        if (start[i] > now || left[i] <= 0) continue;
        progress[i] = kUnit;
        for (int by = 0; by < kNumActivities; ++by) {
          if (by != i && start[by] <= now && left[by] > 0) progress[i] /= factor[i][by];
        }
      }
      for (int i = 0; i < kNumActivities; ++i) left[i] -= progress[i];
      if (own.empty() && now > 60) break;
    }
    for (std::size_t i = 0; i < kNumActivities; ++i) {
      EXPECT_EQ(work[i].end, expected[i]) << "round " << round << ", class " << i;
    }
    ASSERT_FALSE(HasFailure());
  }
}

}  // namespace
}  // namespace reprefill::sim
