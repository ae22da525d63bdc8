#include "sim/devices/ssd.hpp"

#include <gmock/gmock.h>

#include "tests/sim/devices/ssd_fixture.hpp"

namespace reprefill::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// ---- latency and bandwidth ----

TEST_F(SsdTest, ALoneReadIsDoneAtLatencyPlusTransferAndNotANanosecondBefore) {
  Ssd ssd = make(8);
  submit(ssd, SsdQueue::demand, client, 4096);
  EXPECT_THAT(client.started, ElementsAre(0));
  simulation.run_until(Nanoseconds{5095});
  EXPECT_THAT(client.done, IsEmpty());
  EXPECT_EQ(ssd.num_in_flight(), 1u);
  simulation.run_until(Nanoseconds{5096});
  EXPECT_THAT(client.done, ElementsAre(5096));
  EXPECT_EQ(ssd.num_in_flight(), 0u);
}

TEST_F(SsdTest, ALoneWriteHasItsOwnLatencyAndBandwidth) {
  Ssd ssd = make(8);
  submit(ssd, SsdQueue::write, client, 4096);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(400 + 2 * 4096));
}

TEST_F(SsdTest, ATransferIsRoundedUpToWholeNanoseconds) {
  SsdProfile profile = plain_ssd();
  profile.read_bandwidth = BytesPerSecond{3e9};
  Ssd ssd = make(profile, plain_path(8));
  submit(ssd, SsdQueue::demand, client, 4096);  // 1365.33 ns
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(1000 + 1366));
}

TEST_F(SsdTest, LatenciesOverlapAndTransfersDoNot) {
  Ssd ssd = make(8);
  submit(ssd, SsdQueue::demand, client, 500, 3);
  simulation.run();
  EXPECT_THAT(client.started, ElementsAre(0, 0, 0));
  EXPECT_THAT(client.done, ElementsAre(1500, 2000, 2500));
}

// ---- shared by all that is under way ----

SsdProfile shared_ssd() {
  SsdProfile profile = plain_ssd();
  profile.service = SsdService::shared;
  return profile;
}

TEST_F(SsdTest, AloneASharedDriveIsAsAnyOther) {
  Ssd ssd = make(shared_ssd(), plain_path(8));
  submit(ssd, SsdQueue::demand, client, 4096);
  simulation.run_until(Nanoseconds{5095});
  EXPECT_THAT(client.done, IsEmpty());
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(5096));
}

TEST_F(SsdTest, OnASharedDriveWhatIsQueuedTogetherEndsTogether) {
  Ssd ssd = make(shared_ssd(), plain_path(8));
  submit(ssd, SsdQueue::demand, client, 500, 3);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(2500, 2500, 2500));
}

TEST_F(SsdTest, OnASharedDriveDemandWaitsWithPrefetchBesideIt) {
  Ssd ssd = make(shared_ssd(), plain_path(8));
  Client prefetch{simulation};
  submit(ssd, SsdQueue::prefetch, prefetch, 900);
  submit(ssd, SsdQueue::demand, client, 300);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(1600));    // both at half the rate from 1000
  EXPECT_THAT(prefetch.done, ElementsAre(2200));  // no byte is lost
}

TEST_F(SsdTest, OnASharedDriveALateReadTakesHalfOfWhatIsLeft) {
  Ssd ssd = make(shared_ssd(), plain_path(8));
  submit(ssd, SsdQueue::demand, client, 1000);
  simulation.run_until(Nanoseconds{500});
  submit(ssd, SsdQueue::demand, client, 1000);  // first byte at 1500
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(2500, 3000));
}

TEST_F(SsdTest, ASharedDriveMovesAsMuchAsAnyOtherAndStartsAnewWhenIdle) {
  Ssd ssd = make(shared_ssd(), plain_path(4));
  for (int i = 1; i <= 40; ++i) submit(ssd, SsdQueue::demand, client, static_cast<std::uint64_t>(100 * i));
  simulation.run();
  ASSERT_EQ(client.done.size(), 40u);
  EXPECT_GE(client.done.back(), 1000 + 100 * 820);
  // Depth 4 hides all latencies but the first, and at most one nanosecond an end is lost to rounding.
  EXPECT_LE(client.done.back(), 1000 + 100 * 820 + 1000 + 40);
  const std::int64_t idle_from = simulation.now().value;
  submit(ssd, SsdQueue::demand, client, 500);
  simulation.run();
  EXPECT_EQ(client.done.back(), idle_from + 1500);
}

