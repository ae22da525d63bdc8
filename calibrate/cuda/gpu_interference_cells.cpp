#include "calibrate/cuda/gpu_interference_cells.hpp"

#include "engine/gpu/gpu_memory.hpp"

namespace reprefill::calibrate {
namespace {

/// Something that can be done for a while, alone or beside another.
class Work {
 public:
  virtual ~Work() = default;
  /// Nanoseconds of one unit, measured over a slice of milliseconds.
  virtual double measure() = 0;
  virtual void keep_on(const std::atomic<bool>& stop) {
    while (!stop) measure();
  }
};

class ReadWork final : public Work {
 public:
  explicit ReadWork(const GpuInterferenceParts& parts)
      : load_(*parts.file, {Bytes{128 * 1024}, 16, Pattern::random}, 11, parts.unregistered_buffers) {}
  double measure() override { return load_.run(0.03).ns_each(); }
  void keep_on(const std::atomic<bool>& stop) override { load_.run(1e9, nullptr, &stop); }

 private:
  ReadLoad load_;
};

/// Work that is submitted to one stream and timed by its events.
class StreamWork : public Work {
 public:
  StreamWork(engine::Gpu& gpu, cudaStream_t stream) : gpu_(gpu), stream_(stream) {}
  double measure() override {
    const engine::GpuEventRef start = gpu_.record(stream_);
    submit();
    const engine::GpuEventRef end = gpu_.record(stream_);
    gpu_.synchronize(*end);
    return std::max(1.0, static_cast<double>(gpu_.between(*start, *end).value));
  }

 protected:
  virtual void submit() = 0;
  engine::Gpu& gpu_;
  cudaStream_t stream_;
};

class CopyWork final : public StreamWork {
 public:
  CopyWork(engine::Gpu& gpu, cudaStream_t stream, bool to_device)
      : StreamWork(gpu, stream), to_device_(to_device), host_(gpu, Bytes{kBytes}), device_(gpu, kBytes) {}

 private:
  void submit() override {
    std::byte* to = to_device_ ? device_.data() : host_.data();
    const std::byte* from = to_device_ ? host_.data() : device_.data();
    for (std::uint64_t at = 0; at < kBytes; at += kEach) gpu_.copy(to + at, from + at, Bytes{kEach}, stream_);
  }
  // Not one large copy: what other streams upload would wait for all of it on the same engine, as in no session.
  static constexpr std::uint64_t kBytes = std::uint64_t{16} << 20, kEach = std::uint64_t{1} << 20;
  bool to_device_;
  engine::PinnedArray host_;
  engine::GpuArray<std::byte> device_;
};

class GatherWork final : public StreamWork {
 public:
  GatherWork(engine::Gpu& gpu, cudaStream_t stream)
      : StreamWork(gpu, stream),
        host_(gpu, Bytes{kNumPieces * kPieceBytes}),
        device_(gpu, kNumPieces * kPieceBytes),
        list_(gpu, Bytes{kNumPieces * sizeof(kernels::GatherPiece)}) {
    auto* pieces = reinterpret_cast<kernels::GatherPiece*>(list_.data());
    for (std::uint64_t i = 0; i < kNumPieces; ++i) {
      pieces[i] = {.from = host_.data() + (kNumPieces - 1 - i) * kPieceBytes,
                   .to = device_.data() + i * kPieceBytes,
                   .bytes = kPieceBytes};
    }
  }

 private:
  void submit() override {
    gpu_.gather({.pieces = reinterpret_cast<const kernels::GatherPiece*>(list_.data()),
                 .num_pieces = kNumPieces,
                 .max_piece_bytes = kPieceBytes,
                 .num_blocks = 16},
                stream_);
  }
  static constexpr std::uint64_t kPieceBytes = 16 * 1024;
  static constexpr std::uint32_t kNumPieces = 2048;
  engine::PinnedArray host_;
  engine::GpuArray<std::byte> device_;
  engine::PinnedArray list_;
};

/// Linear layers: many queries that see no prefix. Attention: a suffix over the longest prefix.
class ComputeWork final : public Work {
 public:
  ComputeWork(GpuLayerWalk& walk, bool attention) : walk_(walk), attention_(attention) {
    const auto positions = static_cast<std::uint32_t>(walk.geometry().max_position_embeddings);
    keys_ = std::min(walk.most_keys(), (positions - kQueries) / 16 * 16);
  }
  double measure() override {
    if (attention_) return walk_.walk_with_scores(kQueries, keys_).score_ns;
    const GpuLayerWalk::Timing timing = walk_.walk(64, {});
    return timing.project_ns + timing.attend_ns;
  }

 private:
  static constexpr std::uint32_t kQueries = 32;
  GpuLayerWalk& walk_;
  bool attention_;
  std::uint32_t keys_ = 0;
};

class Bench {
 public:
  explicit Bench(const GpuInterferenceParts& parts) : parts_(parts) {}
  std::unique_ptr<Work> make(const std::string& activity) const {
    if (activity == "ssd_read") return std::make_unique<ReadWork>(parts_);
    if (activity == "gemm" || activity == "attention") {
      return std::make_unique<ComputeWork>(*parts_.walk, activity == "attention");
    }
    GpuDriver& driver = parts_.walk->driver();
    if (activity == "gather") return std::make_unique<GatherWork>(driver.gpu(), driver.stream(StepLane::gather));
    const bool to_device = activity == "h2d";
    return std::make_unique<CopyWork>(driver.gpu(),
                                      driver.stream(to_device ? StepLane::copy : StepLane::device_to_host), to_device);
  }

 private:
  GpuInterferenceParts parts_;
};

class PairCell final : public Cell {
 public:
  PairCell(const Bench& bench, CellSpec spec) : Cell(std::move(spec)), bench_(bench) {}
  void prepare() override {
    slowed_ = bench_.make(spec().shape.at("slowed"));
    by_ = bench_.make(spec().shape.at("by"));
  }
  Sample sample() override {
    const double alone = slowed_->measure();
    Background other([this](const std::atomic<bool>& stop) { by_->keep_on(stop); });
    slowed_->measure();  // until the other has got going
    const double beside = slowed_->measure();
    other.stop();
    return {.values = {beside / std::max(1.0, alone)}};
  }
  void finish() override {
    slowed_.reset();
    by_.reset();
  }

 private:
  Bench bench_;
  std::unique_ptr<Work> slowed_, by_;
};

bool never_meet(const std::string& a, const std::string& b) {
  const auto are = [&](const char* one, const char* other) { return a == one && b == other; };
  return a == b || are("gemm", "attention") || are("attention", "gemm") || are("h2d", "gather") || are("gather", "h2d");
}

}  // namespace

std::vector<std::unique_ptr<Cell>> gpu_interference_cells(const GpuInterferenceParts& parts) {
  std::vector<std::string> activities = {"h2d", "d2h", "gather", "gemm", "attention"};
  if (parts.has_storage) activities.push_back("ssd_read");
  std::vector<std::unique_ptr<Cell>> cells;
  for (const std::string& slowed : activities) {
    for (const std::string& by : activities) {
      if (never_meet(slowed, by)) continue;
      CellSpec spec{.id = fmt::format("interference/{}/by/{}", slowed, by),
                    .quantity = "interference",
                    .shape = {{"slowed", slowed}, {"by", by}},
                    .metrics = {"factor"},
                    .expected_s = slowed == "ssd_read" ? 0.1 : 0.01};
      cells.push_back(std::make_unique<PairCell>(Bench(parts), std::move(spec)));
    }
  }
  return cells;
}

}  // namespace reprefill::calibrate
