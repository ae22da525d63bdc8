#include "calibrate/cuda/gpu_layer_walk.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/base/random.hpp"
#include "core/pipeline/selection.hpp"

namespace reprefill::calibrate {
namespace {

constexpr std::uint32_t kUnitTokens = 16;  // contiguous_kv's chunks
constexpr std::uint32_t kTypicalQueries = 64, kTypicalKeys = 2048;
constexpr std::uint32_t kHeavyQueries = 512;  // from here on prefill heats

}  // namespace

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
  const auto heads = static_cast<std::size_t>(geometry().num_kv_heads);
  scores_ = driver.executor().host_buffer(Bytes{std::max(probe_heads_.size(), heads) * most_keys * sizeof(float)});
  const std::size_t bytes = most_keys * geometry().kv_tensor_bytes_per_token_layer().value;
  std::vector<std::byte> random(bytes);
  auto* numbers = reinterpret_cast<std::uint16_t*>(random.data());
  RandomStream stream(2, 0, "calibrate/kv");
  for (std::size_t i = 0; i < bytes / 2; ++i) {
    numbers[i] = static_cast<std::uint16_t>(0x3e00 | (stream.below(65536) & 0x80ff));
  }
  for (int layer = 0; layer < geometry().num_layers; ++layer) fill(layers_.emplace_back(), random);
  driver_.gpu().synchronize_device();
}

void GpuLayerWalk::fill(StoredLayer& layer, const std::vector<std::byte>& random) {
  for (engine::GpuArray<std::byte>* tensor : {&layer.keys, &layer.values}) {
    *tensor = engine::GpuArray<std::byte>(driver_.gpu(), random.size());
    driver_.gpu().copy(tensor->data(), random.data(), Bytes{random.size()}, driver_.stream(StepLane::compute));
  }
}

std::span<const KvPage> GpuLayerWalk::pages_of(int layer_idx, std::uint32_t page_tokens) {
  StoredLayer& layer = layers_[static_cast<std::size_t>(layer_idx)];
  std::vector<KvPage>& pages = layer.pages[page_tokens];
  if (!pages.empty()) return pages;
  std::vector<std::uint32_t> places(most_keys_ / page_tokens);
  std::iota(places.begin(), places.end(), 0u);
  RandomStream order(7, static_cast<std::uint64_t>(layer_idx), "calibrate/pages");
  for (std::size_t i = places.size(); i > 1; --i) std::swap(places[i - 1], places[order.below(i)]);
  const std::size_t page_bytes = page_tokens * geometry().kv_tensor_bytes_per_token_layer().value;
  for (const std::uint32_t place : places) {
    pages.push_back({layer.keys.data() + place * page_bytes, layer.values.data() + place * page_bytes, page_tokens});
  }
  return pages;
}

KvView GpuLayerWalk::Laid::of(int layer_idx) const {
  KvView of_layer{.pages = pages[static_cast<std::size_t>(layer_idx)], .num_tokens = view.keys};
  if (view.mask == pipeline::AttentionMask::keys) of_layer.keep_k = mask;
  if (view.mask == pipeline::AttentionMask::values) of_layer.keep_v = mask;
  return of_layer;
}

GpuLayerWalk::Laid GpuLayerWalk::lay_out(const WalkedView& view) {
  REPREFILL_CHECK(view.keys <= most_keys_ && view.keys % view.page_tokens == 0, "{} keys of {} in pages of {}",
                  view.keys, most_keys_, view.page_tokens);
  Laid laid{.view = view, .mask = {}, .pages = {}};
  for (int layer = 0; layer < geometry().num_layers; ++layer) {
    laid.pages.push_back(pages_of(layer, view.page_tokens).first(view.keys / view.page_tokens));
  }
  if (view.mask == pipeline::AttentionMask::none) return laid;
  laid.mask.resize(static_cast<std::size_t>(geometry().num_kv_heads) * view.keys);
  RandomStream choice(11, 0, "calibrate/mask");
  for (std::uint8_t& kept : laid.mask) kept = choice.uniform() < view.kept_share ? 1 : 0;
  return laid;
}

std::unique_ptr<engine::Sequence> GpuLayerWalk::begin(std::uint32_t queries, std::uint32_t keys, std::uint64_t salt) {
  std::vector<std::int32_t> ids(queries);
  const auto vocab = static_cast<std::uint64_t>(geometry().vocab);
  for (std::uint32_t i = 0; i < queries; ++i) ids[i] = static_cast<std::int32_t>(combine64(salt, i) % vocab);
  return driver_.executor().begin(ids, keys);
}

Step GpuLayerWalk::project(engine::Sequence& sequence, int layer_idx) {
  return {.work = [this, &sequence, layer_idx] {
    driver_.executor().project(sequence, layer_idx, {0, sequence.num_own_tokens()});
  }};
}

