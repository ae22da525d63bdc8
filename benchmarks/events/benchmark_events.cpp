// How many events per second the kernel fires, beside what a bare std::priority_queue does with as many entries.
//
//   benchmark_events --ratio [repetitions]   alternates the two and prints the median ratios (design 10)
//   benchmark_events [Google Benchmark options]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <queue>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "core/base/random.hpp"
#include "sim/events/process.hpp"
#include "sim/events/resource.hpp"

namespace reprefill::sim {
namespace {

constexpr double kMeanServiceNs = 1e6;
constexpr double kUtilisation = 0.9;
constexpr int kNumCustomers = 1'000'000;
constexpr int kNumHolders = 1024;

class Exponential {
 public:
  explicit Exponential(double mean_ns) : rate_(1 / mean_ns), stream_(1, 0, "benchmark") {}
  Nanoseconds operator()() { return Nanoseconds{static_cast<std::int64_t>(stream_.exponential(rate_))}; }

 private:
  double rate_;
  RandomStream stream_;
};

// ---- The kernel. Each function returns the number of timed events.

Process customer(Simulation& simulation, Resource& server, Exponential& service_time) {
  const Lease lease = co_await server.acquire();
  co_await simulation.delay(service_time());
}

Process arrivals(Simulation& simulation, Resource& server, Exponential& gap, Exponential& service_time, int count) {
  for (int i = 0; i < count; ++i) {
    co_await simulation.delay(gap());
    simulation.spawn(customer(simulation, server, service_time));
  }
}

/// M/M/1 with a process for each customer.
std::uint64_t run_mm1(int num_customers) {
  Simulation simulation;
  Resource server(simulation, 1);
  Exponential gap(kMeanServiceNs / kUtilisation);
  Exponential service_time(kMeanServiceNs);
  simulation.spawn(arrivals(simulation, server, gap, service_time, num_customers));
  simulation.run();
  return simulation.num_timed_events();
}

Process holder(Simulation& simulation, Exponential& duration, int count) {
  for (int i = 0; i < count; ++i) co_await simulation.delay(duration());
}

std::uint64_t run_holders(int num_holders, int holds_each) {
  Simulation simulation;
  Exponential duration(kMeanServiceNs);
  for (int i = 0; i < num_holders; ++i) simulation.spawn(holder(simulation, duration, holds_each));
  simulation.run();
  return simulation.num_timed_events();
}

// ---- The yardstick: pop the earliest, push it again an exponential time later.

/// Nothing but a time.
struct BareTime {
  std::int64_t time_ns;
  std::uint64_t sequence() const { return 0; }
  static BareTime make(std::int64_t time_ns, std::uint64_t) { return {time_ns}; }
  bool operator>(const BareTime& other) const { return time_ns > other.time_ns; }
};

/// What a deterministic simulator needs: a tie broken by sequence, and what to do.
struct BareEvent {
  std::int64_t time_ns;
  std::uint64_t sequence;
  void* target;
  static BareEvent make(std::int64_t time_ns, std::uint64_t sequence) { return {time_ns, sequence, nullptr}; }
  bool operator>(const BareEvent& other) const {
    return time_ns != other.time_ns ? time_ns > other.time_ns : sequence > other.sequence;
  }
};

/// Returns the number of pop+push pairs.
template <typename Entry>
std::uint64_t run_hold_model(int num_entries, std::uint64_t num_pairs) {
  Exponential duration(kMeanServiceNs);
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  std::uint64_t sequence = 0;
  for (int i = 0; i < num_entries; ++i) queue.push(Entry::make(duration().value, sequence++));
  for (std::uint64_t i = 0; i < num_pairs; ++i) {
    const std::int64_t now = queue.top().time_ns;
    queue.pop();
    queue.push(Entry::make(now + duration().value, sequence++));
  }
  benchmark::DoNotOptimize(queue.top().time_ns);
  return num_pairs;
}

// ---- Google Benchmark

template <typename Run>
void report(benchmark::State& state, const Run& run) {
  std::uint64_t events = 0;
  for (auto _ : state) events += run();
  state.SetItemsProcessed(static_cast<std::int64_t>(events));
}

constexpr std::uint64_t kNumPairs = 2 * kNumCustomers;

void BM_MM1ProcessPerCustomer(benchmark::State& state) {
  report(state, [] { return run_mm1(kNumCustomers); });
}
void BM_HoldingProcesses(benchmark::State& state) {
  const auto count = static_cast<int>(state.range(0));
  report(state, [count] { return run_holders(count, static_cast<int>(kNumPairs) / count); });
}
void BM_PriorityQueueOfEvents(benchmark::State& state) {
  report(state, [&state] { return run_hold_model<BareEvent>(static_cast<int>(state.range(0)), kNumPairs); });
}
void BM_PriorityQueueOfTimes(benchmark::State& state) {
  report(state, [&state] { return run_hold_model<BareTime>(static_cast<int>(state.range(0)), kNumPairs); });
}
BENCHMARK(BM_MM1ProcessPerCustomer)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_HoldingProcesses)->Arg(8)->Arg(kNumHolders)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_PriorityQueueOfEvents)->Arg(8)->Arg(kNumHolders)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_PriorityQueueOfTimes)->Arg(8)->Arg(kNumHolders)->Unit(benchmark::kMillisecond);

