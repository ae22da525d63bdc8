// `reprefill append-error`: how the error of KV that a pruning system appends grows over the turns of a conversation.
#include "study/append/append_error.hpp"
#include "cli/engine_options.hpp"
#include "cli/verbs.hpp"
#include "core/base/progress.hpp"
#include "engine/store/system_layouts.hpp"

namespace reprefill::cli {
namespace {

struct AppendOptions {
  ModelOptions model;
  std::string turns;
  std::string folder;
  std::string system = "contiguous_kv";
  std::vector<std::string> sets;
  std::uint32_t store_block_tokens = 64;
  bool json = false;
};

void run(const AppendOptions& options) {
  engine::Model model = open_model(options.model);
  study::AppendErrorOptions wanted;
  wanted.folder = options.folder;
  wanted.session.system = options.system;
  wanted.session.system_params = params_of(options.sets, "--set");
  wanted.manifest = {.model = store_model(model), .store_block_tokens = options.store_block_tokens};
  const Json name = options.system;
  const Json params = pipeline::find_system(JsonValue(name, "--system"))
                          .resolve(JsonValue(wanted.session.system_params, "--set"), wanted.session.path);
  const auto layout =
      engine::layout_of_system(options.system, params, wanted.session.path, model.checkpoint->geometry());
  if (!layout) throw ConfigError(fmt::format("--system: found {}, which stores nothing", options.system));
  wanted.manifest.layouts = {*layout};
  const std::vector<engine::Prompt> turns = engine::read_prompts(options.turns, *model.tokenizer, 1);
  std::vector<double> costs(turns.size());
  for (std::size_t i = 0; i < costs.size(); ++i) costs[i] = static_cast<double>(i + 1);
  Progress progress("append-error", costs, ProgressMode::automatic, "turns");
  std::size_t done = 0;
  const std::vector<study::TurnError> errors =
      study::measure_append_error(model, turns, wanted, [&](const study::TurnError&) { progress.done(done++); });
  if (options.json) {
    fmt::print("{}\n", Json{{"system", options.system}, {"params", params}, {"turns", study::to_json(errors)}}.dump(2));
    return;
  }
  fmt::print("{}Relative errors against a full prefill; same first token: with KV as computed / with exact KV.\n",
             study::to_text(errors));
}

}  // namespace

void add_append_error(CLI::App& app, const Environment&) {
  auto options = std::make_shared<AppendOptions>();
  CLI::App* verb = app.add_subcommand(
      "append-error", "How the error of KV that a pruning system appends grows over the turns of a conversation");
  add_model_options(*verb, options->model);
  verb->add_option("--turns", options->turns,
                   "JSONL as for `run`: each line's prompt begins with that of the line before")
      ->required();
  verb->add_option("--stores", options->folder, "New folder for the two stores that are compared")->required();
  verb->add_option("--system", options->system, "A row of `reprefill systems` (default contiguous_kv)");
  verb->add_option("--set", options->sets, "key=value: a parameter of the system, as in a scenario");
  verb->add_option("--store-block-tokens", options->store_block_tokens, "Stored lengths are multiples (default 64)")
      ->check(CLI::Range(1, 65536));
  verb->add_flag("--json", options->json, "Print the result as JSON");
  verb->callback([options] { run(*options); });
}

}  // namespace reprefill::cli
