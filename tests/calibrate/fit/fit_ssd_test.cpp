#include "calibrate/fit/fit_ssd.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/meter/statistics.hpp"
#include "sim/devices/ssd.hpp"

namespace reprefill::calibrate {
namespace {

Measured read_cell(double bytes, double depth, double ns, const char* pattern = "random", int rings = 1) {
  return {.spec = {.id = "",
                   .quantity = "read",
                   .shape = {{"pattern", pattern}, {"bytes", bytes}, {"depth", depth}, {"rings", rings}}},
          .values = {{ns, ns, ns}, {ns, ns, ns}}};
}

/// A drive of 80 us, 32 channels and 4 GB/s, as it would be measured.
sim::SsdProfile drive() {
  sim::SsdProfile ssd;
  ssd.read_latency = Nanoseconds{80'000};
  ssd.read_bandwidth = {4e9};
  ssd.num_channels = 32;
  return ssd;
}

std::vector<Measured> cells_of(const sim::SsdProfile& ssd) {
  std::vector<Measured> cells;
  for (const double bytes : {4096.0, 65536.0, 1048576.0}) {
    for (const double depth : {1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0}) {
      cells.push_back(
          read_cell(bytes, depth, predict_read_ns(ssd, Bytes{static_cast<std::uint64_t>(bytes)}, depth, {})));
    }
  }
  return cells;
}

TEST(FitSsd, ADriveOfTheModelsOwnKindIsFoundAgain) {
  const SsdFit fit = fit_ssd(cells_of(drive()));
  ASSERT_EQ(fit.ssd.read_curve.size(), 3u);
  EXPECT_NEAR(fit.ssd.read_bandwidth.value, 4e9, 1e6);
  EXPECT_LT(median(fit.reports[0].held_out_errors()), 0.02);
  EXPECT_LT(quantile(fit.reports[0].residuals(), 1), 0.05);
}

TEST(FitSsd, TwoGroupsThatEndTogetherAreServedAlike) {
  std::vector<Measured> cells = cells_of(drive());
  EXPECT_EQ(fit_ssd(cells).ssd.service, sim::SsdService::fifo);  // not asked
  EXPECT_FALSE(fit_ssd(cells).first_group_share);
  cells.push_back({.spec = {.id = "service", .quantity = "service"}, .values = {{5e6, 6e6, 5e6}, {1e7, 1e7, 1e7}}});
  EXPECT_EQ(fit_ssd(cells).ssd.service, sim::SsdService::fifo);
  EXPECT_EQ(fit_ssd(cells).first_group_share, 0.5);
  cells.back().values[0] = {9e6, 9.5e6, 1e7};
  EXPECT_EQ(fit_ssd(cells).ssd.service, sim::SsdService::shared);
}

TEST(FitSsd, SequentialReadsAndSeveralRingsDoNotCount) {
  std::vector<Measured> cells = cells_of(drive());
  const SsdFit alone = fit_ssd(cells);
  cells.push_back(read_cell(4096, 1, 1, "sequential"));
  cells.push_back(read_cell(4096, 128, 1, "random", 4));
  EXPECT_EQ(fit_ssd(cells).ssd.read_latency, alone.ssd.read_latency);
}

TEST(FitSsd, WithoutAnUnloadedReadThereIsNoLatencyToFit) {
  std::vector<Measured> cells = cells_of(drive());
  std::erase_if(cells, [](const Measured& cell) { return cell.spec.shape["depth"] == 1.0; });
  EXPECT_THROW(fit_ssd(cells), ConfigError);
  EXPECT_THROW(fit_ssd({}), ConfigError);
}

TEST(FitSsd, TheCallsOwnTimeIsNotTheDrives) {
  std::vector<Measured> cells = cells_of(drive());
  const Nanoseconds without = fit_ssd(cells).ssd.read_latency;
  cells.push_back({.spec = {.id = "", .quantity = "io_calls", .shape = {{"depth", 32}}}, .values = {{900}, {100}}});
  EXPECT_EQ((without - fit_ssd(cells).ssd.read_latency).value, 1000);
}

TEST(FitSsd, WritesAndTheMixAreWorkedOutByHand) {
  std::vector<Measured> cells = cells_of(drive());
  const auto add = [&](const char* quantity, Json shape, std::vector<std::vector<double>> values) {
    cells.push_back({.spec = {.id = "", .quantity = quantity, .shape = std::move(shape)}, .values = std::move(values)});
  };
  add("write", {{"bytes", 4096}, {"depth", 1}}, {{22'048}});
  add("write", {{"bytes", 1 << 20}, {"depth", 4}}, {{524'288}});  // 2 GB/s
  const SsdFit before = fit_ssd(cells);
  EXPECT_FALSE(before.has_writes);
  // Reads at half of what they reach alone, writes at a quarter: three quarters of each second are accounted for.
  const double alone = predict_read_ns(before.ssd, Bytes{65536}, 16, {});
  add("mixed", {{"bytes", 65536}, {"depth", 16}, {"write_bytes", 1 << 20}, {"write_depth", 4}},
      {{2 * alone}, {4 * 524'288.0}});
  const SsdFit fit = fit_ssd(cells);
  EXPECT_TRUE(fit.has_writes);
  EXPECT_NEAR(fit.ssd.write_bandwidth.value, 2e9, 1);
  EXPECT_EQ(fit.ssd.write_latency, Nanoseconds{20'000});  // less 4 KiB at 2 GB/s
  EXPECT_NEAR(fit.ssd.mixed_slowdown, 4.0 / 3, 1e-9);
}

/// Reads of one size, a fixed number of them always under way.
class ClosedLoop final : public sim::SsdClient {
 public:
  ClosedLoop(sim::Simulation& simulation, sim::Ssd& ssd, Bytes size, int depth) : simulation_(simulation), ssd_(ssd) {
    request_ = {.client = this, .offset = 0, .bytes = size};
    for (int i = 0; i < depth; ++i) ssd_.submit(sim::SsdQueue::demand, {&request_, 1});
  }
  void on_request_start() override {}
  void on_request_done() override {
    if (++done == kWarmUp) start_ = simulation_.now();
    if (done == kWarmUp + kCounted) end_ = simulation_.now();
    if (done < kWarmUp + 2 * kCounted) ssd_.submit(sim::SsdQueue::demand, {&request_, 1});
  }
  double ns_each() const { return static_cast<double>((end_ - start_).value) / kCounted; }
  static constexpr int kWarmUp = 500, kCounted = 2000;
  int done = 0;

 private:
  sim::Simulation& simulation_;
  sim::Ssd& ssd_;
  sim::SsdRequest request_;
  Nanoseconds start_{0}, end_{0};
};

TEST(PredictReads, TheSimulatedDriveDoesWhatTheFitSays) {
  sim::SsdProfile ssd = fit_ssd(cells_of(drive())).ssd;
  ssd.write_bandwidth = {1e9};
  const IoCalls calls{.submit_ns = 700, .harvest_ns = 300};
  sim::HostProfile host;
  host.submission_cost = Nanoseconds{700};
  host.completion_cost = Nanoseconds{300};
  const std::vector<sim::InterferencePair> no_pairs;
  for (const std::uint64_t bytes : {4096, 16384, 65536, 1 << 20}) {
    for (const int depth : {1, 2, 8, 32, 128}) {
      sim::Simulation simulation;
      sim::Interference interference(simulation, no_pairs);
      pipeline::SoftwarePath path = pipeline::default_software_path(pipeline::PathKind::direct);
      path.queue_depth = 128;
      sim::Ssd device(interference, ssd, host, path, sim::Noise(0, 1, 0, "none"));
      ClosedLoop loop(simulation, device, Bytes{bytes}, depth);
      simulation.run();
      const double predicted = predict_read_ns(ssd, Bytes{bytes}, depth, calls);
      EXPECT_NEAR(loop.ns_each(), predicted, 0.03 * predicted) << bytes << " bytes at depth " << depth;
    }
  }
}

}  // namespace
}  // namespace reprefill::calibrate
