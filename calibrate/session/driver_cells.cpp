#include "calibrate/session/driver_cells.hpp"

#include <algorithm>
#include <map>

#include "calibrate/meter/statistics.hpp"
#include "calibrate/session/session_work.hpp"
#include "core/base/random.hpp"
#include "engine/store/store_writer.hpp"
#include "engine/store/synthesize.hpp"
#include "engine/store/system_layouts.hpp"

namespace reprefill::calibrate {
namespace {

std::vector<std::int32_t> ids_of(const ModelGeometry& geometry, std::uint32_t stream, std::uint32_t count) {
  RandomStream random(7, stream, "calibrate/probe");
  std::vector<std::int32_t> ids(count);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(geometry.vocab)));
  return ids;
}

/// Lane times of one request's compute.
struct Handling {
  std::vector<double> start_ns, notice_ns;

  void add(std::span<const record::Span> spans) {
    std::map<int, Nanoseconds> attended;
    for (const record::Span& span : spans) {
      if (span.operation == record::Operation::attend) attended[span.layer_idx] = span.end;
    }
    for (const record::Span& span : spans) {
      if (span.operation != record::Operation::project && span.operation != record::Operation::attend) continue;
      start_ns.push_back(static_cast<double>((span.start - span.ready).value));
      // A projection waits for the attention before it alone; issued before that ended, it tells when the end was
      // heard.
      const auto before = attended.find(span.layer_idx - 1);
      const bool waited = span.operation == record::Operation::project && before != attended.end() &&
                          span.issued < before->second && span.ready >= before->second;
      if (waited) notice_ns.push_back(static_cast<double>((span.ready - before->second).value));
    }
  }
};

class DriverCell final : public Cell {
 public:
  DriverCell(const DriverParts& parts, CellSpec spec) : Cell(std::move(spec)), parts_(parts) {}

  void prepare() override {
    engine::SessionOptions options{
        .system = spec().shape.at("system"), .unregistered_buffers = parts_.unregistered_buffers, .keep_spans = true};
    options.system_params = probe_params(spec().shape, parts_.model->checkpoint->geometry());
    session_ = std::make_unique<engine::Session>(*parts_.model, parts_.store, options);
  }

  Sample sample() override {
    const ModelGeometry& geometry = parts_.model->checkpoint->geometry();
    std::vector<engine::Prompt> prompts;
    for (std::uint32_t prefix = 0; prefix < kProbePrefixes; ++prefix) {
      prompts.push_back({.ids = ids_of(geometry, prefix, probe_prefix_tokens(geometry))});
      const std::vector<std::int32_t> suffix = ids_of(geometry, kProbePrefixes + num_served_++, kProbeSuffixTokens);
      prompts.back().ids.insert(prompts.back().ids.end(), suffix.begin(), suffix.end());
    }
    Handling handling;
    Sample sample{.values = {0, 0, 0, 0, 0}};
    const auto share = 1 / static_cast<double>(prompts.size());
    double ttft_ns = 0;
    SessionWork work;
    engine::SessionCallbacks callbacks;
    callbacks.on_outcome = [&](const engine::RequestOutcome& outcome) {
      const engine::DriverWork& driver = session_->machine().driver_work();
      const Nanoseconds busy = std::max(Nanoseconds{0}, outcome.ttft() - driver.waited);
      ttft_ns += share * static_cast<double>(outcome.ttft().value);
      work += work_of(outcome.spans);
      sample.values[0] += share * static_cast<double>(busy.value);
      sample.values[1] += share * static_cast<double>(driver.operations);
      sample.values[2] += share * static_cast<double>(driver.pieces);
      handling.add(outcome.spans);
    };
    session_->serve(prompts, callbacks);
    sample.values[3] = median(handling.start_ns);
    sample.extra = {{"ttft_ns", ttft_ns}, {"work", to_json(work)}};
    sample.values[4] = handling.notice_ns.empty() ? 0 : median(handling.notice_ns);
    return sample;
  }
  void finish() override { session_.reset(); }

 private:
  DriverParts parts_;
  std::unique_ptr<engine::Session> session_;
  std::uint32_t num_served_ = 0;
};

}  // namespace

std::uint32_t probe_prefix_tokens(const ModelGeometry& geometry) {
  constexpr std::uint32_t kMost = 2048, kBlock = 64;
  const auto positions = static_cast<std::uint32_t>(geometry.max_position_embeddings);
  return std::min(kMost, (positions - std::min(positions, kProbeSuffixTokens)) / kBlock * kBlock);
}

Json probe_params(const Json& shape, const ModelGeometry& geometry) {
  Json params = Json::object();
  if (!shape.at("budget").is_null()) params["budget"] = shape.at("budget");
  if (shape.at("system") != "resident") {
    const Bytes prefix = probe_prefix_tokens(geometry) * geometry.kv_bytes_per_token();
    params["gpu_cache_bytes"] = params["host_cache_bytes"] = prefix.value / 2;
  }
  return params;
}

engine::Store write_probe_store(const engine::Model& model, const std::filesystem::path& folder,
                                std::uint32_t prefix_tokens) {
  const ModelGeometry& geometry = model.checkpoint->geometry();
  engine::StoreGeometry stored = engine::StoreGeometry::of(geometry);
  stored.kv_type = model.executor->kv_type();
  const engine::StoreManifest manifest{
      .model = {.name = geometry.name, .fingerprint = model.checkpoint->fingerprint(), .geometry = stored},
      .layouts = engine::default_layouts(geometry)};
  {
    engine::StoreWriter writer(folder, manifest);
    const std::size_t bytes = prefix_tokens * stored.tensor_bytes_per_token().value;
    std::vector<std::byte> keys(bytes), values(bytes);
    for (std::uint32_t prefix = 0; prefix < kProbePrefixes; ++prefix) {
      engine::SegmentWriter segment = writer.begin({.token_ids = ids_of(geometry, prefix, prefix_tokens)});
      for (int layer = 0; layer < geometry.num_layers; ++layer) {
        engine::fill_synthetic_kv(1, segment.key(), layer, engine::KvTensor::keys, stored.kv_type, keys);
        engine::fill_synthetic_kv(1, segment.key(), layer, engine::KvTensor::values, stored.kv_type, values);
        segment.write_layer({keys, values});
      }
      writer.finish(segment);
    }
  }
  return engine::Store::open(folder);
}

std::vector<std::unique_ptr<Cell>> driver_cells(const ModelGeometry& geometry, const DriverParts& parts) {
  std::vector<std::unique_ptr<Cell>> cells;
  if (probe_prefix_tokens(geometry) == 0) return cells;
  struct Probe {
    const char* system;
    Json budget;
  };
  const std::vector<Probe> probes = {{"resident", 0.5},       {"attention_store", nullptr},
                                     {"contiguous_kv", 0.05}, {"contiguous_kv", 0.5},
                                     {"impress", 0.5},        {"as_h2o", 0.5}};
  for (const Probe& probe : probes) {
    CellSpec spec{.id = fmt::format("driver/{}/{}{}", geometry.name, probe.system,
                                    probe.budget.is_null() ? "" : fmt::format("/budget={}", probe.budget.dump())),
                  .quantity = "driver",
                  .shape = {{"model", geometry.name}, {"system", probe.system}, {"budget", probe.budget}},
                  .metrics = {"busy_ns", "operations", "pieces", "start_ns", "notice_ns"},
                  .expected_s = 0.1};
    cells.push_back(std::make_unique<DriverCell>(parts, std::move(spec)));
  }
  return cells;
}

}  // namespace reprefill::calibrate
