#include "calibrate/session/session_work.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace reprefill::calibrate {
namespace {

using record::Operation;
using record::Resource;

record::Span span(Operation operation, Resource resource, std::int64_t start, std::int64_t end,
                  std::uint64_t bytes = 0) {
  return {.operation = operation,
          .resource = resource,
          .bytes = Bytes{bytes},
          .start = Nanoseconds{start},
          .end = Nanoseconds{end}};
}

TEST(SessionWork, CountsOverlapsOnceAndGapsNever) {
  const std::vector<record::Span> spans = {
      span(Operation::read, Resource::ssd_prefetch, 40, 60, 10),  // out of order, as ends are
      span(Operation::read, Resource::ssd_demand, 0, 20, 100),
      span(Operation::read, Resource::ssd_demand, 10, 30, 100),
      span(Operation::read, Resource::ssd_demand, 12, 15, 1),
      span(Operation::project, Resource::gpu_compute, 5, 25),
      span(Operation::select, Resource::scoring, 25, 900),  // holds the host's wake-up
      span(Operation::copy, Resource::link_h2d_gather, 7, 9, 50),
      span(Operation::copy, Resource::host_memory, 0, 500, 50)};
  const SessionWork work = work_of(spans);
  EXPECT_EQ(work.ssd_ns, 50);
  EXPECT_EQ(work.ssd_bytes, 211);
  EXPECT_EQ(work.gpu_ns, 20);
  EXPECT_EQ(work.link_ns, 2);
  EXPECT_EQ(work.link_bytes, 50);
  SessionWork twice = work;
  twice += session_work_from_json(to_json(work));
  EXPECT_EQ(twice.ssd_ns, 100);
  EXPECT_EQ(twice.link_bytes, 100);
}

TEST(SessionWork, OfNothingIsNothing) { EXPECT_EQ(work_of({}).gpu_ns, 0); }

}  // namespace
}  // namespace reprefill::calibrate
