#include "calibrate/cuda/gpu_operation_cells.hpp"

#include <algorithm>
#include <numeric>

#include "core/base/random.hpp"
#include "core/model/costs.hpp"
#include "core/pipeline/selection.hpp"

namespace reprefill::calibrate {
namespace {

constexpr std::uint32_t kPageTokens = 16;  // the pages and units of contiguous_kv's chunks
constexpr std::uint32_t kTypicalQueries = 64, kTypicalKeys = 2048;
constexpr std::size_t kManyScores = 16384;

/// A guess for the plan and the time left: what a data-centre GPU does.
double expected_walk_s(const ModelGeometry& geometry, std::uint32_t queries, std::uint32_t keys) {
  constexpr double kFlops = 2e14, kBytes = 2e12, kHostPerLayer = 1e-4;
  const OperationCosts costs(geometry);
  const double flops = costs.project(queries).flops + costs.attend_linear(queries).flops +
                       costs.attend_attention(queries, 0, keys, keys).flops +
                       costs.score(queries, keys, geometry.num_query_heads, geometry.num_kv_heads).flops;
  const double layer = std::max(flops / kFlops, static_cast<double>(geometry.layer_weight_bytes().value) / kBytes);
  return num_gpu_layers(geometry) * (layer + kHostPerLayer);
}

class LayerCell final : public Cell {
 public:
  LayerCell(std::uint32_t queries, std::uint32_t keys, GpuLayerWalk* walk, CellSpec spec)
      : Cell(std::move(spec)), queries_(queries), keys_(keys), walk_(walk) {}
  /// Long prefill draws so much power that clocks fall after some milliseconds; requests run with those clocks.
  void prepare() override {
    constexpr std::uint32_t kHeavyQueries = 512;
    constexpr double kHeatUp_ns = 8e7;
    if (queries_ < kHeavyQueries) return;
    for (double ns = 0; ns < kHeatUp_ns;) ns += std::max(1e6, walk_->walk(queries_, keys_).total_ns);
  }
  Sample sample() override {
    const GpuLayerWalk::Timing timing = walk_->walk(queries_, keys_);
    if (keys_ == 0) return {.values = {timing.project_ns, timing.attend_ns}};
    return {.values = {timing.project_ns, timing.attend_ns, timing.score_ns, timing.score_probe_ns}};
  }

 private:
  std::uint32_t queries_, keys_;
  GpuLayerWalk* walk_;
};

/// One number of a walk.
class WalkCell final : public Cell {
 public:
  WalkCell(GpuLayerWalk* walk, double (*measure)(GpuLayerWalk&), CellSpec spec)
      : Cell(std::move(spec)), walk_(walk), measure_(measure) {}
  Sample sample() override { return {.values = {measure_(*walk_)}}; }

