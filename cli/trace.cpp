// `reprefill trace`: statistics of request traces, conversion, the generator, and statistics of importance.
#include "cli/verbs.hpp"
#include "core/base/progress.hpp"
#include "engine/tokenizer/plain_words.hpp"
#include "traces/importance/importance_statistics.hpp"
#include "traces/importance/recorded_importance.hpp"
#include "traces/importance/synthetic_importance.hpp"
#include "traces/workload/conversation_generator.hpp"
#include "traces/workload/mooncake.hpp"
#include "traces/workload/statistics.hpp"
#include "traces/workload/trace_convert.hpp"
#include "traces/workload/trace_format.hpp"

namespace reprefill::cli {
namespace {

enum class ConvertTo : std::uint8_t { mooncake, vllm };

}  // namespace
}  // namespace reprefill::cli

template <>
struct reprefill::EnumNames<reprefill::cli::ConvertTo> {
  static constexpr std::pair<const char*, cli::ConvertTo> names[] = {{"mooncake", cli::ConvertTo::mooncake},
                                                                     {"vllm", cli::ConvertTo::vllm}};
};

namespace reprefill::cli {
namespace {

struct TraceOptions {
  std::string file;
  traces::TraceReadOptions read;
  ConvertTo to = ConvertTo::mooncake;
  std::uint32_t to_block_tokens = 0;
  std::string tokenizer;
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
  const traces::TraceStatistics result = traces::compute_statistics(traces::read_trace(options.file, options.read));
  if (options.json) {
    fmt::print("{}\n", to_json(result).dump(2));
  } else {
    fmt::print("{}", to_text(result));
  }
}

/// Blocks of the result: what was asked for, else Mooncake's own where the trace's fit into them, else the trace's.
std::uint32_t target_blocks(const TraceOptions& options, const traces::RequestTrace& trace) {
  if (options.to_block_tokens > 0) return options.to_block_tokens;
  return traces::kMooncakeBlockTokens % trace.block_tokens() == 0 ? traces::kMooncakeBlockTokens : trace.block_tokens();
}

void convert(const TraceOptions& options) {
  const traces::RequestTrace trace = traces::read_trace(options.file, options.read);
  if (options.to == ConvertTo::mooncake) {
    const std::uint32_t blocks = target_blocks(options, trace);
    write_mooncake_jsonl(in_whole_milliseconds(with_blocks_of(trace, blocks)), options.out);
    fmt::print("{}: {} requests, blocks of {} tokens, arrivals rounded down to milliseconds\n", options.out,
               trace.size(), blocks);
    return;
  }
  if (options.tokenizer.empty()) {
    throw ConfigError("--tokenizer is missing: --to vllm writes words that are one token each in its vocabulary");
  }
  constexpr std::size_t kFewestWords = 256;
  const std::vector<std::string> words =
      plain_words(engine::Tokenizer::open(options.tokenizer), options.tokenizer, kFewestWords);
  std::vector<double> costs;
  for (const traces::TraceRequest& request : trace.requests()) costs.push_back(request.input_tokens);
  Progress progress("trace convert", costs, ProgressMode::automatic, "requests");
  write_vllm_dataset(trace, words, options.out, [&](std::size_t done) { progress.done(done - 1); });
  fmt::print(
      "{}: {} requests; arrival times are not part of this format. Use: vllm bench serve --dataset-name custom "
      "--dataset-path {} --skip-chat-template --disable-shuffle\n",
      options.out, trace.size(), options.out);
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

/// Turns a name into the number that CLI11 reads an enumeration from.
template <typename Enum>
CLI::Validator names_of() {
  return CLI::Validator(
      [](std::string& text) {
        std::string known;
        for (const auto& [name, value] : EnumNames<Enum>::names) {
          if (text == name) {
            text = fmt::format("{}", static_cast<int>(value));
            return std::string();
          }
          known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
        }
        return fmt::format("found {}; expected one of {}", text, known);
      },
      "");
}

void add_read_options(CLI::App* verb, TraceOptions& options) {
  verb->add_option("file", options.file, "Trace file, packed if it ends in .gz; agentic, lmcache: or a folder")
      ->required();
  verb->add_option("--format", options.read.format,
                   "mooncake (default), agentic, bailian, azure or lmcache; see docs/scenarios.md")
      ->transform(names_of<traces::TraceFormat>());
  verb->add_option("--block-tokens", options.read.block_tokens, "Of formats mooncake and azure (default 512)")
      ->check(CLI::Range(1, 1'000'000));
  verb->add_option("--conversations-per-s", options.read.agentic.conversations_per_s,
                   "Format agentic: rate at which conversations start (default 0.01)")
      ->check(CLI::PositiveNumber);
  verb->add_option("--share-prefix", options.read.agentic.share_prefix,
                   "Format agentic: none (default), or tool_and_system for conversations with equal counts of both")
      ->transform(names_of<traces::SharePrefix>());
  verb->add_option("--seed", options.read.agentic.seed, "Format agentic: of the starts (default 1)");
}

}  // namespace

void add_trace(CLI::App& app, const Environment&) {
  auto options = std::make_shared<TraceOptions>();
  CLI::App* verb = app.add_subcommand("trace", "Request traces and importance");
  verb->require_subcommand(1);

  CLI::App* stats = verb->add_subcommand("stats", "Statistics of a request trace");
  add_read_options(stats, *options);
  stats->add_flag("--json", options->json, "Machine-readable");
  stats->callback([options] { statistics(*options); });

  CLI::App* to = verb->add_subcommand("convert", "Write a request trace in another format");
  add_read_options(to, *options);
  to->add_option("--to", options->to,
                 "mooncake (default): Mooncake JSONL; vllm: the custom data set of `vllm bench serve`")
      ->transform(names_of<ConvertTo>());
  to->add_option("--to-block-tokens", options->to_block_tokens,
                 "Blocks to write, a multiple of the trace's (default 512 where that is one, else the trace's)")
      ->check(CLI::Range(1, 1'000'000));
  to->add_option("--tokenizer", options->tokenizer, "--to vllm: tokenizer.json of the model that will be served");
  to->add_option("--out", options->out, "File to write")->required();
  to->callback([options] { convert(*options); });

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