engine::ScoreShape GpuLayerWalk::shape_of(traces::HeadGrouping grouping) const {
  if (grouping == traces::HeadGrouping::all_heads) return {.unit_tokens = kUnitTokens};
  if (grouping == traces::HeadGrouping::per_kv_head) return {.grouping = grouping, .unit_tokens = 1};
  return {.grouping = grouping, .probe_heads = probe_heads_, .unit_tokens = 1};
}

std::uint64_t GpuLayerWalk::num_scores(const ModelGeometry& geometry, const WalkedChoice& choice) {
  if (choice.grouping == traces::HeadGrouping::all_heads) return choice.keys / kUnitTokens;
  const int groups =
      choice.grouping == traces::HeadGrouping::per_kv_head ? geometry.num_kv_heads : std::min(3, geometry.group_size());
  return static_cast<std::uint64_t>(groups) * choice.keys;
}

Step GpuLayerWalk::score(engine::Sequence& sequence, int layer_idx, const WalkedChoice& choice) {
  return {.work = [this, &sequence, layer_idx, choice] {
    const KeyPage page{layers_[static_cast<std::size_t>(layer_idx)].keys.data(), choice.keys};
    const bool probes = choice.grouping == traces::HeadGrouping::probe_heads;
    const KeyView view{{&page, 1}, choice.keys, probes ? 1 : geometry().num_kv_heads};
    driver_.executor().score(sequence, layer_idx, view, shape_of(choice.grouping),
                             {reinterpret_cast<float*>(scores_.get()), num_scores(geometry(), choice)});
  }};
}

Step GpuLayerWalk::attend(engine::Sequence& sequence, int layer_idx, const Laid& laid) {
  return {.work = [this, &sequence, layer_idx, &laid] {
    driver_.executor().attend(sequence, layer_idx, {0, sequence.num_own_tokens()}, laid.of(layer_idx));
  }};
}

GpuLayerWalk::Timing GpuLayerWalk::walk(std::uint32_t queries, const WalkedView& view) {
  return walk(queries, view, false);
}

GpuLayerWalk::Timing GpuLayerWalk::walk_with_scores(std::uint32_t queries, std::uint32_t keys) {
  REPREFILL_CHECK(keys > 0 && keys % kUnitTokens == 0, "{} keys to score in units of {}", keys, kUnitTokens);
  return walk(queries, {.keys = keys}, true);
}

