// `reprefill run`: requests through a system on a real checkpoint, on this machine.
#include "cli/engine_options.hpp"
#include "cli/verbs.hpp"
#include "core/base/files.hpp"
#include "core/pipeline/identification.hpp"
#include "core/record/timeline.hpp"
#include "engine/session/run_report.hpp"
#include "sim/sweep/parallel_runner.hpp"
#include "traces/importance/recorded_importance.hpp"

namespace reprefill::cli {
namespace {

struct RunOptions {
  ModelOptions model;
  std::string store;
  std::string prompt, prompt_file, requests;
  bool chat = false;
  std::vector<std::string> systems = {"contiguous_kv"};
  std::vector<std::string> sets, path_sets;
  std::string path = "direct";
  int in_flight = 1;
  std::uint32_t max_tokens = 16;
  bool buffered = false, unregistered = false, verify = false;
  std::string append = "none", append_kv = "as_computed";
  std::string record, record_mode = "as_run", selections, timeline;
  bool json = false;
};

std::vector<engine::Prompt> prompts_of(const RunOptions& options, const engine::Tokenizer& tokenizer) {
  if (!options.requests.empty()) return engine::read_prompts(options.requests, tokenizer, options.max_tokens);
  engine::Prompt prompt{.name = "0", .text = options.prompt, .max_tokens = options.max_tokens};
  if (!options.prompt_file.empty()) prompt.text = read_whole_file(options.prompt_file, 0).text();
  if (prompt.text.empty()) throw ConfigError("--prompt: found no text; give --prompt, --prompt-file or --requests");
  if (options.chat) {
    const engine::ChatMessage message{.role = "user", .content = prompt.text};
    prompt.text = tokenizer.apply_chat_template({&message, 1});
  }
  return {prompt};
}

std::vector<std::string> systems_of(const RunOptions& options) {
  if (options.systems != std::vector<std::string>{"all"}) return options.systems;
  std::vector<std::string> names;
  const bool appends = options.append != "none";
  const bool stored_is_known = !appends || (options.append == "suffix" && options.in_flight == 1);
  for (const pipeline::SystemEntry& entry : pipeline::system_registry()) {
    const bool can_run = !entry.needs_selections || (!options.selections.empty() && stored_is_known);
    const bool can_append = !appends || entry.name != "resident";
    if (can_run && can_append && !entry.is_preset) names.push_back(entry.name);
  }
  return names;
}

/// What `--set` says to each system: as with a scenario's axes, one of several systems that does not declare a
/// parameter goes without it. Throws ConfigError where none declares it.
std::vector<Json> params_by_system(const RunOptions& options, const std::vector<std::string>& systems) {
  const Json params = params_of(options.sets, "--set");
  std::vector<Json> by_system(systems.size(), Json::object());
  for (const auto& [key, value] : params.items()) {
    bool declared = systems.size() == 1;
    for (std::size_t i = 0; i < systems.size(); ++i) {
      const Json name = systems[i];
      const std::vector<std::string> names = pipeline::find_system(JsonValue(name, "--system")).param_names();
      if (systems.size() > 1 && std::ranges::find(names, key) == names.end()) continue;
      by_system[i][key] = value;
      declared = true;
    }
    if (!declared) throw ConfigError(fmt::format("--set {}: none of the systems has this parameter", key));
  }
  return by_system;
}

engine::SessionOptions session_options(const RunOptions& options, const std::string& system, Json params) {
  return {.system = system,
          .system_params = std::move(params),
          .path = choice_of<pipeline::PathKind>(options.path, "--path"),
          .path_params = params_of(options.path_sets, "--path-set"),
          .max_in_flight = options.in_flight,
          .buffered_reads = options.buffered,
          .unregistered_buffers = options.unregistered,
          .verify_reads = options.verify,
          .append = choice_of<pipeline::Append>(options.append, "--append"),
          .append_kv = choice_of<pipeline::AppendKv>(options.append_kv, "--append-kv"),
          .keep_spans = !options.timeline.empty()};
}

std::unique_ptr<engine::ImportanceRecorder> make_recorder(const RunOptions& options, const engine::Session& session,
                                                          const ModelGeometry& geometry) {
  if (options.record.empty()) return nullptr;
  const Json& params = session.resolved().at("params");
  engine::ImportanceRecorder::Options recorded{
      .mode = choice_of<engine::RecordMode>(options.record_mode, "--record-mode"),
      .geometry = geometry,
      .probe_heads = pipeline::probe_heads_of(params, geometry),
      .recorded_under = traces::recorded_under(options.systems.front(), params)};
  engine::ImportanceRecorder::add_channels_of(params, recorded);
  return std::make_unique<engine::ImportanceRecorder>(options.record, recorded);
}

struct Opened {
  engine::Model model;
  std::optional<engine::Store> store;
  std::unique_ptr<traces::ImportanceSource> selections;
};

/// A file of an earlier run, or scores drawn from one of the generator's presets.
std::unique_ptr<traces::ImportanceSource> open_selections(const std::string& from, const ModelGeometry& geometry) {
  if (from.empty()) return nullptr;
  if (is_importance_preset(from)) return open_importance_preset(from, "--selections", geometry.num_kv_heads, {0, 0, 0});
  return std::make_unique<traces::RecordedImportance>(traces::RecordedImportance::open(from));
}

Opened open(const RunOptions& options) {
  Opened opened{.model = open_model(options.model), .store = {}, .selections = {}};
  if (!options.store.empty()) {
    const engine::StoreModel expected = store_model(opened.model);
    opened.store = engine::Store::open(options.store, &expected);
  }
  opened.selections = open_selections(options.selections, opened.model.checkpoint->geometry());
  return opened;
}

void write_timeline(const std::string& path, std::span<const engine::RequestOutcome> outcomes) {
  std::vector<record::Span> spans;
  for (const engine::RequestOutcome& outcome : outcomes) {
    spans.insert(spans.end(), outcome.spans.begin(), outcome.spans.end());
  }
  record::write_timeline(path, spans);
}

void check_files_are_of_one_system(const RunOptions& options, std::size_t num_systems) {
  if (num_systems == 1) return;
  for (const auto& [option, file] :
       {std::pair{"--timeline", options.timeline}, {"--record-importance", options.record}})
    if (!file.empty()) throw ConfigError(fmt::format("{}: one file holds one system; found {}", option, num_systems));
}

void run(const RunOptions& options) {
  const std::vector<std::string> systems = systems_of(options);
  const std::vector<Json> params = params_by_system(options, systems);
  check_files_are_of_one_system(options, systems.size());
  Opened opened = open(options);
  const std::vector<engine::Prompt> prompts = prompts_of(options, *opened.model.tokenizer);
  const sim::InterruptGuard interrupt;
  engine::SessionCallbacks callbacks;
  callbacks.interrupted = &interrupt.flag();
  Json reports = Json::array();
  for (std::size_t i = 0; i < systems.size(); ++i) {
    engine::SessionOptions wanted = session_options(options, systems[i], params[i]);
    wanted.selections = opened.selections.get();
    engine::Session session(opened.model, opened.store ? &*opened.store : nullptr, wanted);
    const auto recorder = make_recorder(options, session, opened.model.checkpoint->geometry());
    const std::vector<engine::RequestOutcome> outcomes = session.serve(prompts, callbacks, recorder.get());
    if (recorder) recorder->finish();
    if (!options.timeline.empty()) write_timeline(options.timeline, outcomes);
    if (options.json) {
      reports.push_back(engine::report_run(session, outcomes, opened.model));
    } else {
      fmt::print("{}{}", i > 0 ? "\n" : "", engine::describe_run(session, outcomes, opened.model));
      std::fflush(stdout);
    }
  }
  if (options.json) fmt::print("{}\n", (systems.size() == 1 ? reports.front() : reports).dump(2));
}

}  // namespace

void add_run(CLI::App& app, const Environment&) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* verb = app.add_subcommand("run",
                                      "Answer prompts with a Re-Prefill system on a real checkpoint (on the CPU "
                                      "executor the GPU tier is in host memory)");
  add_model_options(*verb, options->model);
  verb->add_option("--store", options->store, "Prefix store, as `reprefill store build` made it");
  CLI::Option_group* input = verb->add_option_group("input", "what to ask");
  input->add_option("--prompt", options->prompt, "The whole prompt, stored prefix included");
  input->add_option("--prompt-file", options->prompt_file, "The same from a file");
  input->add_option(
      "--requests", options->requests,
      "JSONL: prompt | prefix and suffix | messages | ids; optional id, max_tokens, continues (the id of an "
      "earlier line: its prompt and its answer come first)");
  input->require_option(1);
  verb->add_flag("--chat", options->chat, "Put the prompt into the model's chat template");
  verb->add_option(
          "--system", options->systems,
          "Rows of `reprefill systems`, apart by commas, one after the other with caches of their own; or all: "
          "but presets, oracle without --selections, and with --append resident, and oracle unless it can know what "
          "will be stored (default contiguous_kv)")
      ->delimiter(',');
  verb->add_option("--set", options->sets, "key=value: a parameter of the systems that have it, as in a scenario");
  verb->add_option("--path", options->path, "Software path: direct (default) or prototype");
  verb->add_option("--path-set", options->path_sets, "key=value: a parameter of the software path");
  verb->add_option("--in-flight", options->in_flight, "Requests served at the same time (default 1)")
      ->check(CLI::Range(1, 64));
  verb->add_option("--max-tokens", options->max_tokens, "Tokens to generate for a prompt (default 16)")
      ->check(CLI::Range(1, 1 << 20));
  verb->add_flag("--buffered", options->buffered, "Read through the page cache instead of O_DIRECT");
  verb->add_flag("--unregistered-buffers", options->unregistered, "Do without locked memory for io_uring");
  verb->add_option("--append", options->append,
                   "New whole blocks that later requests find stored: none (default), suffix, suffix_and_output; kept "
                   "beside the store until the run ends");
  verb->add_option(
      "--append-kv", options->append_kv,
      "What a system that prunes appends: as_computed (default), or recompute_exact, a full prefill in the "
      "background");
  verb->add_flag("--verify-reads", options->verify, "Check the checksum of everything that is read");
  verb->add_option("--record-importance", options->record, "Write an importance trace of the run to this file");
  verb->add_option("--record-mode", options->record_mode,
                   "as_run (default): what the system scored and chose; full: all layers under full KV");
  verb->add_option(
      "--selections", options->selections,
      "Importance trace, or preset:NAME: scoring runs and is timed, but choices and scores come from there");
  verb->add_option("--timeline", options->timeline, "Write a Chrome trace of the requests to this file");
  verb->add_flag("--json", options->json, "Print the result as JSON");
  verb->callback([options] { run(*options); });
}

}  // namespace reprefill::cli