TEST_F(SsdTest, LatenciesOverlapOnlyOnAsManyRequestsAsThereAreChannels) {
  // Two channels: first bytes at 1000, 1000, 2000, 2000; 10 ns of transfer each.
  SsdProfile profile = plain_ssd();
  profile.num_channels = 2;
  Ssd ssd = make(profile, plain_path(8));
  submit(ssd, SsdQueue::demand, client, 10, 4);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(1010, 1020, 2010, 2020));
}

TEST_F(SsdTest, AChannelThatHasBeenIdleStartsAtOnce) {
  SsdProfile profile = plain_ssd();
  profile.num_channels = 1;
  Ssd ssd = make(profile, plain_path(8));
  submit(ssd, SsdQueue::demand, client, 10);
  simulation.run_until(Nanoseconds{5000});
  submit(ssd, SsdQueue::demand, client, 10);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(1010, 6010));
}

TEST_F(SsdTest, AtSaturationThroughputIsTheBandwidth) {
  // The depth hides the latency behind the transfers: only the first one shows.
  Ssd ssd = make(4);
  submit(ssd, SsdQueue::demand, client, 512 * 1024, 1000);
  simulation.run();
  EXPECT_EQ(client.done.size(), 1000u);
  EXPECT_EQ(client.done.back(), 1000 + 1000 * 512 * 1024);
}

TEST_F(SsdTest, WithOneInFlightEveryRequestShowsItsLatency) {
  Ssd ssd = make(1);
  submit(ssd, SsdQueue::demand, client, 512, 1000);
  simulation.run();
  EXPECT_EQ(client.done.back(), 1000 * (1000 + 512));
}

TEST_F(SsdTest, TheFixedCostOfAnObjectIsPartOfEachRequestsLatency) {
  pipeline::SoftwarePath path = plain_path(1);
  path.object_fixed_cost = Nanoseconds{250};
  Ssd ssd = make(plain_ssd(), path);
  submit(ssd, SsdQueue::demand, client, 100, 2);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(1350, 2700));
}

// ---- queues ----

TEST_F(SsdTest, AReadBeyondTheDepthWaitsForTheOldestToFinish) {
  Ssd ssd = make(2);
  submit(ssd, SsdQueue::demand, client, 500, 3);
  EXPECT_EQ(ssd.num_in_flight(), 2u);
  simulation.run_until(Nanoseconds{1499});
  EXPECT_THAT(client.started, ElementsAre(0, 0));
  simulation.run_until(Nanoseconds{1500});
  EXPECT_THAT(client.started, ElementsAre(0, 0, 1500));
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(1500, 2000, 3000));  // the third: first byte at 2500
}

TEST_F(SsdTest, DemandOvertakesQueuedPrefetchButNotWhatIsSubmitted) {
  Ssd ssd = make(1);
  Client prefetch(simulation);
  submit(ssd, SsdQueue::prefetch, prefetch, 100, 3);
  simulation.run_until(Nanoseconds{10});
  submit(ssd, SsdQueue::demand, client, 100);
  simulation.run();
  EXPECT_THAT(prefetch.done, ElementsAre(1100, 3300, 4400));
  EXPECT_THAT(client.started, ElementsAre(1100));
  EXPECT_THAT(client.done, ElementsAre(2200));
}

TEST_F(SsdTest, WritesComeAfterQueuedReadsOfBothKinds) {
  Ssd ssd = make(1);
  Client write(simulation), prefetch(simulation);
  submit(ssd, SsdQueue::demand, client, 100);
  submit(ssd, SsdQueue::write, write, 100);
  submit(ssd, SsdQueue::prefetch, prefetch, 100);
  submit(ssd, SsdQueue::demand, client, 100);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(1100, 2200));
  EXPECT_THAT(prefetch.done, ElementsAre(3300));
  EXPECT_THAT(write.done, ElementsAre(3300 + 400 + 200));
}

