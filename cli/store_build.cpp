// `reprefill store build` and `append`: prefixes through the model, their KV to the store.
#include "cli/store_build.hpp"

#include "core/base/files.hpp"
#include "core/base/progress.hpp"
#include "core/base/text_table.hpp"
#include "engine/session/prefix_builder.hpp"
#include "engine/store/system_layouts.hpp"

namespace reprefill::cli {
namespace {

struct BuildOptions {
  ModelOptions model;
  std::string store;
  std::vector<std::string> texts;
  std::string prefixes;
  std::string layouts = "all";
  std::uint32_t store_block_tokens = 64;
  bool is_append = false;
  bool quiet = false;
};

/// Prefixes by name: files of text, or the `prefix` fields of a JSONL file (each text once).
std::vector<engine::Prompt> prefixes_of(const BuildOptions& options, const engine::Tokenizer& tokenizer) {
  std::vector<engine::Prompt> prefixes;
  for (const std::string& file : options.texts) {
    prefixes.push_back({.name = file, .text = std::string(read_whole_file(file, 0).text())});
  }
  if (!options.prefixes.empty()) {
    std::vector<engine::Prompt> read = engine::read_prefixes(options.prefixes, tokenizer);
    prefixes.insert(prefixes.end(), std::make_move_iterator(read.begin()), std::make_move_iterator(read.end()));
  }
  return prefixes;
}

engine::StoreManifest manifest_of(const BuildOptions& options, const engine::Model& model) {
  if (options.is_append) return engine::read_manifest(options.store);
  engine::StoreManifest manifest{.model = store_model(model), .store_block_tokens = options.store_block_tokens};
  manifest.layouts = engine::parse_layouts(options.layouts, model.checkpoint->geometry(), options.store_block_tokens);
  return manifest;
}

void run(const BuildOptions& options) {
  engine::Model model = open_model(options.model);
  const std::vector<engine::Prompt> prefixes = prefixes_of(options, *model.tokenizer);
  if (options.is_append) {
    const engine::StoreModel expected = store_model(model);
    engine::Store::open(options.store, &expected);  // refuses another model's
  }
  engine::StoreWriter writer(options.store, manifest_of(options, model));
  for (const std::filesystem::path& leftover : writer.removed_leftovers()) {
    fmt::print(stderr, "{}: removed what an interrupted writer left\n", leftover.string());
  }
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<double> costs;
  for (const engine::Prompt& prefix : prefixes) {
    ids.push_back(prefix.ids.empty() ? model.tokenizer->encode(prefix.text) : prefix.ids);
    costs.push_back(static_cast<double>(ids.back().size()));
  }
  Progress progress("store", costs, options.quiet ? ProgressMode::quiet : ProgressMode::automatic, "prefixes");
  TextTable table({"prefix", "tokens", "stored", "computed now"});
  for (std::size_t i = 0; i < prefixes.size(); ++i) {
    const engine::BuiltPrefix built = engine::build_prefix(*model.executor, writer, ids[i]);
    progress.done(i);
    table.add_row({prefixes[i].name, std::to_string(ids[i].size()), std::to_string(built.stored_tokens),
                   std::to_string(built.new_tokens)});
  }
  fmt::print("{}\nOnly whole blocks of {} tokens are stored; the rest is computed with the suffix. Store: {}\n",
             table.to_text(), writer.store().manifest().store_block_tokens, options.store);
}

void add_verb(CLI::App& store, const char* name, const char* help, bool is_append) {
  auto options = std::make_shared<BuildOptions>();
  options->is_append = is_append;
  CLI::App* verb = store.add_subcommand(name, help);
  add_model_options(*verb, options->model);
  verb->add_option("--store", options->store, "Folder of the store")->required();
  CLI::Option_group* input = verb->add_option_group("input", "what to store");
  input->add_option("--text", options->texts, "Files of text: each is one prefix");
  input->add_option("--prefixes", options->prefixes,
                    "JSONL with `prefix`, `prompt`, `messages` or `ids` a line, as for `run` and `eval`; each once");
  input->require_option(1, 2);
  if (!is_append) {
    verb->add_option("--layouts", options->layouts,
                     "Payload copies to write: all (what the systems' defaults need), or names apart by commas");
    verb->add_option("--store-block-tokens", options->store_block_tokens,
                     "Stored lengths are multiples of this (default 64; 256 for lmcache_like)")
        ->check(CLI::Range(1, 65536));
  }
  verb->add_flag("--quiet", options->quiet, "No progress");
  verb->callback([options] { run(*options); });
}

}  // namespace

void add_store_build(CLI::App& store) {
  add_verb(store, "build", "Compute the KV of prefixes with a model and store it", false);
  add_verb(store, "append", "Add prefixes to a store; leading tokens that it has are not computed again", true);
}

}  // namespace reprefill::cli
