#include "calibrate/cpu/operation_cells.hpp"

#include <algorithm>

#include "core/base/random.hpp"
#include "core/model/costs.hpp"

namespace reprefill::calibrate {
namespace {

/// A guess for the plan and the time left: what a few cores do.
double expected_layer_s(const ModelGeometry& geometry, std::uint32_t queries, std::uint32_t keys) {
  constexpr double kFlops = 1.5e11, kBytes = 1e10;
  const OperationCosts costs(geometry);
  const double flops = costs.project(queries).flops + costs.attend_linear(queries).flops +
                       costs.attend_attention(queries, 0, keys, keys).flops +
                       costs.score(queries, keys, geometry.num_query_heads, geometry.num_kv_heads).flops;
  return std::max(flops / kFlops, static_cast<double>(geometry.layer_weight_bytes().value) / kBytes);
}

class LayerCell final : public Cell {
 public:
  LayerCell(std::uint32_t queries, std::uint32_t keys, LayerWalk* walk, CellSpec spec)
      : Cell(std::move(spec)), queries_(queries), keys_(keys), walk_(walk) {}
  void prepare() override { walk_->restart(); }
  Sample sample() override {
    const LayerWalk::Timing timing = walk_->time_layer(queries_, keys_);
    if (keys_ == 0) return {.values = {timing.project_ns, timing.attend_ns}};
    return {.values = {timing.project_ns, timing.attend_ns, timing.score_ns, timing.score_probe_ns}};
  }
  void finish() override { walk_->restart(); }

 private:
  std::uint32_t queries_, keys_;
  LayerWalk* walk_;
};

class BeginCell final : public Cell {
 public:
  BeginCell(std::uint32_t queries, LayerWalk* walk, CellSpec spec)
      : Cell(std::move(spec)), queries_(queries), walk_(walk) {}
  Sample sample() override { return {.values = {walk_->time_begin(queries_)}}; }

 private:
  std::uint32_t queries_;
  LayerWalk* walk_;
};

class FirstTokenCell final : public Cell {
 public:
  FirstTokenCell(LayerWalk* walk, CellSpec spec) : Cell(std::move(spec)), walk_(walk) {}
  Sample sample() override { return {.values = {walk_->time_first_token()}}; }

