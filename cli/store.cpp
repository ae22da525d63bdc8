// `reprefill store`: what a prefix store holds, whether it is sound, removing from it, and stores of random KV.
#include "cli/store_build.hpp"
#include "cli/verbs.hpp"
#include "core/base/files.hpp"
#include "core/base/progress.hpp"
#include "core/base/text_table.hpp"
#include "engine/store/synthesize.hpp"
#include "engine/store/system_layouts.hpp"
#include "engine/store/verify.hpp"

namespace reprefill::cli {
namespace {

struct StoreOptions {
  std::string store;
  bool json = false;
  bool repair = false;
  bool all = false;
  bool recursive = false;
  bool quiet = false;
  std::vector<std::string> keys;
  std::string model;
  std::string layouts = "all";
  engine::SynthesisOptions synthesis;
};

Bytes bytes_of(const std::filesystem::path& path) {
  Bytes total;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) total += Bytes{entry.file_size()};
  }
  return total;
}

Json segment_json(const engine::StoreScan& scan, const engine::StoredSegment& segment) {
  Json json = {{"key", segment.key.to_hex()}, {"num_tokens", segment.num_tokens()}};
  json["parent"] = segment.parent ? Json(segment.parent->key.to_hex()) : Json(nullptr);
  json["parent_tokens"] = segment.parent ? segment.parent->num_tokens : 0;
  json["bytes"] = bytes_of(engine::segment_folder(scan.folder, segment.key)).value;
  return json;
}

Json list_json(const engine::StoreScan& scan) {
  const engine::StoreModel& model = scan.manifest.model;
  Json json = {{"store", scan.folder.string()},
               {"model", model.name},
               {"model_fingerprint", fmt::format("{:016x}", model.fingerprint)},
               {"geometry", model.geometry.to_string()},
               {"store_block_tokens", scan.manifest.store_block_tokens},
               {"layouts", Json::array()},
               {"segments", Json::array()},
               {"problems", Json::array()},
               {"leftovers", Json::array()}};
  for (const engine::StoredLayout& layout : scan.manifest.layouts) json["layouts"].push_back(layout_name(layout));
  for (const engine::StoredSegment& segment : scan.segments) json["segments"].push_back(segment_json(scan, segment));
  for (const engine::StoreProblem& problem : scan.problems) json["problems"].push_back(problem.what);
  for (const std::filesystem::path& path : scan.leftovers) json["leftovers"].push_back(path.string());
  return json;
}

void print_list(const Json& json) {
  fmt::print("{}: {} ({}), {}\n", json["store"].get<std::string>(), json["model"].get<std::string>(),
             json["model_fingerprint"].get<std::string>(), json["geometry"].get<std::string>());
  fmt::print("blocks of {} tokens; layouts:", json["store_block_tokens"].get<int>());
  for (const Json& layout : json["layouts"]) fmt::print(" {}", layout.get<std::string>());
  fmt::print("\n\n");
  TextTable table({"key", "parent", "parent tokens", "tokens", "layouts", "bytes"});
  std::uint64_t tokens = 0, bytes = 0;
  for (const Json& segment : json["segments"]) {
    tokens += segment["num_tokens"].get<std::uint64_t>();
    bytes += segment["bytes"].get<std::uint64_t>();
    table.add_row({segment["key"].get<std::string>(),
                   segment["parent"].is_null() ? "-" : segment["parent"].get<std::string>(),
                   segment["parent_tokens"].dump(), segment["num_tokens"].dump(),
                   fmt::format("{}", json["layouts"].size()), segment["bytes"].dump()});
  }
  if (!json["segments"].empty()) fmt::print("{}\n", table.to_text());
  fmt::print("{} segments, {} tokens, {} bytes\n", json["segments"].size(), tokens, bytes);
  for (const Json& problem : json["problems"]) fmt::print("problem: {}\n", problem.get<std::string>());
  for (const Json& path : json["leftovers"]) {
    fmt::print("left over by a killed writer (the next one removes it): {}\n", path.get<std::string>());
  }
}

void list(const StoreOptions& options) {
  const Json json = list_json(engine::scan_store(options.store));
  if (options.json) {
    fmt::print("{}\n", json.dump(2));
  } else {
    print_list(json);
  }
}

void verify(const StoreOptions& options) {
  const engine::StoreScan scan = engine::scan_store(options.store);
  Progress progress("store verify", engine::verify_costs(scan),
                    options.quiet ? ProgressMode::quiet : ProgressMode::automatic, "files");
  const engine::VerifyReport report = engine::verify_store(
      scan, options.repair ? engine::Repair::yes : engine::Repair::no, [&](std::size_t file) { progress.done(file); });
  std::size_t num_open = 0;
  for (const engine::Damage& damage : report.damage) {
    num_open += damage.repaired ? 0u : 1u;
    if (!options.json) fmt::print("{}{}\n", damage.what, damage.repaired ? " (repaired)" : "");
  }
  if (options.json) {
    Json json = {{"num_files", report.num_files}, {"bytes_read", report.bytes_read.value}, {"damage", Json::array()}};
    for (const engine::Damage& damage : report.damage) {
      json["damage"].push_back({{"file", damage.file.string()}, {"what", damage.what}, {"repaired", damage.repaired}});
    }
    fmt::print("{}\n", json.dump(2));
  } else {
    fmt::print("{} files, {} bytes: {}\n", report.num_files, report.bytes_read.value,
               report.damage.empty() ? "sound"
                                     : fmt::format("{} damaged places, {} repaired", report.damage.size(),
                                                   report.damage.size() - num_open));
  }
  if (num_open > 0) {
    throw MachineError(
        fmt::format("{}: {} damaged places; --repair computes auxiliary slabs again, `reprefill store "
                    "remove` takes out segments whose payload is damaged",
                    options.store, num_open));
  }
}

