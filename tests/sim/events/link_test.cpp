#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include <gmock/gmock.h>
#include <boost/multiprecision/cpp_int.hpp>

#include "core/base/random.hpp"
#include "sim/events/fifo_link.hpp"
#include "sim/events/process.hpp"
#include "sim/events/shared_link.hpp"

namespace reprefill::sim {
namespace {

using ::testing::ElementsAre;

Nanoseconds ns(std::int64_t count) { return Nanoseconds{count}; }
constexpr BytesPerSecond kByteEachNs{1e9};

/// Arrives at `arrival`, and notes when its last byte has come.
template <typename Link>
Process transfer(Simulation& simulation, Link& link, Nanoseconds arrival, Bytes size, std::int64_t& end) {
  co_await simulation.delay(arrival);
  co_await link.transfer(size);
  end = simulation.now().value;
}

struct Job {
  std::int64_t arrival_ns;
  std::uint64_t size_bytes;
};

template <typename Link>
std::vector<std::int64_t> ends_of(BytesPerSecond bandwidth, const std::vector<Job>& jobs) {
  Simulation simulation;
  Link link(simulation, bandwidth);
  std::vector<std::int64_t> ends(jobs.size(), -1);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    simulation.spawn(transfer(simulation, link, ns(jobs[i].arrival_ns), Bytes{jobs[i].size_bytes}, ends[i]));
  }
  simulation.run();
  EXPECT_EQ(link.num_transfers(), 0u);
  return ends;
}

// ---- FIFO

TEST(FifoLink, CarriesOneAfterTheOther) {
  EXPECT_THAT(ends_of<FifoLink>(kByteEachNs, {{0, 100}, {10, 5}, {200, 7}}), ElementsAre(100, 105, 207));
}

TEST(FifoLink, ALoneTransferEndsAtTheFirstNanosecondAfterItsLastByte) {
  EXPECT_THAT(ends_of<FifoLink>(BytesPerSecond{3e9}, {{5, 1}}), ElementsAre(6));
  EXPECT_THAT(ends_of<FifoLink>(BytesPerSecond{3e9}, {{5, 3}}), ElementsAre(6));
  EXPECT_THAT(ends_of<FifoLink>(BytesPerSecond{3e9}, {{5, 4}}), ElementsAre(7));
  EXPECT_THAT(ends_of<FifoLink>(BytesPerSecond{1}, {{0, 3}}), ElementsAre(3'000'000'000));
}

TEST(FifoLink, RoundingDoesNotAddUp) {
  // 3 bytes per ns: the n-th byte comes at n/3, so the ends are ceil(n/3), not n.
  EXPECT_THAT(ends_of<FifoLink>(BytesPerSecond{3e9}, {{0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1}}),
              ElementsAre(1, 1, 1, 2, 2, 2, 3));
}

TEST(FifoLink, NoBytesTakeNoTimeButTheirTurn) {
  EXPECT_THAT(ends_of<FifoLink>(kByteEachNs, {{0, 0}, {3, 10}, {4, 0}}), ElementsAre(0, 13, 13));
}

TEST(FifoLink, CancellingATransferMovesUpThoseBehindIt) {
  Simulation simulation;
  FifoLink link(simulation, kByteEachNs);
  std::vector<std::int64_t> ends(4, -1);
  std::vector<Process> processes;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    processes.push_back(transfer(simulation, link, ns(0), Bytes{100}, ends[i]));
    processes.back().start(simulation);
  }
  simulation.run_until(ns(30));
  processes[0].cancel();  // was on the link
  processes[2].cancel();  // waited
  simulation.run();
  EXPECT_THAT(ends, ElementsAre(-1, 130, -1, 230));
  EXPECT_FALSE(link.busy());
}

TEST(FifoLink, CancellingTheLastLeavesNoEvent) {
  Simulation simulation;
  FifoLink link(simulation, kByteEachNs);
  std::int64_t end = -1;
  Process process = transfer(simulation, link, ns(0), Bytes{100}, end);
  process.start(simulation);
  simulation.run_until(ns(30));
  process.cancel();
  EXPECT_TRUE(simulation.empty());
}

TEST(Links, ABandwidthOfNothingIsRefused) {
  Simulation simulation;
  EXPECT_THROW(FifoLink(simulation, BytesPerSecond{0}), InvariantError);
  EXPECT_THROW(FifoLink(simulation, BytesPerSecond{-1}), InvariantError);
  EXPECT_THROW(SharedLink(simulation, BytesPerSecond{std::nan("")}), InvariantError);
  EXPECT_THROW(SharedLink(simulation, BytesPerSecond{1e300}), InvariantError);
}

// ---- Processor sharing

TEST(SharedLink, ALoneTransferHasItAll) {
  EXPECT_THAT(ends_of<SharedLink>(kByteEachNs, {{7, 100}}), ElementsAre(107));
  EXPECT_THAT(ends_of<SharedLink>(BytesPerSecond{3e9}, {{0, 4}}), ElementsAre(2));
}

TEST(SharedLink, TwoShareWhileBothAreThere) {
  // From 20 on each gets half: the second has its 50 bytes at 120; the first then has 30 left.
  EXPECT_THAT(ends_of<SharedLink>(kByteEachNs, {{0, 100}, {20, 50}}), ElementsAre(150, 120));
}

TEST(SharedLink, ThirdsAreExact) {
  EXPECT_THAT(ends_of<SharedLink>(kByteEachNs, {{0, 10}, {0, 10}, {0, 10}}), ElementsAre(30, 30, 30));
  // 7.45 bytes per ns; 149 bytes in all take 20 ns. The first is done after 3 * 10 / 7.45 = 4.03 ns, and from then on,
  // not from 5 ns on, the others have half of the link each: the second is done after 4.03 + 2 * 29 / 7.45 = 11.81 ns.
  EXPECT_THAT(ends_of<SharedLink>(BytesPerSecond{7.45e9}, {{0, 10}, {0, 39}, {0, 100}}), ElementsAre(5, 12, 20));
}

TEST(SharedLink, NoBytesTakeNoTime) {
  EXPECT_THAT(ends_of<SharedLink>(kByteEachNs, {{0, 10}, {3, 0}, {3, 0}}), ElementsAre(10, 3, 3));
}

TEST(SharedLink, CancellingATransferGivesItsShareToTheOthers) {
  Simulation simulation;
  SharedLink link(simulation, kByteEachNs);
  std::int64_t end = -1, cancelled_end = -1;
  Process process = transfer(simulation, link, ns(0), Bytes{1000}, cancelled_end);
  process.start(simulation);
  simulation.spawn(transfer(simulation, link, ns(0), Bytes{100}, end));
  simulation.run_until(ns(60));
  EXPECT_EQ(link.num_transfers(), 2u);
  process.cancel();  // 30 of the 100 bytes are there
  simulation.run();
  EXPECT_EQ(end, 130);
  EXPECT_EQ(cancelled_end, -1);
}

TEST(SharedLink, LargeTransfersOfManyDaysAreExactToo) {
  // Sizes below the limit of 2^40 bytes at a rate that shares no factor with 10^9, longer than the internal totals
  // could count without being taken back.
  const std::uint64_t size = (std::uint64_t{1} << 40) - 1;
  const std::uint64_t rate = 1'000'003;
  const auto ends = ends_of<SharedLink>(BytesPerSecond{static_cast<double>(rate)}, {{0, size},
                                                                                    {1, size},
                                                                                    {2, size},
                                                                                    {3, size},
                                                                                    {4, size},
                                                                                    {5, size},
                                                                                    {6, size},
                                                                                    {7, size},
                                                                                    {8, size},
                                                                                    {9, size},
                                                                                    {10, size},
                                                                                    {11, size / 2}});
  using boost::multiprecision::cpp_int;
  // The link never idles: the last byte of all comes after the sum of the sizes.
  const cpp_int total = cpp_int(size) * 11 + size / 2;
  const cpp_int last_end = (total * 1'000'000'000 + rate - 1) / rate;
  EXPECT_EQ(cpp_int(*std::max_element(ends.begin(), ends.end())), last_end);
}

TEST(SharedLink, MoreThanItsTotalsCanCountIsRefused) {
  Simulation simulation;
  SharedLink link(simulation, BytesPerSecond{1'000'003});
  EXPECT_THROW(static_cast<void>(link.transfer(Bytes{(std::uint64_t{1} << 40) + 1})), InvariantError);
  std::int64_t end = -1;
  for (int i = 0; i < 10'000; ++i)
    simulation.spawn(transfer(simulation, link, ns(0), Bytes{std::uint64_t{1} << 40}, end));
  EXPECT_THROW(simulation.run(), InvariantError);
  EXPECT_GT(link.num_transfers(), 1000u);
}

using boost::multiprecision::cpp_int;
using boost::multiprecision::cpp_rational;

/// Rounded up to whole nanoseconds.
std::int64_t round_up(const cpp_rational& time_ns) {
  return static_cast<std::int64_t>((numerator(time_ns) + denominator(time_ns) - 1) / denominator(time_ns));
}

/// Processor sharing in exact fractions, as the definition says.
std::vector<std::int64_t> exact_ends(std::uint64_t rate_bytes_per_s, const std::vector<Job>& jobs) {
  std::vector<std::int64_t> ends(jobs.size(), -1);
  std::vector<cpp_rational> left;
  for (const Job& job : jobs) left.emplace_back(cpp_int(job.size_bytes));
  const cpp_rational bytes_per_ns(cpp_int(rate_bytes_per_s), cpp_int(1'000'000'000));
  cpp_rational now = 0;
  for (;;) {
    std::vector<std::size_t> active;
    std::optional<cpp_rational> next;
    const auto consider = [&next](const cpp_rational& time) {
      if (!next || time < *next) next = time;
    };
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      if (ends[i] >= 0) continue;
      if (jobs[i].arrival_ns > now) {
        consider(jobs[i].arrival_ns);
      } else if (left[i] == 0) {
        ends[i] = round_up(now);
      } else {
        active.push_back(i);
      }
    }
    const cpp_rational share = active.empty() ? cpp_rational(0) : cpp_rational(bytes_per_ns / active.size());
    for (const std::size_t i : active) consider(now + left[i] / share);
    if (!next) return ends;
    for (const std::size_t i : active) left[i] -= share * (*next - now);
    now = *next;
  }
}

TEST(SharedLinkProperty, AgreesWithExactFractionsToTheNanosecond) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    RandomStream random(seed, 0, "shared link");
    const std::uint64_t rates[] = {1'000'000'000, 7'450'000'000, 6'900'000'001, 333'333'333, 3'000'000'000};
    const std::uint64_t rate = rates[random.below(5)];
    std::vector<Job> jobs;
    std::int64_t now = 0;
    for (int i = 0; i < 30; ++i) {
      now += static_cast<std::int64_t>(random.below(300));
      jobs.push_back({now, random.below(2000)});
    }
    EXPECT_EQ(ends_of<SharedLink>(BytesPerSecond{static_cast<double>(rate)}, jobs), exact_ends(rate, jobs))
        << "seed " << seed;
  }
}

TEST(SharedLinkProperty, ACrowdIsExactToo) {
  RandomStream random(1, 0, "crowd");
  std::vector<Job> jobs;
  for (int i = 0; i < 150; ++i) jobs.push_back({static_cast<std::int64_t>(random.below(500)), random.below(5000)});
  std::sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) { return a.arrival_ns < b.arrival_ns; });
  EXPECT_EQ(ends_of<SharedLink>(BytesPerSecond{7.45e9}, jobs), exact_ends(7'450'000'000, jobs));
}

TEST(SharedLinkProperty, ABusyPeriodBeyondTheRangeOfItsTotalsIsExact) {
  // The running total is taken back at 2^120 units, here 2^42 bytes or more per transfer. Each transfer may have 2^40,
  // so it takes a chain of them that overlap: one arrives about every 2^40 bytes of link time, and the link never
  // idles.
  const std::uint64_t rate = 1'000'003, size = (std::uint64_t{1} << 40) - 1;
  const std::int64_t link_time_ns = static_cast<std::int64_t>(size / rate) * 1'000'000'000;
  std::vector<Job> jobs = {{0, size}};
  for (std::int64_t i = 0; i < 40; ++i)
    jobs.push_back({i * link_time_ns + 1, size - 7 * static_cast<std::uint64_t>(i)});
  EXPECT_EQ(ends_of<SharedLink>(BytesPerSecond{static_cast<double>(rate)}, jobs), exact_ends(rate, jobs));
}

TEST(SharedLinkProperty, ALongBusyPeriodLosesNothing) {
  // Always 40 or more on the link; it never idles, so that the last byte comes when all bytes fit.
  constexpr int kNumJobs = 20'000;
  RandomStream random(1, 0, "long");
  std::vector<Job> jobs;
  std::uint64_t total_bytes = 0;
  for (int i = 0; i < kNumJobs; ++i) {
    jobs.push_back({i < 40 ? 0 : 10 * i, 1 + random.below(150)});
    if (i < 40) jobs.back().size_bytes += 5000;
    total_bytes += jobs.back().size_bytes;
  }
  const auto ends = ends_of<SharedLink>(BytesPerSecond{7.45e9}, jobs);
  EXPECT_EQ(*std::max_element(ends.begin(), ends.end()), static_cast<std::int64_t>((total_bytes * 20 + 148) / 149));
}

}  // namespace
}  // namespace reprefill::sim