GpuLayerWalk::Timing GpuLayerWalk::walk(std::uint32_t queries, const WalkedView& view, bool scores) {
  const Laid laid = lay_out(view);
  const std::unique_ptr<engine::Sequence> sequence = begin(queries, view.keys);
  std::vector<Step> steps;
  for (int layer = 0; layer < geometry().num_layers; ++layer) {
    steps.push_back(project(*sequence, layer));
    if (scores) {
      // Chunks for all heads, as contiguous_kv asks; tokens for probe heads, as impress does.
      steps.push_back(score(*sequence, layer, {.keys = view.keys}));
      steps.push_back(score(*sequence, layer, {.grouping = traces::HeadGrouping::probe_heads, .keys = view.keys}));
    }
    steps.push_back(attend(*sequence, layer, laid));
  }
  const std::vector<StepTimes> times = driver_.run(steps);
  if (queries >= kHeavyQueries) hot_at_ = clock_.now();
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

void GpuLayerWalk::heat_up() {
  constexpr double kLong_ns = 2e8;
  constexpr Nanoseconds kStillHot{20'000'000};
  constexpr std::uint32_t kMostQueries = 2048;
  if (hot_at_ && clock_.now() - *hot_at_ < kStillHot) return;
  const auto positions = static_cast<std::uint32_t>(geometry().max_position_embeddings);
  for (double ns = 0; ns < kLong_ns;) ns += std::max(1e6, walk(std::min(kMostQueries, positions), {}).total_ns);
}

double GpuLayerWalk::first_token_ns() {
  const Laid nothing = lay_out({});
  const std::unique_ptr<engine::Sequence> sequence = begin(1, 0);
  std::vector<Step> steps;
  for (int layer = 0; layer < geometry().num_layers; ++layer) {
    steps.push_back(project(*sequence, layer));
    steps.push_back(attend(*sequence, layer, nothing));
  }
  auto* id = reinterpret_cast<std::int32_t*>(scores_.get());
  steps.push_back({.work = [this, &sequence, id] { driver_.executor().next_token(*sequence, *id); }});
  const double ns = driver_.run(steps).back().service_ns();
  if (*id < 0) throw MachineError("random weights gave logits that are no numbers");
  return ns;
}

double GpuLayerWalk::turnaround_ns() {
  const auto room = static_cast<std::uint32_t>(geometry().max_position_embeddings) - kTypicalQueries;
  const std::uint32_t keys = std::min({kTypicalKeys, most_keys_, room}) / kUnitTokens * kUnitTokens;
  const Laid laid = lay_out({.keys = keys});
  const std::unique_ptr<engine::Sequence> sequence = begin(kTypicalQueries, keys);
  const int last = geometry().num_layers - 1;
  std::vector<Step> steps;
  for (int layer = 0; layer < last; ++layer) {
    steps.push_back(project(*sequence, layer));
    steps.push_back(attend(*sequence, layer, laid));
  }
  steps.push_back(project(*sequence, last));
  steps.push_back(score(*sequence, last, {.keys = keys}));
  const std::vector<StepTimes> times = driver_.run(steps);
  driver_.run(Step{.lane = StepLane::host});
  const StepTimes decided = driver_.run(attend(*sequence, last, laid));
  double attends = 0;
  const int first = last > 1 ? 1 : 0;
  for (int layer = first; layer < last; ++layer) attends += times[static_cast<std::size_t>(2 * layer + 1)].service_ns();
  const double steady = last > first ? attends / (last - first) : decided.service_ns();
  return std::max(0.0, static_cast<double>((decided.end - times.back().end).value) - steady);
}

namespace {

/// In place of what random weights give: their attention is nearly even, so that nearly all scores begin with the same
/// bits, and choosing from such takes three times as long. A trained model's masses span several powers of ten.
void spread_scores(std::vector<float>& scores, std::uint64_t choice, int layer_idx) {
  constexpr double kSigma = 2;  // of the natural logarithm
  RandomStream random(13, combine64(choice, static_cast<std::uint64_t>(layer_idx)), "calibrate/scores");
  for (float& score : scores) score = static_cast<float>(std::exp(random.normal(0, kSigma)));
}

}  // namespace

/// Other scores each time: a choice that was made before is one that the branch predictor knows.
double GpuLayerWalk::select_ns(const WalkedChoice& choice) {
  const Laid nothing = lay_out({});
  const std::unique_ptr<engine::Sequence> sequence = begin(kTypicalQueries, choice.keys, ++num_choices_);
  pipeline::SelectionRule rule{.mode = pipeline::SelectionMode::top_k_of_sum};
  if (choice.grouping == traces::HeadGrouping::per_kv_head) rule.mode = pipeline::SelectionMode::top_k_per_group;
  if (choice.grouping == traces::HeadGrouping::probe_heads) rule.mode = pipeline::SelectionMode::probe_vote;
  const std::uint64_t count = num_scores(geometry(), choice);
  double sum = 0;
  int num_layers = 0;
  for (int layer = 0; layer < geometry().num_layers; ++layer) {
    pipeline::Scores scores;
    double fetch_ns = 0;
    std::vector<Step> steps = {project(*sequence, layer), score(*sequence, layer, choice)};
    steps.back().finish = [&] {
      const Nanoseconds start = clock_.now();
      std::memcpy(scores.values.data(), scores_.get(), scores.values.size() * sizeof(float));
      fetch_ns = static_cast<double>((clock_.now() - start).value);
      spread_scores(scores.values, num_choices_, layer);
    };
    scores.values.resize(count);
    scores.num_units = choice.grouping == traces::HeadGrouping::all_heads ? count : choice.keys;
    scores.num_groups = static_cast<int>(count / scores.num_units);
    rule.k = divide_rounding_up<std::uint64_t>(scores.num_units, 10);
    driver_.run(steps);
    const StepTimes chosen =
        driver_.run(Step{.lane = StepLane::host, .work = [&] { pipeline::select_units(scores, rule); }});
    driver_.run(attend(*sequence, layer, nothing));
    if (layer == 0 && geometry().num_layers > 1) continue;
    sum += fetch_ns + chosen.service_ns();
    ++num_layers;
  }
  return sum / num_layers;
}

double GpuLayerWalk::request_overhead_ns() {
  const double steady = walk(kTypicalQueries, {}).project_ns;
  const StepTimes arrival = driver_.run(Step{.lane = StepLane::host});
  for (int i = 0; i < 2; ++i) driver_.run(Step{.lane = StepLane::host});
  std::unique_ptr<engine::Sequence> sequence;
  const StepTimes first = driver_.run(Step{.work = [&] {
    sequence = begin(kTypicalQueries, 0);
    driver_.executor().project(*sequence, 0, {0, kTypicalQueries});
  }});
  return std::max(0.0, static_cast<double>((first.drained - arrival.enqueued).value) - steady);
}

}  // namespace reprefill::calibrate
