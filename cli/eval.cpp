// `reprefill eval`: what pruning costs in answers, on a real checkpoint.
#include "cli/engine_options.hpp"
#include "cli/verbs.hpp"
#include "core/base/files.hpp"
#include "core/base/progress.hpp"
#include "sim/sweep/parallel_runner.hpp"
#include "study/eval/eval_report.hpp"

namespace reprefill::cli {
namespace {

struct EvalVerbOptions {
  ModelOptions model;
  std::string task;
  std::vector<std::string> systems = {"contiguous_kv", "impress", "as_h2o"};
  std::vector<std::string> budgets = {"0.05", "0.1", "0.25", "0.5"};
  std::vector<std::string> sets;
  std::string scoring = "first_token";
  std::string path = "direct";
  std::string work, json_file;
  std::size_t limit = 0;
  std::uint64_t seed = 1;
  bool buffered = false, json = false, markdown = false, quiet = false;
};

/// Every system at every budget; one without a budget once.
std::vector<study::EvalVariant> variants_of(const EvalVerbOptions& options) {
  const Json shared = params_of(options.sets, "--set");
  std::vector<study::EvalVariant> variants;
  for (const std::string& system : options.systems) {
    const Json name = system;
    const std::vector<std::string> params = pipeline::find_system(JsonValue(name, "--systems")).param_names();
    if (std::find(params.begin(), params.end(), "budget") == params.end()) {
      variants.push_back({.label = system, .system = system, .params = shared});
      continue;
    }
    for (const std::string& budget : options.budgets) {
      Json with = shared;
      with["budget"] = params_of({"budget=" + budget}, "--budgets").at("budget");
      variants.push_back({.label = system + " " + budget, .system = system, .params = std::move(with)});
    }
  }
  return variants;
}

/// A folder that is removed at the end, unless the user named one.
class WorkFolder {
 public:
  explicit WorkFolder(const std::string& named) : is_temporary_(named.empty()), path_(named) {
    if (!is_temporary_) return;
    std::string pattern = (std::filesystem::temp_directory_path() / "reprefill-eval-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw MachineError(fmt::format("{}: cannot make a folder", pattern));
    path_ = pattern;
  }
  ~WorkFolder() {
    std::error_code ignored;
    if (is_temporary_) std::filesystem::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  bool is_temporary_;
  std::filesystem::path path_;
};

void print_recall(const Json& report) {
  fmt::print("\nShare of the answer's tokens that is kept, by distance from the period's first layer:\n");
  for (const Json& variant : report.at("variants")) {
    const Json& recall = variant.at("answer_recall");
    if (recall.is_null()) continue;
    fmt::print("  {:<24}", variant.at("label").get<std::string>());
    for (const Json& value : recall.at("by_distance_from_leader")) fmt::print(" {:5.1f}", 100 * value.get<double>());
    fmt::print(" %\n");
  }
}

void run(const EvalVerbOptions& options) {
  engine::Model model = open_model(options.model);
  std::vector<study::TaskItem> task = study::read_task(options.task);
  if (options.limit > 0 && task.size() > options.limit) task.resize(options.limit);
  const std::vector<study::EvalVariant> variants = variants_of(options);
  const WorkFolder work(options.work);
  const sim::InterruptGuard interrupt;
  Progress progress("eval", std::vector<double>((variants.size() + 1) * task.size(), 1.0),
                    options.quiet ? ProgressMode::quiet : ProgressMode::automatic, "answers");
  const study::EvalResult result = study::evaluate(
      model, task, variants,
      {.scoring = choice_of<study::Scoring>(options.scoring, "--scoring"),
       .path = choice_of<pipeline::PathKind>(options.path, "--path"),
       .work_folder = work.path(),
       .buffered_reads = options.buffered,
       .seed = options.seed,
       .interrupted = &interrupt.flag(),
       .on_item = [&](std::size_t variant, std::size_t item) { progress.done(variant * task.size() + item); }});
  const Json report = study::report_evaluation(result, task, options.seed);
  if (!options.json_file.empty()) write_file_atomically(options.json_file, report.dump(2) + "\n");
  if (options.json) {
    fmt::print("{}\n", report.dump(2));
    return;
  }
  const TextTable table = study::evaluation_table(report);
  fmt::print("{}", options.markdown ? table.to_markdown() : table.to_text());
  print_recall(report);
}

}  // namespace

void add_eval(CLI::App& app, const Environment&) {
  auto options = std::make_shared<EvalVerbOptions>();
  CLI::App* verb = app.add_subcommand("eval", "Accuracy and distance from full KV, for every system and budget");
  add_model_options(*verb, options->model);
  verb->add_option("--task", options->task,
                   "JSONL: prefix, suffix, choices, answer; optional id, kind, answer_spans ([begin, end) in bytes)")
      ->required();
  verb->add_option("--systems", options->systems, "Systems to compare (default contiguous_kv,impress,as_h2o)")
      ->delimiter(',');
  verb->add_option("--budgets", options->budgets, "Budgets of each (default 0.05,0.1,0.25,0.5)")->delimiter(',');
  verb->add_option("--set", options->sets, "key=value: a parameter of every system");
  verb->add_option("--scoring", options->scoring,
                   "first_token (default), log_likelihood or generate: how an answer is read");
  verb->add_option("--path", options->path, "Software path: direct (default) or prototype");
  verb->add_option("--limit", options->limit, "Only the first items");
  verb->add_option("--seed", options->seed, "Of the bootstrap (default 1)");
  verb->add_option("--work", options->work, "Keep the store of prefixes in this folder (default: a temporary one)");
  verb->add_flag("--buffered", options->buffered, "Read through the page cache instead of O_DIRECT");
  verb->add_option("--json-file", options->json_file, "Also write the report to this file");
  verb->add_flag("--json", options->json, "Print the report as JSON");
  verb->add_flag("--markdown", options->markdown, "Print the table as Markdown");
  verb->add_flag("--quiet", options->quiet, "No progress");
  verb->callback([options] { run(*options); });
}

}  // namespace reprefill::cli
