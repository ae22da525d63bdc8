// Ending a simulation at every point at which its processes can wait. Run under AddressSanitizer, which also finds
// leaks.
#include <functional>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "sim/events/combine.hpp"
#include "sim/events/fifo_link.hpp"
#include "sim/events/process.hpp"
#include "sim/events/resource.hpp"
#include "sim/events/shared_link.hpp"

namespace reprefill::sim {
namespace {

Nanoseconds ns(std::int64_t count) { return Nanoseconds{count}; }

/// Counts itself, and owns memory that a leak would lose.
class Alive {
 public:
  explicit Alive(int& num_alive) : num_alive_(&num_alive) { ++*num_alive_; }
  Alive(const Alive& other) : num_alive_(other.num_alive_) { ++*num_alive_; }
  Alive& operator=(const Alive&) = delete;
  ~Alive() { --*num_alive_; }

 private:
  int* num_alive_;
  std::unique_ptr<int> memory_ = std::make_unique<int>(1);
};

// Enough that processes which hold some while they wait for more cannot block each other.
constexpr std::uint64_t kBufferUnits = 12;

struct World {
  Resource server;
  Resource buffer;
  FifoLink fifo;
  SharedLink shared;
  int& num_alive;

  World(Simulation& simulation, int& count)
      : server(simulation, 1),
        buffer(simulation, kBufferUnits),
        fifo(simulation, BytesPerSecond{1e9}),
        shared(simulation, BytesPerSecond{1e9}),
        num_alive(count) {}
};

Process child(Simulation& simulation, World& world, Alive, int duration) {
  const Alive local(world.num_alive);
  co_await simulation.delay(ns(duration));
  const Lease lease = co_await world.buffer.acquire(2);
  co_await simulation.delay(ns(1));
}

Process throws_after(Simulation& simulation, World& world, int duration) {
  const Alive local(world.num_alive);
  co_await simulation.delay(ns(duration));
  throw std::runtime_error("expected");
}

/// Waits in every way there is.
Process everything(Simulation& simulation, World& world, int id) {
  const Alive local(world.num_alive);
  co_await simulation.delay(ns(id));
  {
    const Lease lease = co_await world.server.acquire();
    co_await world.fifo.transfer(Bytes{3});
    co_await world.shared.transfer(Bytes{7});
  }
  co_await child(simulation, world, Alive(world.num_alive), 2);
  Process background = child(simulation, world, Alive(world.num_alive), 4);
  background.start(simulation);
  simulation.spawn(child(simulation, world, Alive(world.num_alive), 30));
  auto leases = co_await all_of(simulation, world.buffer.acquire(1), world.server.acquire(), background.join());
  std::get<0>(leases).release();
  auto first = co_await any_of(simulation, world.shared.transfer(Bytes{20}), world.fifo.transfer(Bytes{8}),
                               child(simulation, world, Alive(world.num_alive), 3),
                               all_of(simulation, world.buffer.acquire(kBufferUnits), simulation.delay(ns(9))));
  std::get<1>(leases).release();
  std::vector<Process> several;
  for (int i = 0; i < 3; ++i) several.push_back(child(simulation, world, Alive(world.num_alive), i));
  co_await all_of(simulation, std::move(several));
  try {
    co_await any_of(simulation, simulation.delay(ns(5)), throws_after(simulation, world, 2));
  } catch (const std::runtime_error&) {}
  co_await simulation.delay(ns(0));
}

constexpr int kNumProcesses = 4;

/// How many steps a full run takes.
int num_steps_in_all() {
  int num_alive = 0, num_steps = 0;
  Simulation simulation;
  World world(simulation, num_alive);
  for (int id = 0; id < kNumProcesses; ++id) simulation.spawn(everything(simulation, world, id));
  while (simulation.step()) ++num_steps;
  EXPECT_EQ(num_alive, 0);
  EXPECT_EQ(world.server.num_free(), 1u);
  EXPECT_EQ(world.buffer.num_free(), kBufferUnits);
  return num_steps;
}

TEST(Teardown, TheFullRunEnds) { EXPECT_GT(num_steps_in_all(), 100); }

TEST(Teardown, OfTheSimulationAfterEveryStepLeaksNothing) {
  const int num_steps = num_steps_in_all();
  for (int end = 0; end <= num_steps; ++end) {
    int num_alive = 0;
    {
      Simulation simulation;  // outlives the world: resources and links go first
      World world(simulation, num_alive);
      for (int id = 0; id < kNumProcesses; ++id) simulation.spawn(everything(simulation, world, id));
      for (int i = 0; i < end; ++i) simulation.step();
      if (end < num_steps) {
        EXPECT_GT(num_alive + static_cast<int>(end < kNumProcesses), 0);
      }
    }
    ASSERT_EQ(num_alive, 0) << "after " << end << " steps";
  }
}

TEST(Teardown, ClearingAfterEveryStepGivesEverythingBack) {
  const int num_steps = num_steps_in_all();
  for (int end = 0; end <= num_steps; ++end) {
    int num_alive = 0;
    Simulation simulation;
    World world(simulation, num_alive);
    for (int id = 0; id < kNumProcesses; ++id) simulation.spawn(everything(simulation, world, id));
    for (int i = 0; i < end; ++i) simulation.step();
    simulation.clear();
    ASSERT_EQ(num_alive, 0) << "after " << end << " steps";
    EXPECT_EQ(world.server.num_free(), 1u);
    EXPECT_EQ(world.buffer.num_free(), kBufferUnits);
    EXPECT_EQ(world.server.num_waiting() + world.buffer.num_waiting(), 0u);
    EXPECT_EQ(world.fifo.num_transfers() + world.shared.num_transfers(), 0u);
    EXPECT_TRUE(simulation.empty());
    simulation.spawn(everything(simulation, world, 0));  // and it can go on
    simulation.run();
    ASSERT_EQ(num_alive, 0);
  }
}

TEST(Teardown, CancellingOneProcessAfterEveryStepLetsTheOthersFinish) {
  const int num_steps = num_steps_in_all();
  for (int victim = 0; victim < kNumProcesses; ++victim) {
    for (int end = 0; end <= num_steps; ++end) {
      int num_alive = 0;
      Simulation simulation;
      World world(simulation, num_alive);
      std::vector<Process> processes;
      for (int id = 0; id < kNumProcesses; ++id) {
        processes.push_back(everything(simulation, world, id));
        processes.back().start(simulation);
      }
      for (int i = 0; i < end; ++i) simulation.step();
      processes[static_cast<std::size_t>(victim)].cancel();
      simulation.run();
      for (int id = 0; id < kNumProcesses; ++id) {
        EXPECT_TRUE(id == victim || processes[static_cast<std::size_t>(id)].done()) << id << " of " << end;
      }
      processes.clear();
      ASSERT_EQ(num_alive, 0) << "victim " << victim << " after " << end << " steps";
      EXPECT_EQ(world.server.num_free(), 1u);
      EXPECT_EQ(world.buffer.num_free(), kBufferUnits);
      EXPECT_EQ(world.fifo.num_transfers() + world.shared.num_transfers(), 0u);
    }
  }
}

TEST(Teardown, AfterAnExceptionLeaksNothing) {
  int num_alive = 0;
  {
    Simulation simulation;
    World world(simulation, num_alive);
    for (int id = 0; id < kNumProcesses; ++id) simulation.spawn(everything(simulation, world, id));
    simulation.spawn(throws_after(simulation, world, 11));
    EXPECT_THROW(simulation.run(), std::runtime_error);
    EXPECT_GT(num_alive, 0);
  }
  EXPECT_EQ(num_alive, 0);
}

TEST(Teardown, ProcessesThatNeverStartedAreFreed) {
  int num_alive = 0;
  {
    Simulation simulation;
    World world(simulation, num_alive);
    const Process never = child(simulation, world, Alive(num_alive), 1);
    EXPECT_EQ(num_alive, 1);
    simulation.spawn(child(simulation, world, Alive(num_alive), 1));
  }
  EXPECT_EQ(num_alive, 0);
}

/// Its end starts another one.
class StartsAnother {
 public:
  StartsAnother(Simulation& simulation, World& world) : simulation_(simulation), world_(world) {}
  StartsAnother(const StartsAnother&) = delete;
  StartsAnother& operator=(const StartsAnother&) = delete;
  ~StartsAnother() { simulation_.spawn(child(simulation_, world_, Alive(world_.num_alive), 1)); }

 private:
  Simulation& simulation_;
  World& world_;
};

Process heir(Simulation& simulation, World& world) {
  const StartsAnother next(simulation, world);
  co_await simulation.delay(ns(100));
}

TEST(Teardown, WhatIsSpawnedDuringTeardownEndsToo) {
  int num_alive = 0;
  Simulation simulation;
  World world(simulation, num_alive);
  simulation.spawn(heir(simulation, world));
  simulation.run_until(ns(1));
  simulation.clear();
  EXPECT_EQ(num_alive, 0);
  EXPECT_TRUE(simulation.empty());
}

}  // namespace
}  // namespace reprefill::sim