TEST_F(SsdTest, AFreedSlotGoesToWhatIsQueuedBeforeTheClientCanReact) {
  // The client answers its completion with another demand read: the queued prefetch has the slot already.
  class Reacting final : public SsdClient {
   public:
    void on_request_start() override {}
    void on_request_done() override {
      if (++num_done == 1) submit(*ssd, SsdQueue::demand, *next, 100);
    }
    Ssd* ssd = nullptr;
    Client* next = nullptr;
    int num_done = 0;
  };
  Ssd ssd = make(1);
  Client prefetch(simulation);
  Reacting reacting;
  reacting.ssd = &ssd;
  reacting.next = &client;
  const SsdRequest first{&reacting, 0, Bytes{100}};
  ssd.submit(SsdQueue::demand, {&first, 1});
  submit(ssd, SsdQueue::prefetch, prefetch, 100);
  simulation.run();
  EXPECT_THAT(prefetch.done, ElementsAre(2200));
  EXPECT_THAT(client.done, ElementsAre(3300));
}

TEST_F(SsdTest, AClientThatSubmitsWhenItIsStartedLosesNothing) {
  class Chain final : public SsdClient {
   public:
    void on_request_start() override {
      if (++num_started == 5) return;
      const SsdRequest next{this, 0, Bytes{100}};
      ssd->submit(SsdQueue::demand, {&next, 1});
    }
    void on_request_done() override { ++num_done; }
    Ssd* ssd = nullptr;
    int num_started = 0;
    int num_done = 0;
  };
  Ssd ssd = make(2);
  Chain chain;
  chain.ssd = &ssd;
  const SsdRequest first{&chain, 0, Bytes{100}};
  ssd.submit(SsdQueue::demand, {&first, 1});
  EXPECT_EQ(ssd.num_in_flight(), 2u);
  simulation.run();
  EXPECT_EQ(chain.num_done, 5);
}

TEST_F(SsdTest, DroppingTakesOnlyWhatIsQueuedAndOnlyTheClientsOwn) {
  Ssd ssd = make(1);
  Client other(simulation);
  submit(ssd, SsdQueue::prefetch, client, 100, 3);  // one is submitted at once
  submit(ssd, SsdQueue::prefetch, other, 100);
  submit(ssd, SsdQueue::demand, client, 100);
  const Ssd::Dropped dropped = ssd.drop_queued(client);
  EXPECT_EQ(dropped.num_requests, 3u);
  EXPECT_EQ(dropped.bytes, Bytes{300});
  EXPECT_EQ(ssd.drop_queued(client).num_requests, 0u);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(1100));
  EXPECT_THAT(other.done, ElementsAre(2200));
}

// ---- submission ----

TEST_F(SsdTest, TheSubmissionThreadTakesOneRequestAfterTheOther) {
  HostProfile host;
  host.submission_cost = Nanoseconds{200};
  host.completion_cost = Nanoseconds{100};
  Ssd ssd = make(plain_ssd(), plain_path(8), host);
  submit(ssd, SsdQueue::demand, client, 10, 3);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(300 + 1010, 600 + 1010, 900 + 1010));
}

