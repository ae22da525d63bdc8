// What holds for any mix of requests, and equality with a second, plainer model of the drive.
#include <algorithm>
#include <deque>
#include <optional>

#include "core/base/random.hpp"
#include "tests/sim/devices/ssd_fixture.hpp"

namespace reprefill::sim {
namespace {

struct Arrival {
  std::int64_t time;
  SsdQueue queue;
  std::uint64_t bytes;
};

struct Times {
  std::int64_t started = -1;
  std::int64_t done = -1;
  bool operator==(const Times&) const = default;
};
void PrintTo(const Times& times, std::ostream* out) { *out << times.started << " to " << times.done; }

struct Drive {
  SsdProfile profile = plain_ssd();
  std::uint32_t queue_depth = 1;
  std::int64_t submission_cost = 0;
};

/// The drive nanosecond by nanosecond: tables and loops, no events.
std::vector<Times> by_the_nanosecond(const Drive& drive, const std::vector<Arrival>& arrivals) {
  std::vector<Times> times(arrivals.size());
  std::deque<std::size_t> queues[kNumSsdQueues];
  std::vector<std::pair<std::int64_t, std::size_t>> waiting_for_first_byte;  // in order of submission
  std::deque<std::size_t> transfers;
  std::vector<std::int64_t> channel_free(drive.profile.num_channels, 0);
  std::int64_t submission_free = 0, transfer_ends = -1;
  std::size_t arrived = 0, num_done = 0;
  std::uint32_t in_flight = 0, writes = 0;

  const auto is_write = [&](std::size_t i) { return arrivals[i].queue == SsdQueue::write; };
  const auto start_transfer = [&](std::int64_t now) {
    const std::size_t i = transfers.front();
    const bool mixed = writes > 0 && writes < in_flight;
    const auto plain = static_cast<double>(arrivals[i].bytes * (is_write(i) ? 2 : 1));
    transfer_ends = now + static_cast<std::int64_t>(std::ceil(plain * (mixed ? drive.profile.mixed_slowdown : 1)));
  };
  const auto submit_what_fits = [&](std::int64_t now) {
    while (in_flight < drive.queue_depth) {
      const auto queue = std::find_if(std::begin(queues), std::end(queues), [](const auto& q) { return !q.empty(); });
      if (queue == std::end(queues)) return;
      const std::size_t i = queue->front();
      queue->pop_front();
      ++in_flight;
      writes += is_write(i);
      times[i].started = now;
      submission_free = std::max(submission_free, now) + drive.submission_cost;
      const auto channel = std::min_element(channel_free.begin(), channel_free.end());
      *channel = std::max(*channel, submission_free) + (is_write(i) ? 400 : 1000);
      waiting_for_first_byte.emplace_back(*channel, i);
    }
  };
  for (std::int64_t now = 0; num_done < arrivals.size(); ++now) {
    if (transfer_ends == now) {
      const std::size_t i = transfers.front();
      transfers.pop_front();
      --in_flight;
      writes -= is_write(i);
      if (!transfers.empty()) start_transfer(now);
      times[i].done = now;
      ++num_done;
      submit_what_fits(now);
    }
    for (std::size_t k = 0; k < waiting_for_first_byte.size();) {
      if (waiting_for_first_byte[k].first != now) {
        ++k;
        continue;
      }
      transfers.push_back(waiting_for_first_byte[k].second);
      waiting_for_first_byte.erase(waiting_for_first_byte.begin() + static_cast<std::ptrdiff_t>(k));
      if (transfers.size() == 1) start_transfer(now);
    }
    for (; arrived < arrivals.size() && arrivals[arrived].time == now; ++arrived) {
      queues[static_cast<std::size_t>(arrivals[arrived].queue)].push_back(arrived);
      submit_what_fits(now);
    }
  }
  return times;
}

class SsdProperty : public SsdTest {
 protected:
  static std::vector<Times> simulate(const Drive& drive, const std::vector<Arrival>& arrivals,
                                     std::uint64_t* most_in_flight = nullptr) {
    Simulation own;
    Interference alone(own, {});
    HostProfile host;
    host.submission_cost = Nanoseconds{drive.submission_cost};
    Ssd ssd(alone, drive.profile, host, plain_path(drive.queue_depth), Noise());
    std::vector<Client> clients(arrivals.size(), Client(own));
    for (std::size_t i = 0; i < arrivals.size(); ++i) {
      own.run_until(Nanoseconds{arrivals[i].time});
      submit(ssd, arrivals[i].queue, clients[i], arrivals[i].bytes);
      if (most_in_flight) *most_in_flight = std::max(*most_in_flight, ssd.num_in_flight());
    }
    own.run();
    std::vector<Times> times;
    for (const Client& one : clients) times.push_back({one.started.at(0), one.done.at(0)});
    return times;
  }

