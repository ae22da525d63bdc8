// Dependencies, completion and coroutines of a machine, without any device.
#include "core/pipeline/machine_core.hpp"

#include <gmock/gmock.h>

#include "core/pipeline/task.hpp"
#include "tests/core/pipeline/toy_machine.hpp"

namespace reprefill::pipeline {
namespace {

using test_support::ToyMachine;
using testing::ElementsAre;
using testing::IsEmpty;

// ---- dependencies ----

TEST(MachineCore, AnOperationWithoutDependenciesBeginsAtOnce) {
  ToyMachine machine;
  const Op op = machine.work();
  EXPECT_TRUE(machine.has_begun(op));
  EXPECT_FALSE(op->done());
  machine.finish(op);
  EXPECT_TRUE(op->done());
  EXPECT_EQ(machine.num_unfinished(), 0u);
}

TEST(MachineCore, AnOperationBeginsWhenItsLastDependencyIsDone) {
  ToyMachine machine;
  const Op a = machine.work(), b = machine.work();
  const Op both = machine.work({a, b});
  machine.finish(a);
  EXPECT_FALSE(machine.has_begun(both));
  machine.finish(b);
  EXPECT_TRUE(machine.has_begun(both));
}

TEST(MachineCore, FinishedAndNullDependenciesCostNothing) {
  ToyMachine machine;
  const Op done = machine.work();
  Deps named_before(done);  // was unfinished when it was named
  machine.finish(done);
  const Deps deps{done, nullptr, Op()};
  EXPECT_EQ(deps.begin(), deps.end());
  EXPECT_TRUE(machine.has_begun(machine.work(deps)));
  EXPECT_TRUE(machine.has_begun(machine.work(named_before)));
}

TEST(MachineCore, ADependencyNamedTwiceIsStillOne) {
  ToyMachine machine;
  const Op a = machine.work();
  const Op b = machine.work({a, a});
  machine.finish(a);
  EXPECT_TRUE(machine.has_begun(b));
  EXPECT_EQ(std::count(machine.begun().begin(), machine.begun().end(), b.get()), 1);
}

TEST(MachineCore, ADiamondBeginsItsEndOnce) {
  ToyMachine machine;
  const Op top = machine.work();
  const Op left = machine.work(top), right = machine.work(top);
  const Op bottom = machine.work({left, right});
  EXPECT_THAT(machine.begun(), ElementsAre(top.get()));
  machine.finish(top);
  EXPECT_THAT(machine.begun(), ElementsAre(left.get(), right.get())) << "dependents begin in the order of issue";
  machine.finish(right);
  EXPECT_FALSE(machine.has_begun(bottom));
  machine.finish(left);
  EXPECT_THAT(machine.begun(), ElementsAre(bottom.get()));
}

TEST(MachineCore, ManyLayersOfDiamondsRunInAnyOrderOfCompletion) {
  ToyMachine machine;
  Deps before;
  std::vector<Op> ends;
  for (int layer = 0; layer < 100; ++layer) {
    const Op a = machine.work(before), b = machine.work(before), c = machine.work({a, b});
    before = Deps(c);
    ends.push_back(c);
  }
  while (!machine.begun().empty()) machine.finish(*machine.begun().back());
  EXPECT_TRUE(ends.back()->done());
  EXPECT_EQ(machine.num_unfinished(), 0u);
}

TEST(MachineCore, CompletingTwiceIsRefused) {
  ToyMachine machine;
  const Op op = machine.work();
  machine.finish(op);
  EXPECT_THROW(machine.finish(op), InvariantError);
}

TEST(MachineCore, KeepsWhatAPipelineLetsGoOfUntilItIsDone) {
  int num_alive = 0;
  ToyMachine machine(&num_alive);
  machine.work(machine.work());
  EXPECT_EQ(num_alive, 2);
  machine.finish(*machine.begun().front());
  EXPECT_EQ(num_alive, 1);
  machine.finish(*machine.begun().front());
  EXPECT_EQ(num_alive, 0);
}

TEST(MachineCore, LetsGoOfUnfinishedOperationsWhenItIsDestroyed) {
  int num_alive = 0;
  Op kept;
  {
    ToyMachine machine(&num_alive);
    kept = machine.work();
    const Op b = machine.work(kept);
    machine.work({kept, b});
    machine.work(b);
    EXPECT_EQ(num_alive, 4);
  }
  EXPECT_EQ(num_alive, 1) << "the one that is still held";
  EXPECT_FALSE(kept->done());
  kept = nullptr;
  EXPECT_EQ(num_alive, 0);
}

// ---- coroutines ----

struct Progress {
  std::vector<int> steps;
};

Task wait_for(Op op, Progress& progress, int name) {
  co_await op;
  progress.steps.push_back(name);
}

TEST(Task, ResumesFromTheReadyQueueAndNotInsideACompletion) {
  ToyMachine machine;
  Progress progress;
  const Op op = machine.work();
  Task task = wait_for(op, progress, 1);
  task.start();
  machine.finish(op);
  EXPECT_THAT(progress.steps, IsEmpty());
  EXPECT_TRUE(machine.has_ready());
  machine.resume_ready();
  EXPECT_THAT(progress.steps, ElementsAre(1));
  EXPECT_TRUE(task.done());
  EXPECT_FALSE(machine.has_ready());
}

TEST(Task, ResumesInTheOrderOfCompletion) {
  ToyMachine machine;
  Progress progress;
  const Op a = machine.work(), b = machine.work();
  Task first = wait_for(a, progress, 1), second = wait_for(b, progress, 2);
  first.start();
  second.start();
  machine.finish(b);
  machine.finish(a);
  machine.resume_ready();
  EXPECT_THAT(progress.steps, ElementsAre(2, 1));
}

TEST(Task, AnOperationHasOneWaiterAtMost) {
  ToyMachine machine;
  Progress progress;
  const Op op = machine.work();
  Task first = wait_for(op, progress, 1), second = wait_for(op, progress, 2);
  first.start();
  second.start();
  EXPECT_TRUE(second.done());
  EXPECT_THROW(second.check(), InvariantError);
}

TEST(Task, AnAwaitOfAFinishedOperationDoesNotSuspend) {
  ToyMachine machine;
  Progress progress;
  const Op op = machine.work();
  machine.finish(op);
  Task task = wait_for(op, progress, 1);
  task.start();
  EXPECT_TRUE(task.done());
}

TEST(Task, DestroyedWhileItWaitsIsNotResumed) {
  ToyMachine machine;
  Progress progress;
  const Op op = machine.work();
  {
    Task task = wait_for(op, progress, 1);
    task.start();
  }
  machine.finish(op);
  machine.resume_ready();
  EXPECT_THAT(progress.steps, IsEmpty());
}

TEST(Task, DestroyedBetweenCompletionAndResumptionIsNotResumed) {
  int num_alive = 0;
  ToyMachine machine(&num_alive);
  Progress progress;
  {
    Op op = machine.work();
    Task task = wait_for(op, progress, 1);
    task.start();
    machine.finish(op);
  }
  EXPECT_TRUE(machine.has_ready());
  machine.resume_ready();
  EXPECT_THAT(progress.steps, IsEmpty());
  EXPECT_EQ(num_alive, 0);
}

TEST(Task, MayOutliveItsMachine) {
  int num_alive = 0;
  Progress progress;
  auto machine = std::make_unique<ToyMachine>(&num_alive);
  Task task = wait_for(machine->work(), progress, 1);
  task.start();
  machine.reset();
  EXPECT_EQ(num_alive, 1) << "what the coroutine waits for";
  task = Task();
  EXPECT_EQ(num_alive, 0);
}

Task fail_after(Op op) {
  co_await op;
  throw ConfigError("no such thing");
}

TEST(Task, RethrowsWhatItsCoroutineThrew) {
  ToyMachine machine;
  const Op op = machine.work();
  Task task = fail_after(op);
  task.start();
  task.check();
  machine.finish(op);
  machine.resume_ready();
  EXPECT_TRUE(task.done());
  EXPECT_THROW(task.check(), ConfigError);
}

Task issue_and_wait(ToyMachine& machine, int count, int& num_done) {
  for (int i = 0; i < count; ++i) {
    const Op op = machine.work();
    co_await op;
    ++num_done;
  }
}

TEST(Task, ResumedOneIssuesItsNextOperationInTheSameRound) {
  ToyMachine machine;
  int num_done = 0;
  Task task = issue_and_wait(machine, 3, num_done);
  task.start();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(num_done, i);
    ASSERT_EQ(machine.begun().size(), 1u);
    machine.finish(*machine.begun().front());
    machine.resume_ready();
  }
  EXPECT_TRUE(task.done());
}

// ---- compiler traps (design 4) ----

Task wait_often(Op op, std::uint64_t count, std::uint64_t& num_done) {
  for (std::uint64_t i = 0; i < count; ++i) {
    co_await op;
    ++num_done;
  }
}

TEST(CompilerTraps, TenMillionAwaitsOfAFinishedOperationDoNotGrowTheStack) {
  ToyMachine machine;
  const Op op = machine.work();
  machine.finish(op);
  std::uint64_t num_done = 0;
  Task task = wait_often(op, 10'000'000, num_done);
  task.start();
  EXPECT_TRUE(task.done());
  EXPECT_EQ(num_done, 10'000'000u);
}

TEST(CompilerTraps, LongChainsOfSuspendedAwaitsDoNotGrowTheStack) {
  ToyMachine machine;
  int num_done = 0;
  Task task = issue_and_wait(machine, 300'000, num_done);
  task.start();
  while (!task.done()) {
    machine.finish(*machine.begun().front());
    machine.resume_ready();
  }
  EXPECT_EQ(num_done, 300'000);
}

struct Counted {
  explicit Counted(int& count) : num_alive(&count) { ++*num_alive; }
  Counted(const Counted& other) : num_alive(other.num_alive) { ++*num_alive; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --*num_alive; }
  int* num_alive;
};

/// What pipelines do: arguments with destructors to a call, its result named, the name awaited.
Task await_named(ToyMachine& machine, int& num_alive, int& most_alive) {
  const Counted mine(num_alive);
  const auto issue = [&](Counted argument, const Deps& deps) {
    most_alive = std::max(most_alive, *argument.num_alive);
    return machine.work(deps);
  };
  const Op first = issue(Counted(num_alive), Deps());
  const Op second = issue(mine, Deps{first, Op(first)});
  co_await second;
  const SelectOp chosen = machine.select({}, machine.score({}, Request{}, {}, second), {});
  co_await Op(chosen);  // systems write it so
}

TEST(CompilerTraps, EveryObjectAroundAnAwaitIsDestroyedOnce) {
  // g++ 12.2 destroys an aggregate temporary inside a co_await expression twice; the count would go below zero.
  int num_objects = 0, most = 0, num_operations = 0;
  {
    ToyMachine machine(&num_operations);
    Task task = await_named(machine, num_objects, most);
    task.start();
    while (!task.done()) {
      machine.finish(*machine.begun().front());
      machine.resume_ready();
    }
    task.check();
    EXPECT_EQ(num_objects, 0);
    EXPECT_EQ(most, 2);
    EXPECT_EQ(machine.num_unfinished(), 0u);
  }
  EXPECT_EQ(num_operations, 0);
}

TEST(CompilerTraps, ATaskDestroyedAtEachOfItsAwaitsDestroysItsObjectsOnce) {
  for (int num_finished = 0; num_finished < 4; ++num_finished) {
    int num_objects = 0, most = 0, num_operations = 0;
    {
      ToyMachine machine(&num_operations);
      Task task = await_named(machine, num_objects, most);
      task.start();
      for (int i = 0; i < num_finished && !machine.begun().empty(); ++i) {
        machine.finish(*machine.begun().front());
        machine.resume_ready();
      }
    }
    EXPECT_EQ(num_objects, 0);
    EXPECT_EQ(num_operations, 0);
  }
}

}  // namespace
}  // namespace reprefill::pipeline