// ---- Ratios

template <typename Run>
double per_second(const Run& run) {
  const auto start = std::chrono::steady_clock::now();
  const std::uint64_t events = run();
  return static_cast<double>(events) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Alternates kernel and yardstick, because the machine's speed drifts; the ratio is taken within each repetition.
template <typename Kernel, typename Yardstick>
void print_ratio(std::string_view what, double budget, int repetitions, const Kernel& kernel,
                 const Yardstick& yardstick) {
  std::vector<double> kernel_rates, yardstick_rates, ratios;
  for (int i = 0; i < repetitions; ++i) {
    kernel_rates.push_back(per_second(kernel));
    yardstick_rates.push_back(per_second(yardstick));
    ratios.push_back(kernel_rates.back() / yardstick_rates.back());
  }
  fmt::print("{:<58} {:6.2f} M events/s / {:6.2f} M pairs/s = {:.3f} (min {:.3f}, max {:.3f}; budget {:.1f})\n", what,
             median(kernel_rates) / 1e6, median(yardstick_rates) / 1e6, median(ratios),
             *std::min_element(ratios.begin(), ratios.end()), *std::max_element(ratios.begin(), ratios.end()), budget);
}

void print_ratios(int repetitions) {
  const auto mm1 = [] { return run_mm1(kNumCustomers); };
  const auto holders = [] { return run_holders(kNumHolders, static_cast<int>(kNumPairs) / kNumHolders); };
  print_ratio("M/M/1, 10^6 customers, over 8-entry heap of events", 0.6, repetitions, mm1,
              [] { return run_hold_model<BareEvent>(8, kNumPairs); });
  print_ratio("M/M/1, 10^6 customers, over 8-entry heap of bare times", 0.6, repetitions, mm1,
              [] { return run_hold_model<BareTime>(8, kNumPairs); });
  print_ratio("1,024 holding processes, over 1,024-entry heap of events", 0.5, repetitions, holders,
              [] { return run_hold_model<BareEvent>(kNumHolders, kNumPairs); });
  print_ratio("1,024 holding processes, over 1,024-entry heap of bare times", 0.5, repetitions, holders,
              [] { return run_hold_model<BareTime>(kNumHolders, kNumPairs); });
}

}  // namespace
}  // namespace reprefill::sim

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--ratio") {
    reprefill::sim::print_ratios(argc > 2 ? std::max(1, std::atoi(argv[2])) : 9);
    return 0;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