void remove(const StoreOptions& options) {
  if (options.all == !options.keys.empty()) {
    throw ConfigError("store remove: expected either keys (`reprefill store list` shows them) or --all");
  }
  const auto removed = engine::remove_segments(options.store, options.keys,
                                               options.recursive ? engine::Recursive::yes : engine::Recursive::no);
  for (const engine::SegmentKey& key : removed) fmt::print("removed {}\n", key.to_hex());
  fmt::print("{} segments removed\n", removed.size());
}

/// A config.json, a checkpoint's folder, or the name of a file of scenarios/models.
ModelGeometry find_model(const std::string& name, const Environment& environment) {
  const std::filesystem::path path = name;
  if (folder_exists(path)) return read_model_config(path / "config.json");
  const std::filesystem::path shipped = environment.scenario.models / (name + ".json");
  return read_model_config(path_exists(shipped) ? shipped : path);
}

void synthesize(StoreOptions options, const Environment& environment) {
  engine::SynthesisOptions& wanted = options.synthesis;
  wanted.model = find_model(options.model, environment);
  if (wanted.store_block_tokens > 0) {
    wanted.layouts = engine::parse_layouts(options.layouts, wanted.model, wanted.store_block_tokens);
  }
  if (options.quiet) wanted.progress = ProgressMode::quiet;
  const engine::SynthesisReport report = engine::synthesize_store(options.store, wanted);
  const double gigabytes = static_cast<double>(report.bytes_written.value) * 1e-9;
  fmt::print("{}: {} segments written ({} were there), {:.2f} GB in {:.1f} s, {:.2f} GB/s\n", options.store,
             report.num_segments_written, report.num_segments_present, gigabytes, report.seconds,
             report.seconds > 0 ? gigabytes / report.seconds : 0.0);
}

void add_synthesize(CLI::App& verb, const std::shared_ptr<StoreOptions>& options, const Environment& environment) {
  CLI::App* make = verb.add_subcommand("synthesize", "A store of random KV, of any geometry and size");
  engine::SynthesisOptions& wanted = options->synthesis;
  make->add_option("--store", options->store, "Folder of the store, new or of an earlier run")->required();
  make->add_option("--model", options->model, "A model of scenarios/models, a config.json or a checkpoint's folder")
      ->required();
  make->add_option("--prefixes", wanted.num_prefixes, "Prefixes (default 1)");
  make->add_option("--tokens", wanted.prefix_tokens, "Tokens of each, rounded down to blocks (default 4096)");
  make->add_option("--segments-per-prefix", wanted.segments_per_prefix, "Length of each chain (default 1)");
  make->add_option("--block-tokens", wanted.store_block_tokens, "store_block_tokens (default 64)");
  make->add_option("--layouts", options->layouts, "Names apart by commas (default all: what the systems read)");
  make->add_option("--seed", wanted.seed, "Seed (default 1)");
  make->add_option("--jobs", wanted.num_threads, "Threads (default: as the machine has, up to 4)")
      ->check(CLI::Range(1, 1024));
  make->add_flag("--quiet", options->quiet, "No progress");
  make->callback([options, environment] { synthesize(*options, environment); });
}

}  // namespace

void add_store(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<StoreOptions>();
  CLI::App* verb =
      app.add_subcommand("store", "Prefix KV on disk: build, append, list, verify, remove, synthesize, reorder");
  verb->require_subcommand(1);

  CLI::App* list_verb = verb->add_subcommand("list", "Segments, layouts, sizes, problems and what killed writers left");
  list_verb->add_option("--store", options->store, "Folder of the store")->required();
  list_verb->add_flag("--json", options->json, "Machine-readable");
  list_verb->callback([options] { list(*options); });

  CLI::App* verify_verb =
      verb->add_subcommand("verify", "Check every checksum; exit code 3 where something is damaged");
  verify_verb->add_option("--store", options->store, "Folder of the store")->required();
  verify_verb->add_flag("--repair", options->repair, "Compute damaged identification and probe keys again");
  verify_verb->add_flag("--json", options->json, "Machine-readable");
  verify_verb->add_flag("--quiet", options->quiet, "No progress");
  verify_verb->callback([options] { verify(*options); });

  CLI::App* remove_verb = verb->add_subcommand("remove", "Remove segments, sound or damaged");
  remove_verb->add_option("--store", options->store, "Folder of the store")->required();
  remove_verb->add_option("keys", options->keys, "Keys, or their first digits (at least 4)");
  remove_verb->add_flag("--all", options->all, "Every segment");
  remove_verb->add_flag("--recursive", options->recursive, "Also those that extend them");
  remove_verb->callback([options] { remove(*options); });

  add_store_build(*verb);
  add_synthesize(*verb, options, environment);
  add_store_reorder(*verb);
}

}  // namespace reprefill::cli
