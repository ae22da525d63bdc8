// Waiting for several things at once.
#pragma once

#include <utility>
#include <vector>

#include "sim/events/branch.hpp"
#include "sim/events/process.hpp"

namespace reprefill::sim {

/// Waits until each of them is done:
///
///   auto [lease, nothing] = co_await all_of(simulation, buffer.acquire(3), simulation.delay(Nanoseconds{10}));
///
/// Takes anything that a process can await, processes included (not started ones are started), and owns it. Gives their
/// results as a tuple, std::monostate for void. The first exception cancels the others and is rethrown at once.
template <typename... Awaitables>
auto all_of(Simulation& simulation, Awaitables... awaitables) {
  using Branches = detail::FixedBranches<detail::AwaitedValue<Awaitables>...>;
  using Awaiter = detail::AllOf<detail::AwaitedValue<Awaitables>...>;
  return detail::Combination<Awaiter, Branches>(simulation, Branches(detail::run_branch(std::move(awaitables))...));
}

/// Waits until the first of them is done, and cancels the others at that moment. Of a tie, the one wins that was
/// scheduled first. Gives a variant: `index()` says which one, `std::get<I>` what it gave (std::monostate for void). An
/// exception counts as being done, and is rethrown.
///
/// Processes given by value are owned, hence ended when they lose; `process.join()` only stops waiting for it.
template <typename... Awaitables>
auto any_of(Simulation& simulation, Awaitables... awaitables) {
  static_assert(sizeof...(Awaitables) > 0, "any of nothing never happens");
  using Branches = detail::FixedBranches<detail::AwaitedValue<Awaitables>...>;
  using Awaiter = detail::AnyOf<detail::AwaitedValue<Awaitables>...>;
  return detail::Combination<Awaiter, Branches>(simulation, Branches(detail::run_branch(std::move(awaitables))...));
}

/// For a number of processes that is known at run time only; none at all is done at once.
inline auto all_of(Simulation& simulation, std::vector<Process> processes) {
  return detail::Combination<detail::AllOfProcesses, detail::ProcessBranches>(
      simulation, detail::ProcessBranches(std::move(processes)));
}

/// Gives the index of the first that is done; none at all is an InvariantError.
inline auto any_of(Simulation& simulation, std::vector<Process> processes) {
  REPREFILL_CHECK(!processes.empty(), "any of no processes never happens");
  return detail::Combination<detail::AnyOfProcesses, detail::ProcessBranches>(
      simulation, detail::ProcessBranches(std::move(processes)));
}

}  // namespace reprefill::sim
