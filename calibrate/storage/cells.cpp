#include "calibrate/storage/cells.hpp"

#include <algorithm>
#include <thread>

#include "calibrate/meter/environment.hpp"
#include "calibrate/storage/service_cell.hpp"

namespace reprefill::calibrate {
namespace {

constexpr std::uint64_t kKiB = 1024;

std::vector<Bytes> sizes_of(std::initializer_list<std::uint64_t> kib) {
  std::vector<Bytes> sizes;
  for (const std::uint64_t size : kib) sizes.push_back(Bytes{size * kKiB});
  return sizes;
}

/// Another one each time a cell has its turn: no two turns read the same places.
std::uint64_t turn_seed(const CellSpec& spec, std::uint64_t turn) { return combine64(hash_name(spec.id), turn); }

class ReadCell final : public Cell {
 public:
  ReadCell(const LoadShape& shape, std::uint32_t num_rings, const StorageGrid& grid, const ScratchFile* file,
           CellSpec spec)
      : Cell(std::move(spec)), shape_(shape), num_rings_(num_rings), grid_(grid), file_(file) {}

  void prepare() override {
    LoadShape each = shape_;
    each.depth = shape_.depth / num_rings_;
    for (std::uint32_t ring = 0; ring < num_rings_; ++ring) {
      loads_.push_back(
          std::make_unique<ReadLoad>(*file_, each, turn_seed(spec(), ++turn_), grid_.unregistered_buffers));
    }
  }
  Sample sample() override {
    std::vector<LatencyHistogram> latencies(num_rings_);
    std::vector<LoadResult> results(num_rings_);
    std::vector<std::exception_ptr> failures(num_rings_);
    {
      std::vector<std::jthread> others;
      const auto run = [&](std::size_t ring) {
        try {
          results[ring] = loads_[ring]->run(grid_.slice_s, &latencies[ring]);
        } catch (...) {
          failures[ring] = std::current_exception();
        }
      };
      for (std::size_t ring = 1; ring < num_rings_; ++ring) others.emplace_back(run, ring);
      run(0);
    }
    double reads_per_s = 0;
    for (std::size_t ring = 0; ring < num_rings_; ++ring) {
      if (failures[ring]) std::rethrow_exception(failures[ring]);
      if (ring > 0) latencies[0].add(latencies[ring]);
      reads_per_s += 1e9 / results[ring].ns_each();
    }
    return {.values = {1e9 / reads_per_s, latencies[0].quantile_ns(0.5)},
            .extra = {{"latency", latencies[0].to_json()}}};
  }
  void finish() override { loads_.clear(); }

 private:
  LoadShape shape_;
  std::uint32_t num_rings_;
  StorageGrid grid_;
  const ScratchFile* file_;
  std::vector<std::unique_ptr<ReadLoad>> loads_;
  std::uint64_t turn_ = 0;
};

class WriteCell final : public Cell {
 public:
  WriteCell(const LoadShape& shape, const StorageGrid& grid, const ScratchFile* file, CellSpec spec)
      : Cell(std::move(spec)), shape_(shape), slice_s_(grid.slice_s), file_(file) {}
  void prepare() override { load_ = std::make_unique<WriteLoad>(*file_, shape_); }
  Sample sample() override { return {.values = {load_->run(slice_s_).ns_each()}}; }
  void finish() override { load_.reset(); }

 private:
  LoadShape shape_;
  double slice_s_;
  const ScratchFile* file_;
  std::unique_ptr<WriteLoad> load_;
};

class MixedCell final : public Cell {
 public:
  MixedCell(const LoadShape& reads, const LoadShape& writes, const StorageGrid& grid, const ScratchFile* file,
            CellSpec spec)
      : Cell(std::move(spec)), reads_(reads), writes_(writes), grid_(grid), file_(file) {}
  void prepare() override {
    read_ = std::make_unique<ReadLoad>(*file_, reads_, turn_seed(spec(), ++turn_), grid_.unregistered_buffers);
    write_ = std::make_unique<WriteLoad>(*file_, writes_);
  }
  Sample sample() override {
    LoadResult written;
    LoadResult read;
    {
      Background writing([&](const std::atomic<bool>& stop) {
        const LoadResult part = write_->run(1e9, &stop);
        written.count += part.count;
        written.seconds += part.seconds;
      });
      read = read_->run(grid_.slice_s);
      writing.stop();
    }
    return {.values = {read.ns_each(), written.ns_each()}};
  }
  void finish() override {
    read_.reset();
    write_.reset();
  }

