// The thread that issues operations costs time, where a profile says so.
#include <gtest/gtest.h>

#include "tests/sim/machines/machines_fixture.hpp"

namespace reprefill {
namespace {

using namespace test_support;
using namespace pipeline;

constexpr std::int64_t kOperation = 1'000, kPiece = 10, kStart = 300, kNotice = 200;

class Driver : public testing::Test {
 protected:
  Driver() : bench_({"probe", "contiguous_kv", Json::object()}, PathKind::direct), profile_(datasheet_profile()) {
    profile_.host.driver = {.per_operation = Nanoseconds{kOperation},
                            .per_piece = Nanoseconds{kPiece},
                            .start = Nanoseconds{kStart},
                            .notice = Nanoseconds{kNotice}};
  }
  void open() { machine_ = std::make_unique<SimulatedBench>(bench_, profile_); }
  void run() {
    while (machine_->simulation.step()) machine().resume_ready();
    EXPECT_EQ(machine().num_unfinished(), 0u);
  }
  const record::Span& span_of(int layer) const {
    for (const record::Span& span : machine_->spans.spans) {
      if (span.layer_idx == layer) return span;
    }
    throw std::runtime_error("no span of this layer");
  }
  sim::SimulatedMachine& machine() { return machine_->machine; }

  Bench bench_;
  sim::Profile profile_;
  std::unique_ptr<SimulatedBench> machine_;
};

TEST_F(Driver, IssuesOneAfterTheOtherWakesTheLaneAndHearsOfTheEnd) {
  open();
  const Op first = machine().project({.layer_idx = 0}, {.first = 0, .count = 8}, {});
  machine().project({.layer_idx = 1}, {.first = 0, .count = 8}, first);
  run();
  EXPECT_EQ(span_of(0).ready.value, kOperation);
  EXPECT_EQ(span_of(0).start.value, kOperation + kStart);
  // Issued long before: it waits for the driver to hear of the end, and for its lane to wake.
  EXPECT_EQ((span_of(1).ready - span_of(0).end).value, kNotice);
  EXPECT_EQ((span_of(1).start - span_of(1).ready).value, kStart);
}

TEST_F(Driver, ALaneThatIsBusyNeedNotWake) {
  open();
  machine().project({.layer_idx = 0}, {.first = 0, .count = 8}, {});
  machine().project({.layer_idx = 1}, {.first = 0, .count = 8}, {});
  run();
  EXPECT_EQ(span_of(1).ready.value, 2 * kOperation);
  EXPECT_EQ(span_of(1).start, span_of(0).end);
}

TEST_F(Driver, PiecesTakeItsTimeAndAnEndIsHeardOfWhenItHasFinishedIssuing) {
  open();
  const Op first = machine().host({.layer_idx = 0}, {.kind = HostTaskKind::look_up, .count = 0}, {});
  PieceList pieces;
  for (std::uint32_t i = 0; i < 700; ++i) {
    pieces.add(PieceKey::make(SegmentId{0}, 3, PieceKind::key_value, i % 40), Bytes{16});
  }
  pieces.bytes = Bytes{0};
  machine().copy({.layer_idx = 1}, pieces, CopyRoute::staging_to_gpu_prefetch, {});
  machine().project({.layer_idx = 2}, {.first = 0, .count = 8}, first);
  run();
  const std::int64_t issued = 3 * kOperation + 700 * kPiece;
  EXPECT_EQ(span_of(1).ready.value, 2 * kOperation + 700 * kPiece);
  EXPECT_LT(span_of(0).end.value + kNotice, issued);  // it ended while the driver was busy
  EXPECT_EQ(span_of(2).ready.value, issued);
}

TEST_F(Driver, HearsOfHostWorkBeforeEachReadThatItIssues) {
  open();
  PieceList pieces;
  for (std::uint32_t i = 0; i < 40; ++i) {
    pieces.add(PieceKey::make(SegmentId{0}, 3, PieceKind::key_value, i), Bytes{16});
  }
  const Op look_up = machine().host({.layer_idx = 0}, {.kind = HostTaskKind::look_up, .count = 0}, {});
  for (int layer = 1; layer <= 3; ++layer) machine().read({.layer_idx = layer}, pieces, ReadPriority::demand, look_up);
  run();
  constexpr std::int64_t kRead = kOperation + 40 * kPiece;
  ASSERT_LT(span_of(0).end.value + kNotice, kOperation + kRead);
  EXPECT_EQ(span_of(1).ready.value, kOperation + kRead) << "before the second is issued";
  EXPECT_EQ(span_of(2).ready.value, kOperation + 2 * kRead);
  EXPECT_EQ(span_of(3).ready.value, kOperation + 3 * kRead);
}

TEST_F(Driver, OperationsInStreamsBeginWhenThoseBeforeThemEndThoughItIsBusy) {
  profile_.host.driver.start = Nanoseconds{0};
  profile_.host.driver.streams = true;
  open();
  const Op first = machine().project({.layer_idx = 0}, {.first = 0, .count = 8}, {});
  machine().project({.layer_idx = 1}, {.first = 0, .count = 8}, first);
  PieceList pieces;  // which it issues until long after that
  for (std::uint32_t i = 0; i < 100'000; ++i) {
    pieces.add(PieceKey::make(SegmentId{0}, 3, PieceKind::key_value, i % 40), Bytes{16});
  }
  pieces.bytes = Bytes{0};
  machine().copy({.layer_idx = 2}, pieces, CopyRoute::staging_to_gpu_prefetch, {});
  run();
  EXPECT_EQ(span_of(0).start.value, kOperation);
  EXPECT_EQ(span_of(1).start, span_of(0).end);
  EXPECT_EQ(span_of(2).start.value, 3 * kOperation + 100'000 * kPiece) << "not before it was issued";
}

TEST_F(Driver, HostWorkIsHeardOfAtOnceBesideStreamsButNotWhileTheDriverIsBusy) {
  profile_.host.driver.start = Nanoseconds{0};
  profile_.host.driver.streams = true;
  open();
  const Op first = machine().host({.layer_idx = 0}, {.kind = HostTaskKind::wait, .count = 5'000}, {});
  machine().project({.layer_idx = 1}, {.first = 0, .count = 8}, first);
  run();
  EXPECT_EQ(span_of(1).ready, span_of(0).end);
}

TEST_F(Driver, WithoutCostsOperationsBeginAtOnce) {
  profile_.host.driver = {};
  open();
  const Op first = machine().project({.layer_idx = 0}, {.first = 0, .count = 8}, {});
  machine().project({.layer_idx = 1}, {.first = 0, .count = 8}, first);
  run();
  EXPECT_EQ(span_of(0).start.value, 0);
  EXPECT_EQ(span_of(1).start, span_of(0).end);
}

}  // namespace
}  // namespace reprefill
