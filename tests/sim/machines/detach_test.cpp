// Cancel means detach: queued work is dropped, submitted work runs to its end (design 4).
#include <gtest/gtest.h>

#include "tests/sim/machines/machines_fixture.hpp"

namespace reprefill {
namespace {

using namespace test_support;
using namespace pipeline;

/// A drive that serves one read at a time, and prefetch reads of single pieces.
class Detach : public testing::Test {
 protected:
  Detach() : bench_({"probe", "contiguous_kv", Json::object()}, PathKind::direct) {
    bench_.environment.path.queue_depth = 1;
    bench_.environment.path.max_request_bytes = Bytes{4096};
    machine_ = std::make_unique<SimulatedBench>(bench_, profile_);
  }
  ReadOp prefetch(std::uint32_t chunk, const Deps& deps = {}) {
    PieceList pieces;
    const PieceKey key = PieceKey::make(SegmentId{0}, 3, PieceKind::key_value, chunk);
    pieces.add(key, bench_.system->store_layout()->piece_bytes(key, kStoredTokens));
    return machine().read({.request = chunk}, pieces, ReadPriority::prefetch, deps);
  }
  Op copy(const ReadOp& read) {
    PieceList pieces;
    pieces.bytes = Bytes{1 << 20};
    return machine().copy({.request = 99}, pieces, CopyRoute::staging_to_gpu_prefetch, Op(read));
  }
  void run() {
    while (machine_->simulation.step()) machine().resume_ready();
    EXPECT_EQ(machine().num_unfinished(), 0u);
  }
  record::Span span_of(std::uint32_t request) const {
    for (const record::Span& span : machine_->spans.spans) {
      if (span.request == request) return span;
    }
    ADD_FAILURE() << "no span of request " << request;
    return {};
  }
  sim::SimulatedMachine& machine() { return machine_->machine; }

  const sim::Profile profile_ = datasheet_profile();
  Bench bench_;
  std::unique_ptr<SimulatedBench> machine_;
};

TEST_F(Detach, AQueuedReadIsDroppedAtOnceAndItsCopyCopiesNothing) {
  const ReadOp first = prefetch(0), second = prefetch(1);
  const Op copied = copy(second);
  machine().detach(copied, /*drop_unsubmitted=*/true);
  machine().detach(second, /*drop_unsubmitted=*/true);
  EXPECT_TRUE(second->done());
  EXPECT_EQ(second->dropped, second->requested);
  EXPECT_EQ(second->num_dropped, second->num_requests);
  EXPECT_TRUE(copied->done());
  run();
  EXPECT_EQ(span_of(0).bytes, first->requested);
  EXPECT_EQ(span_of(1).bytes, Bytes{0});
  EXPECT_EQ(span_of(99).bytes, Bytes{0});
  EXPECT_EQ(span_of(99).start, span_of(99).end);
  EXPECT_EQ(machine().busy_time(record::Resource::ssd_prefetch), span_of(0).end - span_of(0).start);
}

TEST_F(Detach, ASubmittedReadRunsToItsEndAndCountsAsRead) {
  const ReadOp read = prefetch(0);
  ASSERT_EQ(read->num_requests, 1u);
  machine().detach(read, /*drop_unsubmitted=*/true);
  EXPECT_FALSE(read->done());
  EXPECT_EQ(read->dropped, Bytes{0});
  run();
  EXPECT_EQ(span_of(0).bytes, read->requested);
}

TEST_F(Detach, OfAReadThatIsHalfSubmittedTheQueuedHalfIsDropped) {
  bench_.environment.path.max_request_bytes = Bytes{4096};
  PieceList pieces;
  for (const std::uint32_t chunk : {0u, 1u}) {  // adjacent: one stretch of 8 KiB, cut in two requests
    const PieceKey key = PieceKey::make(SegmentId{0}, 3, PieceKind::key_value, chunk);
    pieces.add(key, bench_.system->store_layout()->piece_bytes(key, kStoredTokens));
  }
  ASSERT_EQ(pieces.bytes, Bytes{8192});
  const ReadOp read = machine().read({.request = 0}, pieces, ReadPriority::prefetch, {});
  ASSERT_EQ(read->num_requests, 2u);
  machine().detach(read, /*drop_unsubmitted=*/true);
  EXPECT_FALSE(read->done());
  EXPECT_EQ(read->num_dropped, 1u);
  EXPECT_EQ(read->dropped, Bytes{4096});
  run();
  EXPECT_EQ(span_of(0).bytes, Bytes{4096});
}

TEST_F(Detach, AReadThatStillWaitsForAnotherOperationNeverReachesTheDevice) {
  const Op before = machine().host({.request = 50}, {.kind = HostTaskKind::tokenise, .count = 1000}, {});
  const ReadOp read = prefetch(0, before);
  machine().detach(read, /*drop_unsubmitted=*/true);
  EXPECT_EQ(read->dropped, read->requested);
  run();
  EXPECT_TRUE(read->done());
  EXPECT_EQ(span_of(0).bytes, Bytes{0});
  EXPECT_EQ(machine().busy_time(record::Resource::ssd_prefetch), Nanoseconds{0});
}

TEST_F(Detach, WithoutDroppingEverythingRuns) {
  prefetch(0);
  const ReadOp second = prefetch(1);
  machine().detach(second, /*drop_unsubmitted=*/false);
  run();
  EXPECT_EQ(second->dropped, Bytes{0});
  EXPECT_EQ(span_of(1).bytes, second->requested);
}

TEST_F(Detach, AfterTheEndItChangesNothing) {
  const ReadOp read = prefetch(0);
  run();
  machine().detach(read, /*drop_unsubmitted=*/true);
  EXPECT_EQ(read->dropped, Bytes{0});
}

}  // namespace
}  // namespace reprefill
