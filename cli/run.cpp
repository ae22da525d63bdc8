// `reprefill run`: requests through a system on a real checkpoint, on this machine.
#include "cli/engine_options.hpp"
#include "cli/verbs.hpp"
#include "core/base/files.hpp"
#include "core/record/timeline.hpp"
#include "engine/session/run_report.hpp"
#include "sim/sweep/parallel_runner.hpp"

namespace reprefill::cli {
namespace {

struct RunOptions {
  ModelOptions model;
  std::string store;
  std::string prompt, prompt_file, requests;
  bool chat = false;
  std::string system = "contiguous_kv";
  std::vector<std::string> sets, path_sets;
  std::string path = "direct";
  int in_flight = 1;
  std::uint32_t max_tokens = 16;
  bool buffered = false, unregistered = false, verify = false;
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

engine::SessionOptions session_options(const RunOptions& options) {
  return {.system = options.system,
          .system_params = params_of(options.sets, "--set"),
          .path = choice_of<pipeline::PathKind>(options.path, "--path"),
          .path_params = params_of(options.path_sets, "--path-set"),
          .max_in_flight = options.in_flight,
          .buffered_reads = options.buffered,
          .unregistered_buffers = options.unregistered,
          .verify_reads = options.verify,
          .keep_spans = !options.timeline.empty()};
}

std::unique_ptr<engine::ImportanceRecorder> make_recorder(const RunOptions& options, const engine::Session& session,
                                                          const ModelGeometry& geometry) {
  if (options.record.empty()) return nullptr;
  const Json& params = session.resolved().at("params");
  const auto text = [&](const char* key, const char* otherwise) {
    return params.contains(key) ? params.at(key).is_string() ? params.at(key).get<std::string>() : params.at(key).dump()
                                : std::string(otherwise);
  };
  return std::make_unique<engine::ImportanceRecorder>(
      options.record,
      engine::ImportanceRecorder::Options{.mode = choice_of<engine::RecordMode>(options.record_mode, "--record-mode"),
                                          .geometry = geometry,
                                          .probe_heads = params.value("probe_heads", std::vector<int>{0, 1, 2}),
                                          .recorded_under = {.system = options.system,
                                                             .budget = text("budget", "1"),
                                                             .chunk_tokens = std::stoi(text("chunk_tokens", "1"))}});
}

void run(const RunOptions& options) {
  engine::Model model = open_model(options.model);
  std::optional<engine::Store> store;
  if (!options.store.empty()) {
    const engine::StoreModel expected = store_model(model);
    store = engine::Store::open(options.store, &expected);
  }
  std::optional<traces::RecordedImportance> selections;
  if (!options.selections.empty()) selections = traces::RecordedImportance::open(options.selections);
  engine::SessionOptions wanted = session_options(options);
  wanted.selections = selections ? &*selections : nullptr;
  engine::Session session(model, store ? &*store : nullptr, wanted);
  const std::vector<engine::Prompt> prompts = prompts_of(options, *model.tokenizer);
  const auto recorder = make_recorder(options, session, model.checkpoint->geometry());

  const sim::InterruptGuard interrupt;
  engine::SessionCallbacks callbacks;
  callbacks.interrupted = &interrupt.flag();
  const std::vector<engine::RequestOutcome> outcomes = session.serve(prompts, callbacks, recorder.get());
  if (recorder) recorder->finish();
  if (!options.timeline.empty()) {
    std::vector<record::Span> spans;
    for (const engine::RequestOutcome& outcome : outcomes) {
      spans.insert(spans.end(), outcome.spans.begin(), outcome.spans.end());
    }
    record::write_timeline(options.timeline, spans);
  }
  if (options.json) {
    fmt::print("{}\n", engine::report_run(session, outcomes, model).dump(2));
  } else {
    fmt::print("{}", engine::describe_run(session, outcomes, model));
  }
}

}  // namespace

void add_run(CLI::App& app, const Environment&) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* verb = app.add_subcommand(
      "run",
      "Answer prompts with a Re-Prefill system on a real checkpoint (CPU executor: the GPU tier is in host memory)");
  add_model_options(*verb, options->model);
  verb->add_option("--store", options->store, "Prefix store, as `reprefill store build` made it");
  CLI::Option_group* input = verb->add_option_group("input", "what to ask");
  input->add_option("--prompt", options->prompt, "The whole prompt, stored prefix included");
  input->add_option("--prompt-file", options->prompt_file, "The same from a file");
  input->add_option("--requests", options->requests,
                    "JSONL: prompt | prefix and suffix | messages | ids; optional id, max_tokens");
  input->require_option(1);
  verb->add_flag("--chat", options->chat, "Put the prompt into the model's chat template");
  verb->add_option("--system", options->system, "A row of `reprefill systems` (default contiguous_kv)");
  verb->add_option("--set", options->sets, "key=value: a parameter of the system, as in a scenario");
  verb->add_option("--path", options->path, "Software path: direct (default) or prototype");
  verb->add_option("--path-set", options->path_sets, "key=value: a parameter of the software path");
  verb->add_option("--in-flight", options->in_flight, "Requests served at the same time (default 1)")
      ->check(CLI::Range(1, 64));
  verb->add_option("--max-tokens", options->max_tokens, "Tokens to generate for a prompt (default 16)")
      ->check(CLI::Range(1, 1 << 20));
  verb->add_flag("--buffered", options->buffered, "Read through the page cache instead of O_DIRECT");
  verb->add_flag("--unregistered-buffers", options->unregistered, "Do without locked memory for io_uring");
  verb->add_flag("--verify-reads", options->verify, "Check the checksum of everything that is read");
  verb->add_option("--record-importance", options->record, "Write an importance trace of the run to this file");
  verb->add_option("--record-mode", options->record_mode,
                   "as_run (default): what the system scored and chose; full: all layers under full KV");
  verb->add_option("--selections", options->selections,
                   "Importance trace: scoring runs and is timed, but choices and scores come from the file");
  verb->add_option("--timeline", options->timeline, "Write a Chrome trace of the requests to this file");
  verb->add_flag("--json", options->json, "Print the result as JSON");
  verb->callback([options] { run(*options); });
}

}  // namespace reprefill::cli