  static std::vector<Arrival> random_arrivals(RandomStream& random, std::uint64_t pause, std::uint64_t queues) {
    std::vector<Arrival> arrivals;
    std::int64_t now = 0;
    for (int i = 0; i < 60; ++i) {
      now += static_cast<std::int64_t>(random.below(pause));
      arrivals.push_back({now, static_cast<SsdQueue>(random.below(queues)), 1 + random.below(900)});
    }
    return arrivals;
  }
};

TEST_F(SsdProperty, EqualsADriveThatGoesByTheNanosecond) {
  RandomStream random(7, 0, "ssd");
  for (int round = 0; round < 150; ++round) {
    Drive drive;
    drive.queue_depth = static_cast<std::uint32_t>(1 + random.below(6));
    drive.submission_cost = static_cast<std::int64_t>(random.below(2) * random.below(300));
    drive.profile.num_channels = static_cast<std::uint32_t>(1 + random.below(4));
    drive.profile.mixed_slowdown = 1 + 0.5 * static_cast<double>(random.below(3));
    // A third of the rounds submits everything at time 0.
    const std::vector<Arrival> arrivals = random_arrivals(random, 1 + random.below(3) * 800, 3);
    EXPECT_EQ(simulate(drive, arrivals), by_the_nanosecond(drive, arrivals)) << "round " << round;
  }
}

TEST_F(SsdProperty, NothingIsFasterThanTheDriveOrOvertakesInItsQueue) {
  RandomStream random(8, 0, "ssd");
  for (int round = 0; round < 200; ++round) {
    Drive drive;
    drive.queue_depth = static_cast<std::uint32_t>(1 + random.below(16));
    const std::vector<Arrival> arrivals = random_arrivals(random, 1 + random.below(1500), 3);
    std::uint64_t most_in_flight = 0;
    const std::vector<Times> times = simulate(drive, arrivals, &most_in_flight);
    EXPECT_LE(most_in_flight, drive.queue_depth);
    std::int64_t transfer = 0;
    std::int64_t last_start[kNumSsdQueues] = {-1, -1, -1};
    for (std::size_t i = 0; i < times.size(); ++i) {
      const bool write = arrivals[i].queue == SsdQueue::write;
      const std::int64_t alone = static_cast<std::int64_t>(arrivals[i].bytes) * (write ? 2 : 1);
      transfer += alone;
      EXPECT_GE(times[i].started, arrivals[i].time);
      EXPECT_GE(times[i].done - times[i].started, (write ? 400 : 1000) + alone);
      std::int64_t& previous = last_start[static_cast<std::size_t>(arrivals[i].queue)];
      EXPECT_GE(times[i].started, previous);
      previous = times[i].started;
    }
    const auto last =
        std::max_element(times.begin(), times.end(), [](const Times& a, const Times& b) { return a.done < b.done; });
    EXPECT_GE(last->done, arrivals.front().time + 400 + transfer);
  }
}

TEST_F(SsdProperty, ReadsAloneAreNeverSlowerOnAFasterDrive) {
  RandomStream random(9, 0, "ssd");
  for (int round = 0; round < 100; ++round) {
    const std::vector<Arrival> arrivals = random_arrivals(random, 1 + random.below(1500), 1);
    Drive slow;
    slow.queue_depth = static_cast<std::uint32_t>(1 + random.below(8));
    Drive fast = slow;
    fast.profile.read_bandwidth = BytesPerSecond{1.7e9};
    fast.profile.read_latency = Nanoseconds{700};
    const std::vector<Times> slow_times = simulate(slow, arrivals), fast_times = simulate(fast, arrivals);
    for (std::size_t i = 0; i < arrivals.size(); ++i) EXPECT_LE(fast_times[i].done, slow_times[i].done);
  }
}

}  // namespace
}  // namespace reprefill::sim
