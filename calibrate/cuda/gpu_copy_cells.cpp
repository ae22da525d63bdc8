#include "calibrate/cuda/gpu_copy_cells.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "calibrate/meter/statistics.hpp"
#include "core/base/random.hpp"
#include "engine/gpu/gpu_memory.hpp"

namespace reprefill::calibrate {
namespace {

constexpr std::uint64_t kPieceBytes = kCopiedPiece.value;
constexpr std::uint64_t kLargest = std::uint64_t{64} << 20;

}  // namespace

class GpuCopyBuffers {
 public:
  explicit GpuCopyBuffers(GpuDriver& driver)
      : driver_(driver),
        pinned_(driver.gpu(), Bytes{kLargest}),
        device_(driver.gpu(), kLargest),
        pageable_(kLargest, std::byte{1}),
        host_pool_(engine::make_pinned_memory(driver.gpu())),
        device_pool_(engine::make_gpu_memory(driver.gpu())),
        staging_(std::make_shared<engine::Block>(host_pool_, Bytes{kLargest})) {
    staging_->take();
    RandomStream order(8, 0, "calibrate/pieces");
    std::vector<std::uint64_t> places(kLargest / kPieceBytes);
    std::iota(places.begin(), places.end(), 0u);
    for (std::size_t i = places.size(); i > 1; --i) std::swap(places[i - 1], places[order.below(i)]);
    for (const std::uint64_t place : places) {
      const auto& piece = pieces_.emplace_back(staging_, place * kPieceBytes,
                                               std::make_shared<engine::Block>(device_pool_, Bytes{kPieceBytes}));
      piece.destination->take();
    }
  }

  double pieces_ns(StepLane lane, std::uint64_t bytes) {
    const std::span<const engine::PartCopy> copies = std::span(pieces_).first(bytes / kPieceBytes);
    return driver_
        .run({.lane = lane,
              .work =
                  [this, lane, copies] {
                    if (lane == StepLane::gather) {
                      driver_.copier().gather(copies, driver_.stream(lane));
                    } else {
                      driver_.copier().copy(copies, driver_.stream(lane));
                    }
                  }})
        .latency_ns();
  }
  double range_ns(bool to_device, bool pinned, std::uint64_t bytes) {
    const StepLane lane = to_device ? StepLane::copy : StepLane::device_to_host;
    std::byte* host = pinned ? pinned_.data() : pageable_.data();
    std::byte* to = to_device ? device_.data() : host;
    const std::byte* from = to_device ? host : device_.data();
    return driver_
        .run({.lane = lane,
              .work = [this, lane, to, from,
                       bytes] { driver_.gpu().copy(to, from, Bytes{bytes}, driver_.stream(lane)); }})
        .latency_ns();
  }

 private:
  GpuDriver& driver_;
  engine::PinnedArray pinned_;
  engine::GpuArray<std::byte> device_;
  std::vector<std::byte> pageable_;
  engine::SlabPool host_pool_, device_pool_;
  engine::BlockRef staging_;
  std::vector<engine::PartCopy> pieces_;
};

namespace {

class CopyCell final : public Cell {
 public:
  using Measure = std::function<double(GpuCopyBuffers&)>;
  CopyCell(std::shared_ptr<GpuCopyBuffers> buffers, int repeats, Measure measure, CellSpec spec)
      : Cell(std::move(spec)), buffers_(std::move(buffers)), repeats_(repeats), measure_(std::move(measure)) {}
  Sample sample() override {
    std::vector<double> copies;
    for (int i = 0; i < repeats_; ++i) copies.push_back(measure_(*buffers_));
    return {.values = {median(copies)}};
  }

 private:
  std::shared_ptr<GpuCopyBuffers> buffers_;
  int repeats_;
  Measure measure_;
};

int repeats_of(std::uint64_t bytes) {
  constexpr std::uint64_t kEnoughBytes = 8 << 20, kMost = 15;
  return static_cast<int>(std::clamp<std::uint64_t>(kEnoughBytes / bytes, 1, kMost));
}

}  // namespace

std::vector<std::unique_ptr<Cell>> gpu_copy_cells(bool full, GpuDriver* driver) {
  const auto buffers = driver == nullptr ? nullptr : std::make_shared<GpuCopyBuffers>(*driver);
  std::vector<std::unique_ptr<Cell>> cells;
  const auto add = [&](const char* quantity, std::uint64_t bytes, CopyCell::Measure measure) {
    CellSpec spec{.id = fmt::format("{}/bytes={}", quantity, bytes),
                  .quantity = quantity,
                  .shape = {{"bytes", bytes}},
                  .expected_s = repeats_of(bytes) * (5e-5 + static_cast<double>(bytes) / 1e10)};
    cells.push_back(std::make_unique<CopyCell>(buffers, repeats_of(bytes), std::move(measure), std::move(spec)));
  };
  for (std::uint64_t bytes = kPieceBytes; bytes <= kLargest; bytes *= 2) {
    const bool single = bytes / kPieceBytes <= engine::kMostSingleCopies;
    add(single ? "prefetch_single" : "prefetch", bytes,
        [bytes](GpuCopyBuffers& b) { return b.pieces_ns(StepLane::copy, bytes); });
  }
  const std::uint64_t step = full ? 2 : 4;
  for (std::uint64_t bytes = kPieceBytes; bytes <= kLargest; bytes *= step) {
    add("gather", bytes, [bytes](GpuCopyBuffers& b) { return b.pieces_ns(StepLane::gather, bytes); });
    add("copy_h2d_pinned", bytes, [bytes](GpuCopyBuffers& b) { return b.range_ns(true, true, bytes); });
    add("copy_d2h_pinned", bytes, [bytes](GpuCopyBuffers& b) { return b.range_ns(false, true, bytes); });
    add("copy_h2d_pageable", bytes, [bytes](GpuCopyBuffers& b) { return b.range_ns(true, false, bytes); });
    add("copy_d2h_pageable", bytes, [bytes](GpuCopyBuffers& b) { return b.range_ns(false, false, bytes); });
  }
  return cells;
}

}  // namespace reprefill::calibrate