TEST_F(SsdTest, AnIdleSubmissionThreadHasNoBacklog) {
  HostProfile host;
  host.submission_cost = Nanoseconds{300};
  Ssd ssd = make(plain_ssd(), plain_path(8), host);
  submit(ssd, SsdQueue::demand, client, 10);
  simulation.run_until(Nanoseconds{10'000});
  submit(ssd, SsdQueue::demand, client, 10);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(1310, 11'310));
}

TEST_F(SsdTest, AThroughputAboveTheSubmissionThreadsIsNotReached) {
  HostProfile host;
  host.submission_cost = Nanoseconds{1000};
  Ssd ssd = make(plain_ssd(), plain_path(64), host);
  submit(ssd, SsdQueue::demand, client, 10, 500);  // 10 ns of transfer each
  simulation.run();
  EXPECT_EQ(client.done.back(), 500 * 1000 + 1000 + 10);
}

TEST_F(SsdTest, ThePrototypePathIsNotChargedForSubmission) {
  HostProfile host;
  host.submission_cost = Nanoseconds{300};
  pipeline::SoftwarePath path = plain_path(8);
  path.charge_submission = false;
  Ssd ssd = make(plain_ssd(), path, host);
  submit(ssd, SsdQueue::demand, client, 10);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(1010));
}

// ---- mixing and striping ----

TEST_F(SsdTest, TransfersLastLongerWhileReadsAndWritesAreInFlightTogether) {
  SsdProfile profile = plain_ssd();
  profile.mixed_slowdown = 1.5;
  Ssd ssd = make(profile, plain_path(8));
  Client write(simulation);
  submit(ssd, SsdQueue::demand, client, 1000, 2);
  submit(ssd, SsdQueue::write, write, 100);
  simulation.run();
  // The write's transfer begins at 400: 200 x 1.5. Then it is gone: the reads, from 1000 on, are as fast as ever.
  EXPECT_THAT(write.done, ElementsAre(700));
  EXPECT_THAT(client.done, ElementsAre(2000, 3000));
}

TEST_F(SsdTest, AReadNextToALongWriteIsSlowedDownToo) {
  SsdProfile profile = plain_ssd();
  profile.mixed_slowdown = 2;
  Ssd ssd = make(profile, plain_path(8));
  Client write(simulation);
  submit(ssd, SsdQueue::demand, client, 1000, 2);
  submit(ssd, SsdQueue::write, write, 1000, 2);
  simulation.run();
  // Writes 400-4400 and 4400-8400 in the one bandwidth server (2000 x 2 each): the second's first byte came at 400,
  // before the reads'. Then the reads, alone: 1000 each.
  EXPECT_THAT(write.done, ElementsAre(4400, 8400));
  EXPECT_THAT(client.done, ElementsAre(9400, 10'400));
}

TEST_F(SsdTest, WritesAmongThemselvesAreNotMixed) {
  SsdProfile profile = plain_ssd();
  profile.mixed_slowdown = 2;
  Ssd ssd = make(profile, plain_path(8));
  submit(ssd, SsdQueue::write, client, 1000, 2);
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(2400, 4400));
}

TEST_F(SsdTest, StripesOnDifferentDevicesTransferAtTheSameTime) {
  SsdProfile profile = plain_ssd();
  profile.num_devices = 2;
  Ssd ssd = make(profile, plain_path(8));
  submit(ssd, SsdQueue::demand, client, 500, 1, 0);
  submit(ssd, SsdQueue::demand, client, 500, 1, 65536);      // the next stripe: the other device
  submit(ssd, SsdQueue::demand, client, 500, 1, 2 * 65536);  // the first device again
  submit(ssd, SsdQueue::demand, client, 500, 1, 65535);      // still the first stripe
  simulation.run();
  EXPECT_THAT(client.done, ElementsAre(1500, 1500, 2000, 2500));
}

TEST_F(SsdTest, FourDevicesReadFourTimesAsFast) {
  SsdProfile profile = plain_ssd();
  profile.num_devices = 4;
  Ssd ssd = make(profile, plain_path(64));
  for (std::uint64_t i = 0; i < 400; ++i) submit(ssd, SsdQueue::demand, client, 65536, 1, i * 65536);
  simulation.run();
  EXPECT_EQ(client.done.back(), 1000 + 100 * 65536);
}

// ---- noise and ends ----

TEST_F(SsdTest, NoiseIsTheSameForTheSameSeedAndDiffersBetweenReplicas) {
  const auto run = [&](std::uint64_t replica) {
    Simulation own;
    Interference alone(own, {});
    Client noisy(own);
    Ssd ssd(alone, plain_ssd(), {}, plain_path(4), Noise(0.3, 1, replica, "noise/ssd"));
    submit(ssd, SsdQueue::demand, noisy, 4096, 20);
    own.run();
    return noisy.done;
  };
  EXPECT_EQ(run(0), run(0));
  EXPECT_NE(run(0), run(1));
}

TEST_F(SsdTest, MayBeTornDownWithRequestsInFlightAndQueued) {
  {
    Ssd ssd = make(2);
    submit(ssd, SsdQueue::demand, client, 500, 5);
    simulation.run_until(Nanoseconds{1200});  // the first transfers
  }
  simulation.run();
  EXPECT_THAT(client.done, IsEmpty());
}

}  // namespace
}  // namespace reprefill::sim