 private:
  LoadShape reads_, writes_;
  StorageGrid grid_;
  const ScratchFile* file_;
  std::unique_ptr<ReadLoad> read_;
  std::unique_ptr<WriteLoad> write_;
  std::uint64_t turn_ = 0;
};

class CallsCell final : public Cell {
 public:
  CallsCell(const LoadShape& shape, const StorageGrid& grid, const ScratchFile* file, CellSpec spec)
      : Cell(std::move(spec)), shape_(shape), unregistered_(grid.unregistered_buffers), file_(file) {}
  void prepare() override {
    load_ = std::make_unique<ReadLoad>(*file_, shape_, turn_seed(spec(), ++turn_), unregistered_);
  }
  Sample sample() override {
    const ReadLoad::CallCosts costs = load_->time_calls();
    return {.values = {costs.submit_ns, costs.harvest_ns}};
  }
  void finish() override { load_.reset(); }

 private:
  LoadShape shape_;
  bool unregistered_;
  const ScratchFile* file_;
  std::unique_ptr<ReadLoad> load_;
  std::uint64_t turn_ = 0;
};

class SustainedCell final : public Cell {
 public:
  SustainedCell(const LoadShape& shape, const StorageGrid& grid, const ScratchFile* file, CellSpec spec)
      : Cell(std::move(spec)), shape_(shape), unregistered_(grid.unregistered_buffers), file_(file) {}
  void prepare() override {
    load_ = std::make_unique<ReadLoad>(*file_, shape_, turn_seed(spec(), ++turn_), unregistered_);
  }
  Sample sample() override {
    const double ns = load_->run(1).ns_each();
    return {.values = {ns}, .extra = {{"conditions", read_conditions().to_json()}}};
  }
  void finish() override { load_.reset(); }

