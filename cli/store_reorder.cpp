// `reprefill store reorder`: the tokens of a store packed by importance, as IMPRESS reads them.
#include "cli/store_build.hpp"
#include "core/base/progress.hpp"
#include "engine/store/calibration.hpp"
#include "traces/importance/recorded_importance.hpp"

namespace reprefill::cli {
namespace {

struct ReorderVerb {
  std::string store, importance, requests, model, tokenizer, layout;
  std::uint32_t calibration_requests = pipeline::ReorderParams{}.calibration_requests;
  bool quiet = false;
};

/// What becomes orders, and lives until they are written.
struct Calibration {
  std::unique_ptr<traces::ImportanceSource> importance;
  std::vector<std::vector<std::int32_t>> ids;  // of a recording's prompts
  std::vector<std::uint64_t> recorded;         // those of them that it has
};

std::vector<int> probed_kv_heads(const engine::StoreGeometry& geometry, const std::vector<int>& probe_heads) {
  const int group = static_cast<int>(geometry.num_query_heads / geometry.num_kv_heads);
  std::vector<int> heads;
  for (const int head : probe_heads) heads.push_back(head / group);
  return heads;
}

void check_recorded_from(const traces::RecordedImportance& recording, const engine::StoreGeometry& geometry,
                         const std::string& file) {
  const auto& from = recording.header().recorded_from;
  if (!from || (from->num_layers == static_cast<int>(geometry.num_layers) &&
                from->num_query_heads == static_cast<int>(geometry.num_query_heads) &&
                from->num_kv_heads == static_cast<int>(geometry.num_kv_heads))) {
    return;
  }
  throw ConfigError(fmt::format("{}: recorded_from: found {} layers, {} query heads and {} KV heads; the store has {}",
                                file, from->num_layers, from->num_query_heads, from->num_kv_heads,
                                geometry.to_string()));
}

Calibration open_recording(const ReorderVerb& options, const engine::StoreGeometry& geometry) {
  if (options.requests.empty() || (options.model.empty() && options.tokenizer.empty())) {
    throw ConfigError(
        "--requests: a recording has no tokens: expected the file whose requests it is of, and --model, whose "
        "tokenizer reads them");
  }
  auto recording = std::make_unique<traces::RecordedImportance>(traces::RecordedImportance::open(options.importance));
  check_recorded_from(*recording, geometry, options.importance);
  const std::string own = options.model + "/tokenizer.json";
  const engine::Tokenizer tokenizer = engine::Tokenizer::open(options.tokenizer.empty() ? own : options.tokenizer);
  Calibration calibration{.importance = nullptr, .ids = {}, .recorded = recording->requests()};
  for (const engine::Prompt& prompt : engine::read_prompts(options.requests, tokenizer, 1)) {
    calibration.ids.push_back(prompt.ids.empty() ? tokenizer.encode(prompt.text) : prompt.ids);
  }
  if (!calibration.recorded.empty() && calibration.recorded.back() >= calibration.ids.size()) {
    throw ConfigError(fmt::format("--requests {}: found {} requests; {} has scores of request {}", options.requests,
                                  calibration.ids.size(), options.importance, calibration.recorded.back()));
  }
  calibration.importance = std::move(recording);
  return calibration;
}

Calibration open_calibration(const ReorderVerb& options, const engine::StoreManifest& manifest,
                             const engine::StoredLayout& plain) {
  const engine::StoreGeometry& geometry = manifest.model.geometry;
  Calibration calibration;
  if (is_importance_preset(options.importance)) {
    if (!options.requests.empty()) throw ConfigError("--requests: a preset has scores of its own requests");
    calibration.importance =
        open_importance_preset(options.importance, "--importance", static_cast<int>(geometry.num_kv_heads),
                               probed_kv_heads(geometry, plain.probe_heads));
  } else {
    calibration = open_recording(options, geometry);
  }
  engine::check_probe_groups(*calibration.importance, plain, options.importance);
  return calibration;
}

engine::OrderSource orders_of(const engine::Store& store, const Calibration& calibration, const ReorderVerb& options) {
  const std::uint32_t count = options.calibration_requests;
  if (options.requests.empty()) return engine::orders_from_generator(store, *calibration.importance, count);
  std::vector<pipeline::CalibrationRequest> requests;
  for (const std::uint64_t number : calibration.recorded) {
    requests.push_back(engine::calibration_request(store, calibration.ids[number], number));
  }
  return engine::orders_from_recording(store, *calibration.importance, requests, count, options.requests);
}

void run(const ReorderVerb& options) {
  const engine::StoreManifest manifest = engine::read_manifest(options.store);
  const Calibration calibration =
      open_calibration(options, manifest, engine::layout_to_reorder(manifest, options.layout));
  std::optional<Progress> progress;
  const auto on_segment = [&](std::size_t done, std::size_t all) {
    if (!progress) {
      progress.emplace("store reorder", std::vector<double>(all, 1.0),
                       options.quiet ? ProgressMode::quiet : ProgressMode::automatic, "segments");
    }
    if (done > 0) progress->done(done - 1);
  };
  const engine::ReorderReport report = engine::reorder_store(
      options.store,
      {.layout = options.layout, .calibration_requests = options.calibration_requests, .on_segment = on_segment},
      [&](const engine::Store& store) { return orders_of(store, calibration, options); });
  fmt::print("{}: {} of {} segments, ordered by {} requests each; {} bytes of KV read, {} bytes written\n",
             options.store, layout_name(report.layout), report.num_segments, options.calibration_requests,
             report.read.value, report.written.value);
}

}  // namespace

void add_store_reorder(CLI::App& store) {
  auto options = std::make_shared<ReorderVerb>();
  CLI::App* verb = store.add_subcommand(
      "reorder", "Pack each segment's tokens, layer by layer, by their mean importance to some requests");
  verb->add_option("--store", options->store, "Folder of the store")->required();
  verb->add_option("--importance", options->importance,
                   "Importance trace of those requests (run --record-importance), or preset:NAME")
      ->required();
  verb->add_option("--requests", options->requests, "JSONL of the requests that the trace is of");
  verb->add_option("--model", options->model, "Folder of the checkpoint whose tokenizer reads them");
  verb->add_option("--tokenizer", options->tokenizer, "tokenizer.json, where it is not in the model's folder");
  verb->add_option("--calibration-requests", options->calibration_requests,
                   "Requests behind the order of each segment (default 4), as reorder.calibration_requests")
      ->check(CLI::Range(1, 1000000));
  verb->add_option("--layout", options->layout, "The copy to reorder, where several have probe keys");
  verb->add_flag("--quiet", options->quiet, "No progress");
  verb->callback([options] { run(*options); });
}

}  // namespace reprefill::cli