 private:
  LayerWalk* walk_;
};

}  // namespace

OperationGrid quick_operation_grid() {
  return {.queries = {1, 16, 32, 64, 256, 1024, 2048}, .keys = {0, 256, 512, 1024, 2048, 4096, 8192}};
}

OperationGrid full_operation_grid() {
  return {.queries = {1, 2, 8, 16, 32, 48, 64, 96, 128, 256, 512, 1024, 2048},
          .keys = {0, 64, 256, 512, 1024, 2048, 4096, 8192, 16384}};
}

LayerWalk::LayerWalk(engine::Executor& executor, std::uint32_t most_keys) : executor_(executor) {
  const ModelGeometry& geometry = executor.checkpoint().geometry();
  // Several times what the caches of a few cores hold: a layer's KV was brought there by another thread, or by a drive.
  constexpr std::size_t kRingBytes = std::size_t{64} << 20;
  const std::size_t token_bytes = geometry.kv_tensor_bytes_per_token_layer().value;
  ring_tokens_ = std::max<std::size_t>(most_keys, kRingBytes / token_bytes);
  const std::size_t elements = ring_tokens_ * token_bytes / 2;
  REPREFILL_CHECK(executor.kv_type() == KvType::bf16, "stored KV is bf16");
  RandomStream random(2, 0, "calibrate/kv");
  for (std::vector<std::byte>* tensor : {&keys_, &values_}) {
    tensor->resize(elements * 2);
    auto* numbers = reinterpret_cast<std::uint16_t*>(tensor->data());
    constexpr std::size_t kDrawn = 1 << 18;  // then again: drawing them all would take longer than the cells
    for (std::size_t i = 0; i < elements; ++i) {
      numbers[i] =
          i < kDrawn ? static_cast<std::uint16_t>(0x3e00 | (random.below(65536) & 0x80ff)) : numbers[i - kDrawn];
    }
  }
}

std::vector<int> LayerWalk::probe_heads() const {
  std::vector<int> heads;
  for (int head = 0; head < std::min(3, executor_.checkpoint().geometry().group_size()); ++head) heads.push_back(head);
  return heads;
}

std::vector<std::int32_t> LayerWalk::ids_of(std::uint32_t queries) const {
  std::vector<std::int32_t> ids(queries);
  const auto vocab = static_cast<std::uint64_t>(executor_.checkpoint().geometry().vocab);
  for (std::uint32_t i = 0; i < queries; ++i) ids[i] = static_cast<std::int32_t>(mix64(i) % vocab);
  return ids;
}

/// A session's driver looks after pieces between two operations; by the end of that the executor's threads doze.
double LayerWalk::time_on_lane(std::function<void()> work) {
  constexpr Nanoseconds kGap{30'000};  // what `driver` cells show: hearing, one operation's issue, waking
  SteadyClock clock;
  for (const Nanoseconds begun = clock.now(); clock.now() - begun < kGap;) {}
  return lane_.run(std::move(work)).service_ns;
}

double LayerWalk::time_begin(std::uint32_t queries) {
  const std::vector<std::int32_t> ids = ids_of(queries);
  restart();
  return time_on_lane([&] { sequence_ = executor_.begin(ids, 0); });
}

void LayerWalk::begin(std::uint32_t queries, std::uint32_t keys) {
  sequence_ = executor_.begin(ids_of(queries), keys);
  queries_ = queries;
  keys_count_ = keys;
  layer_idx_ = 0;
}

/// Pages of the size in which contiguous_kv stores chunks; longer ones cost no less.
std::vector<KvPage> LayerWalk::pages_of(std::uint32_t keys) const {
  constexpr std::uint32_t kPageTokens = 16;
  const ModelGeometry& geometry = executor_.checkpoint().geometry();
  const std::size_t token_bytes = geometry.kv_tensor_bytes_per_token_layer().value;
  std::vector<KvPage> pages;
  for (std::uint32_t first = 0; first < keys; first += kPageTokens) {
    const std::size_t at = (first_token_ + first) * token_bytes;
    pages.push_back({keys_.data() + at, values_.data() + at, std::min(kPageTokens, keys - first)});
  }
  return pages;
}

LayerWalk::Timing LayerWalk::time_layer(std::uint32_t queries, std::uint32_t keys) {
  const ModelGeometry& geometry = executor_.checkpoint().geometry();
  if (sequence_ == nullptr || queries != queries_ || keys != keys_count_ || layer_idx_ == geometry.num_layers) {
    begin(queries, keys);
  }
  first_token_ = first_token_ + 2 * std::size_t{keys} <= ring_tokens_ ? first_token_ + keys : 0;
  const engine::OwnRange all{0, queries};
  Timing timing;
  timing.project_ns = time_on_lane([&] { executor_.project(*sequence_, layer_idx_, all); });
  if (keys > 0) {
    std::vector<float> scores(keys);
    const KeyPage key_page{keys_.data() + first_token_ * geometry.kv_tensor_bytes_per_token_layer().value, keys};
    const KeyView view{{&key_page, 1}, keys, geometry.num_kv_heads};
    timing.score_ns = time_on_lane([&] { executor_.score(*sequence_, layer_idx_, view, {}, scores); });
    const std::vector<int> probes = probe_heads();
    std::vector<float> probe_scores(probes.size() * keys);
    const KeyView probe_view{{&key_page, 1}, keys, 1};  // one KV head: the slab is that much smaller
    timing.score_probe_ns = time_on_lane([&] {
      executor_.score(*sequence_, layer_idx_, probe_view,
                      {.grouping = traces::HeadGrouping::probe_heads, .probe_heads = probes}, probe_scores);
    });
  }
  const std::vector<KvPage> pages = pages_of(keys);
  const KvView view{pages, keys};
  timing.attend_ns = time_on_lane([&] { executor_.attend(*sequence_, layer_idx_, all, view); });
  ++layer_idx_;
  return timing;
}

double LayerWalk::time_first_token() {
  const ModelGeometry& geometry = executor_.checkpoint().geometry();
  restart();
  for (int layer = 0; layer < geometry.num_layers; ++layer) time_layer(1, 0);
  std::int32_t id = -1;
  return time_on_lane([&] { executor_.next_token(*sequence_, id); });
}

std::vector<std::unique_ptr<Cell>> operation_cells(const OperationGrid& grid, const ModelGeometry& geometry,
                                                   LayerWalk* walk) {
  std::vector<std::unique_ptr<Cell>> cells;
  for (const std::uint32_t queries : grid.queries) {
    for (const std::uint32_t keys : grid.keys) {
      if (static_cast<int>(queries + keys) > geometry.max_position_embeddings) continue;
      CellSpec spec{.id = fmt::format("layer/{}/queries={}/keys={}", geometry.name, queries, keys),
                    .quantity = "layer",
                    .shape = {{"model", geometry.name}, {"queries", queries}, {"keys", keys}},
                    .metrics = {"project_ns", "attend_ns"},
                    .expected_s = expected_layer_s(geometry, queries, keys)};
      if (keys > 0) spec.metrics.insert(spec.metrics.end(), {"score_ns", "score_probe_ns"});
      cells.push_back(std::make_unique<LayerCell>(queries, keys, walk, std::move(spec)));
    }
  }
  for (const std::uint32_t queries : grid.queries) {
    if (static_cast<int>(queries) > geometry.max_position_embeddings) continue;
    CellSpec spec{.id = fmt::format("begin/{}/queries={}", geometry.name, queries),
                  .quantity = "begin",
                  .shape = {{"model", geometry.name}, {"queries", queries}},
                  .expected_s = 0.001};
    cells.push_back(std::make_unique<BeginCell>(queries, walk, std::move(spec)));
  }
  CellSpec spec{.id = fmt::format("first_token/{}", geometry.name),
                .quantity = "first_token",
                .shape = {{"model", geometry.name}},
                .expected_s = static_cast<double>(geometry.lm_head_bytes().value) / 1e10 + 0.01};
  cells.push_back(std::make_unique<FirstTokenCell>(walk, std::move(spec)));
  return cells;
}

}  // namespace reprefill::calibrate
