#include "calibrate/cuda/gpu_operation_cells.hpp"

#include <algorithm>
#include <functional>

#include "calibrate/fit/fit_masks.hpp"
#include "core/model/costs.hpp"

namespace reprefill::calibrate {
namespace {

constexpr std::uint32_t kTypicalQueries = 64;
constexpr std::uint32_t kStoredPageTokens = 64;  // as impress and as_h2o store K and V

/// A guess for the plan and the time left: what a data-centre GPU does.
double expected_walk_s(const ModelGeometry& geometry, std::uint32_t queries, std::uint32_t keys) {
  constexpr double kFlops = 3e14, kBytes = 2e12, kHostPerLayer = 1e-4;
  const OperationCosts costs(geometry);
  const double flops = costs.project(queries).flops + costs.attend_linear(queries).flops +
                       costs.attend_attention(queries, 0, keys, keys).flops;
  const double layer = std::max(flops / kFlops, static_cast<double>(geometry.layer_weight_bytes().value) / kBytes);
  return num_gpu_layers(geometry) * (layer + kHostPerLayer);
}

class LayerCell final : public Cell {
 public:
  LayerCell(std::uint32_t queries, std::uint32_t keys, GpuLayerWalk* walk, CellSpec spec)
      : Cell(std::move(spec)), queries_(queries), keys_(keys), walk_(walk) {}
  void prepare() override {
    if (is_heavy(queries_)) walk_->heat_up();
  }
  Sample sample() override {
    const GpuLayerWalk::Timing plain = walk_->walk(queries_, {.keys = keys_});
    if (keys_ == 0) return {.values = {plain.project_ns, plain.attend_ns}};
    const GpuLayerWalk::Timing scored = walk_->walk_with_scores(queries_, keys_);
    return {.values = {plain.project_ns, plain.attend_ns, scored.score_ns, scored.score_probe_ns}};
  }
  static bool is_heavy(std::uint32_t queries) { return queries >= 512; }

 private:
  std::uint32_t queries_, keys_;
  GpuLayerWalk* walk_;
};

/// Under a mask and without one, by turns.
class MaskCell final : public Cell {
 public:
  MaskCell(std::uint32_t queries, const WalkedView& view, GpuLayerWalk* walk, CellSpec spec)
      : Cell(std::move(spec)), queries_(queries), view_(view), walk_(walk) {}
  Sample sample() override {
    WalkedView plain = view_;
    plain.mask = pipeline::AttentionMask::none;
    return {.values = {walk_->walk(queries_, view_).attend_ns, walk_->walk(queries_, plain).attend_ns}};
  }

 private:
  std::uint32_t queries_;
  WalkedView view_;
  GpuLayerWalk* walk_;
};

/// One number of a walk.
class WalkCell final : public Cell {
 public:
  using Measure = std::function<double(GpuLayerWalk&)>;
  WalkCell(GpuLayerWalk* walk, Measure measure, CellSpec spec)
      : Cell(std::move(spec)), walk_(walk), measure_(std::move(measure)) {}
  Sample sample() override { return {.values = {measure_(*walk_)}}; }

 private:
  GpuLayerWalk* walk_;
  Measure measure_;
};

/// Those of the wanted numbers that the model and the grid allow; the largest allowed one where that is none of them.
std::vector<std::uint32_t> allowed(std::vector<std::uint32_t> wanted, std::uint32_t largest) {
  std::erase_if(wanted, [largest](std::uint32_t value) { return value > largest; });
  if (wanted.empty() && largest > 0) wanted.push_back(largest);
  return wanted;
}

class CellList {
 public:
  CellList(const OperationGrid& grid, const ModelGeometry& geometry, GpuLayerWalk* walk)
      : grid_(grid), geometry_(geometry), walk_(walk) {
    const auto positions = static_cast<std::uint32_t>(geometry.max_position_embeddings);
    const std::uint32_t room = positions - std::min(positions, kTypicalQueries);
    most_keys_ = std::min(grid.keys.back(), room) / kStoredPageTokens * kStoredPageTokens;
  }

  void add_layers() {
    for (const std::uint32_t queries : grid_.queries) {
      for (const std::uint32_t keys : grid_.keys) {
        if (static_cast<int>(queries + keys) > geometry_.max_position_embeddings) continue;
        CellSpec spec = spec_of("layer", fmt::format("queries={}/keys={}", queries, keys),
                                {{"queries", queries}, {"keys", keys}}, 2 * expected_walk_s(geometry_, queries, keys));
        spec.metrics = {"project_ns", "attend_ns"};
        if (keys > 0) spec.metrics.insert(spec.metrics.end(), {"score_ns", "score_probe_ns"});
        spec.interleaved = !LayerCell::is_heavy(queries);  // else each turn would have to heat again
        cells_.push_back(std::make_unique<LayerCell>(queries, keys, walk_, std::move(spec)));
      }
    }
  }

  void add_masks(bool full) {
    if (most_keys_ == 0) return;
    using Mask = pipeline::AttentionMask;
    std::vector<std::uint32_t> queries = {16, 64, 256}, keys = {1024, 2048, 4096, 8192};
    if (full) queries.push_back(1024), keys.insert(keys.begin() + 3, 6144), keys.push_back(16384);
    for (const Mask mask : {Mask::keys, Mask::values}) {
      for (const std::uint32_t q : allowed(queries, std::min(grid_.queries.back(), positions_beside(most_keys_)))) {
        for (const std::uint32_t k : allowed(keys, most_keys_)) add_mask(q, {k, kStoredPageTokens, mask, kMaskShare});
      }
      const std::uint32_t typical = std::min({kTypicalQueries, grid_.queries.back(), positions_beside(most_keys_)});
      for (const std::uint32_t k : allowed({2048, 8192}, most_keys_)) {
        for (const double share : {0.05, 0.5, 1.0}) add_mask(typical, {k, kStoredPageTokens, mask, share});
      }
    }
  }

