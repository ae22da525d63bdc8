// Drift by hand: which probes a round has, and what a drive becomes.
#include "study/compare/drive_drift.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace reprefill::study {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr DriveCell kSmall = {Bytes{16 << 10}, 1}, kSmallDeep = {Bytes{16 << 10}, 128};
constexpr DriveCell kLarge = {Bytes{512 << 10}, 1}, kLargeDeep = {Bytes{512 << 10}, 32};

DriveProbe probe(std::size_t num_runs_before, double factor) {
  return {.num_runs_before = num_runs_before,
          .values = {{kSmall, 100'000 * factor},
                     {kSmallDeep, 10'000 * factor},
                     {kLarge, 500'000 * factor},
                     {kLargeDeep, 250'000 * factor}}};
}

/// Its own values, exactly: a latency of 75 us and 1.6384 GB/s at 16 KiB less 15 us of calls, and so on.
sim::Profile calibrated() {
  sim::Profile profile;
  profile.host.submission_cost = Nanoseconds{9'000};
  profile.host.completion_cost = Nanoseconds{6'000};
  profile.ssd.read_curve = {{kSmall.size, Nanoseconds{75'000}, BytesPerSecond{16384 / 10e-6}},
                            {kLarge.size, Nanoseconds{235'000}, BytesPerSecond{524288 / 250e-6}}};
  profile.ssd.read_latency = Nanoseconds{75'000};
  profile.ssd.read_bandwidth = BytesPerSecond{524288 / 250e-6};
  profile.ssd.write_bandwidth = BytesPerSecond{1e9};
  for (const DriveProbe::Value& value : probe(0, 1).values) {
    profile.ssd.measured_reads.push_back({value.cell.size, value.cell.depth, value.ns});
  }
  return profile;
}

TEST(DriveDrift, AProbeBetweenTwoRoundsCountsForBoth) {
  const std::vector<DriveProbe> probes = {probe(0, 1.0), probe(10, 1.2), probe(20, 1.4)};
  const auto drift = drive_drift(probes, 2, 10, calibrated().ssd);
  ASSERT_TRUE(drift);
  ASSERT_EQ(drift->cells.size(), 4u);
  EXPECT_THAT(drift->round_ratio, ElementsAre(DoubleNear(1.1, 1e-9), DoubleNear(1.3, 1e-9)));
  EXPECT_NEAR(drift->ratio, 1.2, 1e-9);
  EXPECT_THAT(drift->cells[0].rounds_ns, ElementsAre(DoubleNear(110'000, 1e-6), DoubleNear(130'000, 1e-6)));
  EXPECT_THAT(in_words(*drift), HasSubstr("Reads took 20 % longer than when the drive was calibrated"));
  EXPECT_THAT(in_words(*drift), HasSubstr("+10 %, +30 %"));
}

TEST(DriveDrift, AProbeOfAResumedRoundCountsForThatRoundAlone) {
  const std::vector<DriveProbe> probes = {probe(0, 1.0), probe(10, 1.0), probe(15, 1.6), probe(20, 1.0)};
  const auto drift = drive_drift(probes, 2, 10, calibrated().ssd);
  ASSERT_TRUE(drift);
  EXPECT_NEAR(drift->round_ratio[0], 1.0, 1e-9);
  EXPECT_NEAR(drift->round_ratio[1], 1.2, 1e-9);
}

TEST(DriveDrift, WithoutProbesOfARoundOrOfOtherReadsNothingIsSaid) {
  const std::vector<DriveProbe> only_first = {probe(0, 1.0)};
  EXPECT_TRUE(drive_drift(only_first, 1, 10, calibrated().ssd));
  EXPECT_FALSE(drive_drift(only_first, 2, 10, calibrated().ssd));
  EXPECT_FALSE(drive_drift({}, 1, 10, calibrated().ssd));
  EXPECT_FALSE(drive_drift(only_first, 1, 10, sim::SsdProfile{}));  // a datasheet drive
  sim::SsdProfile single = calibrated().ssd;
  std::erase_if(single.measured_reads, [](const sim::MeasuredRead& read) { return read.depth > 1; });
  EXPECT_FALSE(drive_drift(only_first, 1, 10, single));
}

TEST(DriveAsItWas, WithoutDriftItIsTheProfilesDrive) {
  const sim::Profile profile = calibrated();
  const auto drift = drive_drift(std::vector{probe(0, 1.0)}, 1, 10, profile.ssd);
  const sim::SsdProfile ssd = drive_as_it_was(profile, *drift);
  for (std::size_t i = 0; i < ssd.read_curve.size(); ++i) {
    EXPECT_EQ(ssd.read_curve[i].latency, profile.ssd.read_curve[i].latency);
    EXPECT_NEAR(ssd.read_curve[i].bandwidth.value, profile.ssd.read_curve[i].bandwidth.value, 1);
  }
}

TEST(DriveAsItWas, HalfTheBandwidthIsTransferAndOneAtATimeTheRestIsLatency) {
  sim::Profile profile = calibrated();
  DriveProbe slow = probe(0, 1.0);
  slow.values[3].ns = 500'000;  // large, deep: twice as long
  slow.values[2].ns = 750'000;  // large, one at a time: 250 us more, as the transfer says
  const auto drift = drive_drift(std::vector{slow}, 1, 10, profile.ssd);
  const sim::SsdProfile ssd = drive_as_it_was(profile, *drift);
  EXPECT_NEAR(ssd.read_bandwidth.value, profile.ssd.read_bandwidth.value / 2, 1);
  EXPECT_EQ(ssd.read_curve[1].latency, Nanoseconds{235'000});  // 750 - 500 - 15
  EXPECT_EQ(ssd.read_curve[0].latency, Nanoseconds{75'000});   // small reads are as before
  EXPECT_EQ(ssd.read_latency, Nanoseconds{75'000});
  EXPECT_EQ(ssd.write_bandwidth, profile.ssd.write_bandwidth);
  // Half way between the sizes in their logarithms, half of either ratio.
  profile.ssd.read_curve.insert(profile.ssd.read_curve.begin() + 1,
                                {Bytes{92681}, Nanoseconds{200'000}, BytesPerSecond{92681 / 100e-6}});
  const double between = 92681 / drive_as_it_was(profile, *drift).read_curve[1].bandwidth.value * 1e6;
  EXPECT_NEAR(between, 150, 0.1);
}

TEST(DriveAsItWas, DeepReadsAreNeverSlowerThanOneAtATime) {
  const sim::Profile profile = calibrated();
  DriveProbe odd = probe(0, 1.0);
  odd.values[3].ns = 2'500'000;  // ten times; one at a time as before
  const auto drift = drive_drift(std::vector{odd}, 1, 10, profile.ssd);
  const sim::SsdProfile ssd = drive_as_it_was(profile, *drift);
  EXPECT_NEAR(524288 / ssd.read_curve[1].bandwidth.value * 1e6, 500, 0.1);
  EXPECT_EQ(ssd.read_curve[1].latency, Nanoseconds{0});
}

TEST(DriveProbe, SurvivesItsJournal) {
  const DriveProbe before = probe(7, 1.5);
  const DriveProbe after = drive_probe_from_json(Json::parse(to_json(before).dump()));
  EXPECT_EQ(to_json(after), to_json(before));
  EXPECT_EQ(after.num_runs_before, 7u);
}

}  // namespace
}  // namespace reprefill::study
