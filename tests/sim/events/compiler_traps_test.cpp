// What g++ 12.2 gets wrong or does unsafely with coroutines (docs/architecture.md), shown not to reach users of this
// API.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sim/events/combine.hpp"
#include "sim/events/fifo_link.hpp"
#include "sim/events/process.hpp"
#include "sim/events/resource.hpp"
#include "sim/events/shared_link.hpp"

namespace reprefill::sim {
namespace {

constexpr int kMillion = 1'000'000;
constexpr int kTenMillion = 10 * kMillion;
Nanoseconds ns(std::int64_t count) { return Nanoseconds{count}; }

// ---- A long loop of awaits that are complete already must not use the stack, under -O0 and sanitizers too.

Process nothing() { co_return; }

Process join_finished(const Process& finished, int count, int& num_done) {
  for (; num_done < count; ++num_done) co_await finished.join();
}

TEST(StackDepth, TenMillionJoinsOfAFinishedProcess) {
  Simulation simulation;
  Process finished = nothing();
  finished.start(simulation);
  simulation.run();
  int num_done = 0;
  simulation.spawn(join_finished(finished, kTenMillion, num_done));
  simulation.run();
  EXPECT_EQ(num_done, kTenMillion);
}

Process acquire_free(Resource& resource, int count, int& num_done) {
  for (; num_done < count; ++num_done) {
    const Lease lease = co_await resource.acquire();
  }
}

TEST(StackDepth, AMillionAcquisitionsOfAFreeResource) {
  Simulation simulation;
  Resource resource(simulation, 1);
  int num_done = 0;
  simulation.spawn(acquire_free(resource, kMillion, num_done));
  simulation.run();
  EXPECT_EQ(num_done, kMillion);
}

Process no_delays(Simulation& simulation, int count, int& num_done) {
  for (; num_done < count; ++num_done) co_await simulation.delay(ns(0));
}

TEST(StackDepth, TenMillionDelaysOfZero) {
  Simulation simulation;
  int num_done = 0;
  simulation.spawn(no_delays(simulation, kTenMillion, num_done));
  simulation.run();
  EXPECT_EQ(num_done, kTenMillion);
  EXPECT_EQ(simulation.now(), ns(0));
}

Process children(int count, int& num_done) {
  for (; num_done < count; ++num_done) co_await nothing();
}

TEST(StackDepth, ManyChildrenThatEndAtOnce) {
  Simulation simulation;
  int num_done = 0;
  simulation.spawn(children(300'000, num_done));
  simulation.run();
  EXPECT_EQ(num_done, 300'000);
}

Process races(Simulation& simulation, Resource& resource, int count, int& num_done) {
  for (; num_done < count; ++num_done) {
    co_await any_of(simulation, resource.acquire(), simulation.delay(ns(1)));
    co_await all_of(simulation, resource.acquire(), resource.acquire());
  }
}

TEST(StackDepth, ManyRacesThatAreWonAtOnce) {
  Simulation simulation;
  Resource resource(simulation, 2);
  int num_done = 0;
  simulation.spawn(races(simulation, resource, 100'000, num_done));
  simulation.run();
  EXPECT_EQ(num_done, 100'000);
  EXPECT_EQ(simulation.now(), ns(0));
}

Process chain(int depth, int& deepest) {
  deepest = depth;
  if (depth < 100'000) co_await chain(depth + 1, deepest);
}

TEST(StackDepth, AChainOfAHundredThousandProcessesThatWaitForEachOther) {
  Simulation simulation;
  int deepest = 0;
  Process root = chain(0, deepest);
  root.start(simulation);
  simulation.run();  // unwinds through the ready queue, one by one
  EXPECT_EQ(deepest, 100'000);
  EXPECT_TRUE(root.done());
}

// ---- g++ 12.2 destroys an aggregate temporary with a non-trivial member twice if it is part of a co_await expression.
// Our awaitables are classes with constructors, and arguments of such classes are safe. (A braced list for a
// std::vector inside a co_await expression is refused by g++ 12.2: "array used as initializer".)

struct Counts {
  int made = 0;
  int destroyed = 0;
};

class Tracked {
 public:
  explicit Tracked(Counts& counts) : counts_(&counts) { ++counts_->made; }
  Tracked(const Tracked& other) : counts_(other.counts_) { ++counts_->made; }
  Tracked(Tracked&& other) noexcept : counts_(other.counts_) { ++counts_->made; }
  Tracked& operator=(const Tracked&) = delete;
  ~Tracked() { ++counts_->destroyed; }

 private:
  Counts* counts_;
  std::string payload_ = "long enough not to fit into the string object itself";
};

/// An argument as users should write it: a class with a constructor.
class Request {
 public:
  Request(Tracked tracked, std::size_t size) : tracked_(std::move(tracked)), list_(size) {}
  std::size_t size() const { return list_.size(); }

 private:
  Tracked tracked_;
  std::vector<int> list_;
};

Process takes_by_value(Simulation& simulation, Request request, std::size_t& seen) {
  co_await simulation.delay(ns(1));
  seen = request.size();
}

Process takes_by_reference(Simulation& simulation, const Request& request, std::size_t& seen) {
  co_await simulation.delay(ns(1));
  seen = request.size();
}

Nanoseconds duration_of(const Request& request) { return ns(static_cast<std::int64_t>(request.size())); }

using Body = Process (*)(Simulation&, Resource&, Counts&, std::size_t&);

Process temporaries_as_arguments(Simulation& simulation, Resource&, Counts& counts, std::size_t& seen) {
  co_await takes_by_value(simulation, Request(Tracked(counts), 3), seen);
}
Process temporaries_by_reference(Simulation& simulation, Resource&, Counts& counts, std::size_t& seen) {
  co_await takes_by_reference(simulation, Request(Tracked(counts), 3), seen);
}
Process temporaries_beside_an_awaitable(Simulation& simulation, Resource&, Counts& counts, std::size_t& seen) {
  co_await simulation.delay(duration_of(Request(Tracked(counts), 3)));
  seen = static_cast<std::size_t>(simulation.now().value);
}
Process temporaries_in_combinations(Simulation& simulation, Resource& resource, Counts& counts, std::size_t& seen) {
  std::size_t other = 0;
  auto results = co_await all_of(simulation, takes_by_value(simulation, Request(Tracked(counts), 3), seen),
                                 resource.acquire(duration_of(Request(Tracked(counts), 2)).value),
                                 takes_by_reference(simulation, Request(Tracked(counts), 1), other));
  EXPECT_EQ(std::get<1>(results).units(), 2u);
  co_await any_of(simulation, takes_by_value(simulation, Request(Tracked(counts), 1), other),
                  simulation.delay(duration_of(Request(Tracked(counts), 0))));
}
Process results_used_at_once(Simulation& simulation, Resource& resource, Counts& counts, std::size_t& seen) {
  const Tracked tracked(counts);
  seen = (co_await resource.acquire(2)).units() + (co_await resource.acquire(1)).units();
  if ((co_await any_of(simulation, resource.acquire(3), simulation.delay(ns(1)))).index() != 0) seen = 0;
}

class Temporaries : public ::testing::TestWithParam<Body> {};

TEST_P(Temporaries, AreDestroyedExactlyOnce) {
  Counts counts;
  std::size_t seen = 0;
  Simulation simulation;
  Resource resource(simulation, 3);
  simulation.spawn(GetParam()(simulation, resource, counts, seen));
  simulation.run();
  EXPECT_EQ(seen, 3u);
  EXPECT_GT(counts.made, 0);
  EXPECT_EQ(counts.made, counts.destroyed);
  EXPECT_EQ(resource.num_free(), 3u);
}

TEST_P(Temporaries, AreDestroyedExactlyOnceWhenTheProcessIsCancelled) {
  for (int num_steps = 0; num_steps < 20; ++num_steps) {
    Counts counts;
    std::size_t seen = 0;
    {
      Simulation simulation;
      Resource resource(simulation, 3);
      Process process = GetParam()(simulation, resource, counts, seen);
      process.start(simulation);
      for (int i = 0; i < num_steps; ++i) simulation.step();
      process.cancel();
      EXPECT_EQ(resource.num_free(), 3u);
      EXPECT_TRUE(simulation.empty());
    }
    EXPECT_EQ(counts.made, counts.destroyed) << "after " << num_steps << " steps";
  }
}

INSTANTIATE_TEST_SUITE_P(All, Temporaries,
                         ::testing::Values(temporaries_as_arguments, temporaries_by_reference,
                                           temporaries_beside_an_awaitable, temporaries_in_combinations,
                                           results_used_at_once));

}  // namespace
}  // namespace reprefill::sim