 private:
  LoadShape shape_;
  bool unregistered_;
  const ScratchFile* file_;
  std::unique_ptr<ReadLoad> load_;
  std::uint64_t turn_ = 0;
};

std::unique_ptr<Cell> read_cell(const LoadShape& shape, std::uint32_t num_rings, const StorageGrid& grid,
                                const ScratchFile* file, const char* quantity = "read") {
  CellSpec spec{.id = fmt::format("{}/{}/bytes={}/depth={}/rings={}", quantity, name_of(shape.pattern),
                                  shape.size.value, shape.depth, num_rings),
                .quantity = quantity,
                .shape = {{"pattern", name_of(shape.pattern)},
                          {"bytes", shape.size.value},
                          {"depth", shape.depth},
                          {"rings", num_rings}},
                .metrics = {"ns", "latency_p50_ns"},
                .expected_s = grid.slice_s * 1.2};
  return std::make_unique<ReadCell>(shape, num_rings, grid, file, std::move(spec));
}

std::unique_ptr<Cell> write_cell(const LoadShape& shape, const StorageGrid& grid, const ScratchFile* file) {
  CellSpec spec{.id = fmt::format("write/bytes={}/depth={}", shape.size.value, shape.depth),
                .quantity = "write",
                .shape = {{"bytes", shape.size.value}, {"depth", shape.depth}},
                .expected_s = grid.slice_s * 1.1};
  return std::make_unique<WriteCell>(shape, grid, file, std::move(spec));
}

std::unique_ptr<Cell> mixed_cell(const LoadShape& reads, const LoadShape& writes, const StorageGrid& grid,
                                 const ScratchFile* file) {
  CellSpec spec{.id = fmt::format("mixed/bytes={}/depth={}", reads.size.value, reads.depth),
                .quantity = "mixed",
                .shape = {{"bytes", reads.size.value},
                          {"depth", reads.depth},
                          {"write_bytes", writes.size.value},
                          {"write_depth", writes.depth}},
                .metrics = {"read_ns", "write_ns"},
                .expected_s = grid.slice_s * 1.3};
  return std::make_unique<MixedCell>(reads, writes, grid, file, std::move(spec));
}

bool fits(const StorageGrid& grid, Bytes size, std::uint32_t depth) {
  const std::uint32_t second = grid.depths.size() > 1 ? grid.depths[1] : 1;
  return depth <= second || std::uint64_t{depth} * size.value <= grid.span.value / 4;
}

}  // namespace

StorageGrid quick_storage_grid() {
  return {.sizes = sizes_of({4, 16, 64, 128, 512, 4096}),
          .depths = {1, 4, 16, 32, 128},
          .ring_counts = {4},
          .patterns = {Pattern::random},
          .slice_s = 0.03};
}

StorageGrid full_storage_grid() {
  return {.sizes = sizes_of({4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096}),
          .depths = {1, 2, 4, 8, 16, 32, 64, 128},
          .ring_counts = {2, 4},
          .patterns = {Pattern::random, Pattern::sequential},
          .slice_s = 0.05};
}

std::vector<std::unique_ptr<Cell>> storage_cells(const StorageGrid& grid, const ScratchFile* file) {
  std::vector<std::unique_ptr<Cell>> cells;
  for (const Pattern pattern : grid.patterns) {
    for (const Bytes size : grid.sizes) {
      for (const std::uint32_t depth : grid.depths) {
        if (fits(grid, size, depth)) cells.push_back(read_cell({size, depth, pattern}, 1, grid, file));
      }
    }
  }
  const std::uint32_t deepest = *std::ranges::max_element(grid.depths);
  for (const std::uint32_t rings : grid.ring_counts) {
    for (const Bytes size : grid.sizes) {
      if (deepest >= rings && fits(grid, size, deepest))
        cells.push_back(read_cell({size, deepest, Pattern::random}, rings, grid, file));
    }
  }
  const LoadShape small_write{Bytes{4 * kKiB}, 1}, large_write{Bytes{1024 * kKiB}, 4};
  cells.push_back(write_cell(small_write, grid, file));
  cells.push_back(write_cell(large_write, grid, file));
  cells.push_back(mixed_cell({Bytes{128 * kKiB}, 16}, large_write, grid, file));
  for (const std::uint32_t depth : {1u, 32u}) {
    CellSpec spec{.id = fmt::format("io_calls/bytes={}/depth={}", 64 * kKiB, depth),
                  .quantity = "io_calls",
                  .shape = {{"bytes", 64 * kKiB}, {"depth", depth}},
                  .metrics = {"submit_ns", "harvest_ns"},
                  .expected_s = 0.005};
    cells.push_back(std::make_unique<CallsCell>(LoadShape{Bytes{64 * kKiB}, depth}, grid, file, std::move(spec)));
  }
  cells.push_back(service_cell(file, grid.span, grid.unregistered_buffers));
  return cells;
}

void require_locked_memory(const StorageGrid& grid) {
  if (grid.unregistered_buffers) return;
  Bytes most{0};
  std::uint32_t deepest = 1;
  for (const Bytes size : grid.sizes) {
    for (const std::uint32_t depth : grid.depths) {
      if (!fits(grid, size, depth)) continue;
      most = std::max(most, size * depth);
      deepest = std::max(deepest, depth);
    }
  }
  const engine::StagingArena arena(most);
  const engine::DirectReader reader({.queue_depth = deepest, .buffers = arena.memory()});
}

std::vector<std::unique_ptr<Cell>> read_again_cells(const StorageGrid& grid, const ScratchFile* file) {
  std::vector<std::unique_ptr<Cell>> cells;
  for (const Bytes size : {grid.sizes.front(), grid.sizes[grid.sizes.size() / 2], grid.sizes.back()}) {
    for (const std::uint32_t depth : {1u, 4u, 32u}) {
      if (std::ranges::count(grid.depths, depth) > 0 && fits(grid, size, depth)) {
        cells.push_back(read_cell({size, depth, Pattern::random}, 1, grid, file, "read_again"));
      }
    }
  }
  return cells;
}

std::unique_ptr<Cell> sustained_cell(const StorageGrid& grid, const ScratchFile* file) {
  const LoadShape shape{Bytes{512 * kKiB}, 32, Pattern::random};
  CellSpec spec{.id = fmt::format("sustained/bytes={}/depth={}", shape.size.value, shape.depth),
                .quantity = "sustained",
                .shape = {{"bytes", shape.size.value}, {"depth", shape.depth}},
                .expected_s = 1,
                .interleaved = false};
  return std::make_unique<SustainedCell>(shape, grid, file, std::move(spec));
}

}  // namespace reprefill::calibrate
