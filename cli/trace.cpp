// `reprefill trace`: statistics of request traces, the generator, and statistics of importance.
#include "cli/verbs.hpp"
#include "traces/importance/importance_statistics.hpp"
#include "traces/importance/recorded_importance.hpp"
#include "traces/importance/synthetic_importance.hpp"
#include "traces/workload/conversation_generator.hpp"
#include "traces/workload/mooncake.hpp"
#include "traces/workload/statistics.hpp"

namespace reprefill::cli {
namespace {

struct TraceOptions {
  std::string file;
  bool json = false;
  std::uint64_t seed = 1;
  std::uint64_t num_requests = 7000;
  double requests_per_s = 0;
  std::string out;
  std::string preset = "paper-5pct";
  std::uint32_t prefix_tokens = 5952;
  int num_layers = 28;
  int num_kv_heads = 4;
  int num_samples = 64;
};

void statistics(const TraceOptions& options) {
  const traces::TraceStatistics result = traces::compute_statistics(traces::read_mooncake_jsonl(options.file));
  if (options.json) {
    fmt::print("{}\n", to_json(result).dump(2));
  } else {
    fmt::print("{}", to_text(result));
  }
}

void generate(const TraceOptions& options) {
  traces::ConversationWorkload workload;
  workload.seed = options.seed;
  workload.num_requests = options.num_requests;
  if (options.requests_per_s > 0) workload.requests_per_s = options.requests_per_s;
  write_mooncake_jsonl(generate_conversations(workload), options.out);
  fmt::print("{}: {} requests, seed {}\n", options.out, options.num_requests, options.seed);
}

void print_statistics(const TraceOptions& options, const traces::ImportanceSource& source,
                      std::span<const traces::ImportanceSample> samples, int num_layers, const std::string& title,
                      std::span<const traces::ImportanceTarget> targets) {
  traces::ImportanceStatisticsOptions wanted;
  wanted.num_layers = num_layers;
  const std::vector<traces::ImportanceStatistics> result = compute_importance_statistics(source, samples, wanted);
  if (options.json) {
    fmt::print("{}\n", to_json(result, targets).dump(2));
  } else {
    fmt::print("{}\n{}", title, to_text(result, targets));
  }
}

void recorded_importance(const TraceOptions& options) {
  const auto source = traces::RecordedImportance::open(options.file);
  std::vector<traces::ImportanceSample> samples;
  for (const std::uint64_t request : source.requests()) {
    samples.push_back({.request = request, .task = 0, .prefix = source.prefix_of(request)});
  }
  print_statistics(options, source, samples, source.num_layers(),
                   fmt::format("{}: {} requests", options.file, samples.size()), {});
}

void importance(const TraceOptions& options) {
  if (!options.file.empty()) return recorded_importance(options);
  const traces::ImportancePreset& preset = traces::importance_preset(options.preset, "--preset");
  const traces::SyntheticImportance source(
      preset.params, {.num_kv_heads = options.num_kv_heads, .probe_kv_heads = {0, 0, 0}}, options.seed);
  print_statistics(options, source, traces::make_importance_samples(options.prefix_tokens, options.num_samples),
                   options.num_layers, fmt::format("{}: {}", preset.name, preset.doc), preset.targets);
}

}  // namespace

void add_trace(CLI::App& app, const Environment&) {
  auto options = std::make_shared<TraceOptions>();
  CLI::App* verb = app.add_subcommand("trace", "Request traces and importance");
  verb->require_subcommand(1);

  CLI::App* stats = verb->add_subcommand("stats", "Statistics of a Mooncake JSONL trace");
  stats->add_option("file", options->file, "Trace file")->required();
  stats->add_flag("--json", options->json, "Machine-readable");
  stats->callback([options] { statistics(*options); });

  CLI::App* make = verb->add_subcommand("generate", "Generate a conversation trace like Mooncake's");
  make->add_option("--seed", options->seed, "Seed (default 1)");
  make->add_option("--num-requests", options->num_requests, "Requests (default 7000)")
      ->check(CLI::Range(1, 10'000'000));
  make->add_option("--requests-per-s", options->requests_per_s, "Mean arrival rate (default: as in the Mooncake trace)")
      ->check(CLI::PositiveNumber);
  make->add_option("--out", options->out, "File to write")->required();
  make->callback([options] { generate(*options); });

  CLI::App* scores = verb->add_subcommand(
      "importance", "Statistics of an importance preset beside its targets, or of a recorded full trace");
  scores->add_option("--file", options->file, "A trace that `run --record-mode full` wrote, instead of a preset");
  scores->add_option("--preset", options->preset, "Preset (default paper-5pct)");
  scores->add_option("--prefix-tokens", options->prefix_tokens, "Prefix length (default 5952)")
      ->check(CLI::Range(64, 1'000'000));
  scores->add_option("--layers", options->num_layers, "Layers (default 28)")->check(CLI::Range(1, 511));
  scores->add_option("--kv-heads", options->num_kv_heads, "KV heads (default 4)")->check(CLI::Range(1, 1024));
  scores->add_option("--samples", options->num_samples, "Requests to average over (default 64)")
      ->check(CLI::Range(1, 100'000));
  scores->add_option("--seed", options->seed, "Seed (default 1)");
  scores->add_flag("--json", options->json, "Machine-readable");
  scores->callback([options] { importance(*options); });
}

}  // namespace reprefill::cli
