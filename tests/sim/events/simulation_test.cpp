#include "sim/events/simulation.hpp"

#include "sim/events/combine.hpp"
#include "sim/events/fifo_link.hpp"
#include "sim/events/process.hpp"
#include "sim/events/resource.hpp"
#include "sim/events/shared_link.hpp"

#include <gtest/gtest.h>

namespace reprefill::sim {
namespace {

Process customer(Simulation& simulation, Resource& server, std::vector<std::int64_t>& log) {
  auto result = co_await any_of(simulation, server.acquire(), simulation.delay(Nanoseconds{5}));
  if (result.index() == 1) { log.push_back(-simulation.now().value); co_return; }
  const Lease lease = std::get<0>(std::move(result));
  co_await simulation.delay(Nanoseconds{10});
  log.push_back(simulation.now().value);
}
TEST(Simulation, Smoke) {
  Simulation simulation;
  Resource server(simulation, 2);
  std::vector<std::int64_t> log;
  for (int i = 0; i < 3; ++i) simulation.spawn(customer(simulation, server, log));
  simulation.run();
  EXPECT_EQ(log, (std::vector<std::int64_t>{-5, 10, 10}));
}
}  // namespace
}  // namespace reprefill::sim
