#include "calibrate/meter/measurement.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "calibrate/meter/statistics.hpp"
#include "core/base/random.hpp"
#include "tests/calibrate/meter/fake_cells.hpp"

namespace reprefill::calibrate {
namespace {

using testing_support::FakeCell;
using testing_support::FakeClock;

/// Keeps turns in memory, as the journal does on disk.
class MemoryStore final : public SampleStore {
 public:
  std::vector<Turn> turns_of(const std::string& id) const override {
    const auto found = turns.find(id);
    return found == turns.end() ? std::vector<Turn>{} : found->second;
  }
  void append(const std::string& id, const Turn& turn) override { turns[id].push_back(turn); }
  std::map<std::string, std::vector<Turn>> turns;
};

class MeterTest : public testing::Test {
 protected:
  FakeCell& add(const std::string& id, std::function<std::int64_t(int)> length, bool interleaved = true) {
    auto cell = std::make_unique<FakeCell>(id, clock, std::move(length), interleaved);
    FakeCell& reference = *cell;
    cells.push_back(std::move(cell));
    return reference;
  }
  std::vector<Measured> run() { return measure(cells, options, clock, store); }

  FakeClock clock;
  MemoryStore store;
  MeasureOptions options;
  std::vector<std::unique_ptr<Cell>> cells;
};

TEST_F(MeterTest, WorkOfKnownLengthIsMeasuredExactly) {
  add("constant", [](int) { return 1'000'000; });
  const std::vector<Measured> measured = run();
  EXPECT_EQ(median(measured[0].of()), 1'000'000);
  EXPECT_TRUE(measured[0].converged);
  // No spread: the rule stops at its fewest samples, rounded up to whole turns.
  EXPECT_EQ(measured[0].of().size(), 9u);
}

TEST_F(MeterTest, TheFirstSamplesWarmUpAndAreThrownAway) {
  options.rule.warm_up = 2;
  FakeCell& cell = add("cold", [](int number) { return number < 2 ? 50'000'000 : 1'000; });
  const std::vector<Measured> measured = run();
  EXPECT_EQ(*std::ranges::max_element(measured[0].of()), 1'000);
  // Two at the first turn, one at each later one.
  EXPECT_EQ(cell.num_samples, static_cast<int>(measured[0].of().size()) + 2 + (cell.num_turns - 1));
}

TEST_F(MeterTest, NoisyWorkTakesMoreSamplesUntilItsMedianIsKnown) {
  RandomStream random(3, 0, "noise");
  options.rule = {.target = 0.02, .cap_s = 1000};
  add("noisy", [&](int) { return static_cast<std::int64_t>(random.normal(1'000'000, 50'000)); });
  const std::vector<Measured> measured = run();
  EXPECT_TRUE(measured[0].converged);
  EXPECT_GT(measured[0].of().size(), 12u);
  EXPECT_LE(median_uncertainty(measured[0].of()), 0.02);
  EXPECT_NEAR(median(measured[0].of()), 1'000'000, 40'000);
}

TEST_F(MeterTest, ACellThatNeverSettlesEndsAtItsCapAndIsMarked) {
  options.rule.cap_s = 0.5;
  RandomStream random(4, 0, "wild");
  add("wild", [&](int) { return random.below(2) == 0 ? 1'000'000 : 9'000'000; });
  const std::vector<Measured> measured = run();
  EXPECT_FALSE(measured[0].converged);
  EXPECT_GE(measured[0].spent_s, 0.5);
  EXPECT_LT(measured[0].spent_s, 0.54);  // at most a turn more: 4 samples of 9 ms
}

TEST_F(MeterTest, TheNumberOfSamplesHasACapToo) {
  options.rule.max_samples = 20;
  options.rule.cap_s = 1e9;
  RandomStream random(5, 0, "wild");
  add("wild", [&](int) { return random.below(2) == 0 ? 1'000 : 9'000; });
  EXPECT_EQ(run()[0].of().size(), 20u);
}

TEST_F(MeterTest, EvenBeyondItsCapACellHasItsFewestSamples) {
  options.rule.cap_s = 0.001;
  options.rule.samples_per_turn = 1;
  add("slow", [](int) { return 1'000'000'000; });
  const std::vector<Measured> measured = run();
  EXPECT_EQ(measured[0].of().size(), 3u);
  EXPECT_FALSE(measured[0].converged);
}

TEST_F(MeterTest, CellsTakeTurnsSoThatADriftHitsAllAlike) {
  std::vector<std::string> log;
  for (const char* id : {"a", "b", "c"}) add(id, [](int) { return 1'000; }).log = &log;
  run();
  ASSERT_EQ(log.size(), 9u);  // three turns of three samples each
  for (std::size_t round = 0; round < 3; ++round) {
    std::vector<std::string> ids(log.begin() + static_cast<std::ptrdiff_t>(round * 3),
                                 log.begin() + static_cast<std::ptrdiff_t>(round * 3 + 3));
    std::ranges::sort(ids);
    EXPECT_EQ(ids, (std::vector<std::string>{"a", "b", "c"}));
  }
}

TEST_F(MeterTest, ASustainedCellIsMeasuredInOneGo) {
  std::vector<std::string> log;
  add(
      "sustained", [](int) { return 1'000; }, false)
      .log = &log;
  add("other", [](int) { return 1'000; }).log = &log;
  run();
  const auto first = std::ranges::find(log, "sustained");
  EXPECT_EQ(std::count(first, first + 3, "sustained"), 3);
}

TEST_F(MeterTest, AResumedRunTakesOnlyWhatIsMissing) {
  FakeCell& done = add("done", [](int) { return 1'000; });
  FakeCell& half = add("half", [](int) { return 2'000; });
  const auto turn = [](double value, std::size_t count) {
    return SampleStore::Turn{.samples = std::vector<Sample>(count, Sample{.values = {value}}), .spent_s = 0.01};
  };
  store.turns["done"] = {turn(1'000, 9)};
  store.turns["half"] = {turn(2'000, 3), turn(2'000, 3)};
  const std::vector<Measured> measured = run();
  EXPECT_EQ(done.num_samples, 0);
  EXPECT_EQ(half.num_turns, 1);
  EXPECT_EQ(measured[0].of().size(), 9u);
  EXPECT_EQ(measured[1].of().size(), 9u);
  EXPECT_EQ(store.turns["half"].size(), 3u);
}

TEST_F(MeterTest, AnInterruptionEndsBetweenTurnsAndKeepsWhatWasTaken) {
  std::atomic<bool> interrupted = false;
  options.interrupted = &interrupted;
  add("cell", [&](int number) {
    if (number == 2) interrupted = true;
    return 1'000;
  });
  EXPECT_THROW(run(), Interrupted);
  ASSERT_EQ(store.turns["cell"].size(), 1u);
  EXPECT_EQ(store.turns["cell"][0].samples.size(), 3u);
}

TEST_F(MeterTest, ProgressReachesOneForEveryCellAndNeverBeforeItIsDone) {
  add("a", [](int) { return 1'000; });
  add("b", [](int number) { return 1'000 + number % 7 * 100; });
  std::vector<double> shares(2, 0);
  options.on_progress = [&](std::size_t index, double share) {
    EXPECT_LT(shares[index], 1);
    shares[index] = share;
  };
  run();
  EXPECT_EQ(shares, (std::vector<double>{1, 1}));
}

TEST_F(MeterTest, NothingToMeasureIsDoneAtOnce) { EXPECT_TRUE(run().empty()); }

TEST_F(MeterTest, ASampleThatIsNoNumberIsRefused) {
  class BadCell final : public Cell {
   public:
    BadCell() : Cell({.id = "bad", .quantity = "fake"}) {}
    Sample sample() override { return {.values = {std::nan("")}}; }
  };
  cells.push_back(std::make_unique<BadCell>());
  EXPECT_THROW(run(), InvariantError);
}

TEST(SteadyClockTest, MeasuresAtLeastTheLengthOfASleep) {
  SteadyClock clock;
  EXPECT_GE(time_of(clock, [] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); }), 5e6);
}

}  // namespace
}  // namespace reprefill::calibrate