 private:
  GpuLayerWalk* walk_;
  double (*measure_)(GpuLayerWalk&);
};

}  // namespace

OperationGrid quick_gpu_grid() {
  return {.queries = {1, 16, 32, 64, 128, 256, 512, 1024, 2048},
          .keys = {0, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384}};
}

OperationGrid full_gpu_grid() {
  return {.queries = {1, 2, 8, 16, 24, 32, 48, 64, 65, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048},
          .keys = {0, 16, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384}};
}

int num_gpu_layers(const ModelGeometry& geometry) {
  constexpr std::uint64_t kWanted = std::uint64_t{1} << 30, kFewest = 5;
  const std::uint64_t enough = divide_rounding_up(kWanted, geometry.layer_weight_bytes().value);
  return static_cast<int>(
      std::min<std::uint64_t>(std::max(enough, kFewest), static_cast<std::uint64_t>(geometry.num_layers)));
}

const ModelGeometry& GpuLayerWalk::geometry() const { return driver_.executor().checkpoint().geometry(); }

GpuLayerWalk::GpuLayerWalk(GpuDriver& driver, std::uint32_t most_keys) : driver_(driver), most_keys_(most_keys) {
  REPREFILL_CHECK(driver.executor().kv_type() == KvType::bf16, "stored KV is bf16");
  for (int head = 0; head < std::min(3, geometry().group_size()); ++head) probe_heads_.push_back(head);
  scores_ = driver.executor().host_buffer(Bytes{probe_heads_.size() * most_keys * sizeof(float)});
  const std::size_t bytes = most_keys * geometry().kv_tensor_bytes_per_token_layer().value;
  std::vector<std::byte> random(bytes);
  auto* numbers = reinterpret_cast<std::uint16_t*>(random.data());
  RandomStream stream(2, 0, "calibrate/kv");
  for (std::size_t i = 0; i < bytes / 2; ++i) {
    numbers[i] = static_cast<std::uint16_t>(0x3e00 | (stream.below(65536) & 0x80ff));
  }
  for (int layer = 0; layer < geometry().num_layers; ++layer) {
    fill(layers_.emplace_back(), random, static_cast<std::uint64_t>(layer));
  }
  driver_.gpu().synchronize_device();
}

void GpuLayerWalk::fill(StoredLayer& layer, const std::vector<std::byte>& random, std::uint64_t seed) {
  for (engine::GpuArray<std::byte>* tensor : {&layer.keys, &layer.values}) {
    *tensor = engine::GpuArray<std::byte>(driver_.gpu(), random.size());
    driver_.gpu().copy(tensor->data(), random.data(), Bytes{random.size()}, driver_.stream(StepLane::compute));
  }
  std::vector<std::uint32_t> places(most_keys_ / kPageTokens);
  std::iota(places.begin(), places.end(), 0u);
  RandomStream order(7, seed, "calibrate/pages");
  for (std::size_t i = places.size(); i > 1; --i) std::swap(places[i - 1], places[order.below(i)]);
  const std::size_t page_bytes = kPageTokens * geometry().kv_tensor_bytes_per_token_layer().value;
  for (const std::uint32_t place : places) {
    layer.pages.push_back(
        {layer.keys.data() + place * page_bytes, layer.values.data() + place * page_bytes, kPageTokens});
  }
}

std::unique_ptr<engine::Sequence> GpuLayerWalk::begin(std::uint32_t queries, std::uint32_t keys) {
  std::vector<std::int32_t> ids(queries);
  const auto vocab = static_cast<std::uint64_t>(geometry().vocab);
  for (std::uint32_t i = 0; i < queries; ++i) ids[i] = static_cast<std::int32_t>(mix64(i) % vocab);
  return driver_.executor().begin(ids, keys);
}

Step GpuLayerWalk::project(engine::Sequence& sequence, int layer_idx) {
  return {.work = [this, &sequence, layer_idx] {
    driver_.executor().project(sequence, layer_idx, {0, sequence.num_own_tokens()});
  }};
}

/// Chunks for all heads, as contiguous_kv asks; tokens for probe heads, as impress does.
Step GpuLayerWalk::score(engine::Sequence& sequence, int layer_idx, std::uint32_t keys, bool probes) {
  return {.work = [this, &sequence, layer_idx, keys, probes] {
    const KeyPage page{layers_[static_cast<std::size_t>(layer_idx)].keys.data(), keys};
    const KeyView view{{&page, 1}, keys, probes ? 1 : geometry().num_kv_heads};
    engine::ScoreShape shape{.unit_tokens = kPageTokens};
    if (probes) shape = {.grouping = traces::HeadGrouping::probe_heads, .probe_heads = probe_heads_, .unit_tokens = 1};
    const std::size_t count = probes ? probe_heads_.size() * keys : keys / kPageTokens;
    driver_.executor().score(sequence, layer_idx, view, shape, {reinterpret_cast<float*>(scores_.get()), count});
  }};
}

Step GpuLayerWalk::attend(engine::Sequence& sequence, int layer_idx, std::uint32_t keys) {
  return {.work = [this, &sequence, layer_idx, keys] {
    const std::vector<KvPage>& pages = layers_[static_cast<std::size_t>(layer_idx)].pages;
    driver_.executor().attend(sequence, layer_idx, {0, sequence.num_own_tokens()},
                              {.pages = std::span(pages).first(keys / kPageTokens), .num_tokens = keys});
  }};
}

GpuLayerWalk::Timing GpuLayerWalk::walk(std::uint32_t queries, std::uint32_t keys) {
  REPREFILL_CHECK(keys <= most_keys_ && keys % kPageTokens == 0, "{} keys of {}", keys, most_keys_);
  const bool scores = keys > 0;
  const std::unique_ptr<engine::Sequence> sequence = begin(queries, keys);
  std::vector<Step> steps;
  for (int layer = 0; layer < geometry().num_layers; ++layer) {
    steps.push_back(project(*sequence, layer));
    if (scores) {
      steps.push_back(score(*sequence, layer, keys, false));
      steps.push_back(score(*sequence, layer, keys, true));
    }
    steps.push_back(attend(*sequence, layer, keys));
  }
  const std::vector<StepTimes> times = driver_.run(steps);
  const std::size_t each = scores ? 4 : 2, first = geometry().num_layers > 1 ? each : 0;
  Timing sum;
  for (std::size_t at = first; at < times.size(); at += each) {
    sum.project_ns += times[at].service_ns();
    if (scores) {
      sum.score_ns += times[at + 1].service_ns();
      sum.score_probe_ns += times[at + 2].service_ns();
    }
    sum.attend_ns += times[at + each - 1].service_ns();
    for (std::size_t i = std::max<std::size_t>(at, 1); i < at + each; ++i) {
      sum.gap_ns += static_cast<double>(std::max<std::int64_t>(0, (times[i].start - times[i - 1].end).value)) /
                    static_cast<double>(each);
    }
  }
  const double count = static_cast<double>((times.size() - first) / each);
  return {sum.project_ns / count,     sum.score_ns / count,
          sum.score_probe_ns / count, sum.attend_ns / count,
          sum.gap_ns / count,         static_cast<double>((times.back().end - times.front().start).value)};
}

double GpuLayerWalk::first_token_ns() {
  const std::unique_ptr<engine::Sequence> sequence = begin(1, 0);
  std::vector<Step> steps;
  for (int layer = 0; layer < geometry().num_layers; ++layer) {
    steps.push_back(project(*sequence, layer));
    steps.push_back(attend(*sequence, layer, 0));
  }
  auto* id = reinterpret_cast<std::int32_t*>(scores_.get());
  steps.push_back({.work = [this, &sequence, id] { driver_.executor().next_token(*sequence, *id); }});
  const double ns = driver_.run(steps).back().service_ns();
  if (*id < 0) throw MachineError("random weights gave logits that are no numbers");
  return ns;
}

double GpuLayerWalk::turnaround_ns() {
  const auto room = static_cast<std::uint32_t>(geometry().max_position_embeddings) - kTypicalQueries;
  const std::uint32_t keys = std::min({kTypicalKeys, most_keys_, room}) / kPageTokens * kPageTokens;
  const std::unique_ptr<engine::Sequence> sequence = begin(kTypicalQueries, keys);
  const int last = geometry().num_layers - 1;
  std::vector<Step> steps;
  for (int layer = 0; layer < last; ++layer) {
    steps.push_back(project(*sequence, layer));
    steps.push_back(attend(*sequence, layer, keys));
  }
  steps.push_back(project(*sequence, last));
  steps.push_back(score(*sequence, last, keys, false));
  const std::vector<StepTimes> times = driver_.run(steps);
  driver_.run(Step{.lane = StepLane::host});
  const StepTimes decided = driver_.run(attend(*sequence, last, keys));
  double attends = 0;
  const int first = last > 1 ? 1 : 0;
  for (int layer = first; layer < last; ++layer) attends += times[static_cast<std::size_t>(2 * layer + 1)].service_ns();
  const double steady = last > first ? attends / (last - first) : decided.service_ns();
  return std::max(0.0, static_cast<double>((decided.end - times.back().end).value) - steady);
}

/// Fresh each time: a choice that was made before is one that the branch predictor knows.
double GpuLayerWalk::select_ns(std::size_t num_scores) {
  constexpr int kGroups = 4;
  pipeline::Scores scores;
  scores.num_groups = kGroups;
  scores.num_units = num_scores / kGroups;
  RandomStream random(9, num_selections_++, "calibrate/scores");
  for (std::size_t i = 0; i < scores.num_units * kGroups; ++i) {
    scores.values.push_back(static_cast<float>(random.uniform()));
  }
  const pipeline::SelectionRule rule{.mode = pipeline::SelectionMode::top_k_per_group,
                                     .k = divide_rounding_up<std::uint64_t>(scores.num_units, 10)};
  return driver_.run(Step{.lane = StepLane::host, .work = [&] { pipeline::select_units(scores, rule); }}).service_ns();
}

double GpuLayerWalk::request_overhead_ns() {
  const double steady = walk(kTypicalQueries, 0).project_ns;
  const StepTimes arrival = driver_.run(Step{.lane = StepLane::host});
  for (int i = 0; i < 2; ++i) driver_.run(Step{.lane = StepLane::host});
  std::unique_ptr<engine::Sequence> sequence;
  const StepTimes first = driver_.run(Step{.work = [&] {
    sequence = begin(kTypicalQueries, 0);
    driver_.executor().project(*sequence, 0, {0, kTypicalQueries});
  }});
  return std::max(0.0, static_cast<double>((first.drained - arrival.enqueued).value) - steady);
}

std::vector<std::unique_ptr<Cell>> gpu_operation_cells(const OperationGrid& grid, const ModelGeometry& geometry,
                                                       GpuLayerWalk* walk) {
  std::vector<std::unique_ptr<Cell>> cells;
  for (const std::uint32_t queries : grid.queries) {
    for (const std::uint32_t keys : grid.keys) {
      if (static_cast<int>(queries + keys) > geometry.max_position_embeddings) continue;
      CellSpec spec{.id = fmt::format("layer/{}/queries={}/keys={}", geometry.name, queries, keys),
                    .quantity = "layer",
                    .shape = {{"model", geometry.name}, {"queries", queries}, {"keys", keys}},
                    .metrics = {"project_ns", "attend_ns"},
                    .expected_s = expected_walk_s(geometry, queries, keys)};
      if (keys > 0) spec.metrics.insert(spec.metrics.end(), {"score_ns", "score_probe_ns"});
      cells.push_back(std::make_unique<LayerCell>(queries, keys, walk, std::move(spec)));
    }
  }
  const auto add = [&](const char* quantity, double (*measure)(GpuLayerWalk&)) {
    CellSpec spec{.id = fmt::format("{}/{}", quantity, geometry.name),
                  .quantity = quantity,
                  .shape = {{"model", geometry.name}},
                  .expected_s = expected_walk_s(geometry, 1, 0)};
    cells.push_back(std::make_unique<WalkCell>(walk, measure, std::move(spec)));
  };
  add("first_token", [](GpuLayerWalk& w) { return w.first_token_ns(); });
  add("operation_gap", [](GpuLayerWalk& w) { return w.walk(kTypicalQueries, 0).gap_ns; });
  add("turnaround", [](GpuLayerWalk& w) { return w.turnaround_ns(); });
  add("request_overhead", [](GpuLayerWalk& w) { return w.request_overhead_ns(); });
  CellSpec select{.id = "select_scores/" + geometry.name,
                  .quantity = "select_scores",
                  .shape = {{"model", geometry.name}, {"scores", kManyScores}},
                  .expected_s = 0.001};
  cells.push_back(std::make_unique<WalkCell>(
      walk, [](GpuLayerWalk& w) { return w.select_ns(kManyScores); }, std::move(select)));
  return cells;
}

}  // namespace reprefill::calibrate