  /// Full pages of other lengths: chosen tokens one by one, stored blocks.
  void add_pages() {
    const std::uint32_t queries = std::min({kTypicalQueries, grid_.queries.back(), positions_beside(most_keys_)});
    for (const std::uint32_t keys : allowed({2048, 6144}, most_keys_)) {
      for (const std::uint32_t page : {1u, 64u}) {
        add_measure(
            "attend_pages", fmt::format("queries={}/keys={}/page={}", queries, keys, page),
            {{"queries", queries}, {"keys", keys}, {"page_tokens", page}}, expected_walk_s(geometry_, queries, keys),
            [=](GpuLayerWalk& walk) { return walk.walk(queries, {.keys = keys, .page_tokens = page}).attend_ns; });
      }
    }
  }

  void add_session() {
    const double one = expected_walk_s(geometry_, 1, 0);
    add_measure("first_token", "", {}, one, [](GpuLayerWalk& w) { return w.first_token_ns(); });
    add_measure("operation_gap", "", {}, one, [](GpuLayerWalk& w) { return w.walk(kTypicalQueries, {}).gap_ns; });
    add_measure("turnaround", "", {}, one, [](GpuLayerWalk& w) { return w.turnaround_ns(); });
    add_measure("request_overhead", "", {}, one, [](GpuLayerWalk& w) { return w.request_overhead_ns(); });
  }

  void add_choices() {
    using Grouping = traces::HeadGrouping;
    const auto add = [&](const char* by, const WalkedChoice& choice) {
      const std::uint64_t count = GpuLayerWalk::num_scores(geometry_, choice);
      add_measure("select_scored", fmt::format("by={}/keys={}", by, choice.keys),
                  {{"by", by}, {"keys", choice.keys}, {"scores", count}},
                  expected_walk_s(geometry_, kTypicalQueries, choice.keys),
                  [choice](GpuLayerWalk& w) { return w.select_ns(choice); });
    };
    for (const std::uint32_t keys : allowed({2048, 6144}, most_keys_)) add("chunks", {Grouping::all_heads, keys});
    for (const std::uint32_t keys : allowed({1024, 2048, 6144}, most_keys_)) {
      add("kv_heads", {Grouping::per_kv_head, keys});
      add("votes", {Grouping::probe_heads, keys});
    }
  }

  std::vector<std::unique_ptr<Cell>> take() { return std::move(cells_); }

 private:
  CellSpec spec_of(const char* quantity, const std::string& shape_name, Json shape, double expected_s) const {
    shape["model"] = geometry_.name;
    return {.id = fmt::format("{}/{}{}{}", quantity, geometry_.name, shape_name.empty() ? "" : "/", shape_name),
            .quantity = quantity,
            .shape = std::move(shape),
            .expected_s = expected_s};
  }
  void add_measure(const char* quantity, const std::string& shape_name, Json shape, double expected_s,
                   WalkCell::Measure measure) {
    cells_.push_back(std::make_unique<WalkCell>(walk_, std::move(measure),
                                                spec_of(quantity, shape_name, std::move(shape), expected_s)));
  }
  void add_mask(std::uint32_t queries, const WalkedView& view) {
    const char* mask = view.mask == pipeline::AttentionMask::keys ? "keys" : "values";
    CellSpec spec = spec_of(
        "attend_masked", fmt::format("{}/queries={}/keys={}/share={}", mask, queries, view.keys, view.kept_share),
        {{"queries", queries}, {"keys", view.keys}, {"mask", mask}, {"kept_share", view.kept_share}},
        2 * expected_walk_s(geometry_, queries, view.keys));
    spec.metrics = {"masked_ns", "plain_ns"};
    cells_.push_back(std::make_unique<MaskCell>(queries, view, walk_, std::move(spec)));
  }
  std::uint32_t positions_beside(std::uint32_t keys) const {
    return static_cast<std::uint32_t>(geometry_.max_position_embeddings) - keys;
  }

  const OperationGrid& grid_;
  const ModelGeometry& geometry_;
  GpuLayerWalk* walk_;
  std::uint32_t most_keys_ = 0;  // beside a typical request's own tokens
  std::vector<std::unique_ptr<Cell>> cells_;
};

}  // namespace

OperationGrid quick_gpu_grid() {
  return {.queries = {1, 32, 64, 96, 128, 192, 256, 384, 512, 1024, 2048},
          .keys = {0, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384}};
}

OperationGrid full_gpu_grid() {
  return {.queries = {1, 2, 8, 16, 24, 32, 48, 64, 65, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048},
          .keys = {0, 16, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384}};
}

std::vector<std::unique_ptr<Cell>> gpu_operation_cells(const OperationGrid& grid, const ModelGeometry& geometry,
                                                       GpuLayerWalk* walk) {
  CellList list(grid, geometry, walk);
  list.add_layers();
  list.add_masks(grid.queries.size() >= full_gpu_grid().queries.size());
  list.add_pages();
  list.add_session();
  list.add_choices();
  return list.take();
}

}  // namespace reprefill::calibrate
