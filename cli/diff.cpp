// `reprefill diff`: two results side by side, with a verdict.
#include "study/diff/diff.hpp"
#include "cli/engine_options.hpp"
#include "cli/verbs.hpp"

namespace reprefill::cli {
namespace {

struct DiffVerbOptions {
  std::string a, b;
  std::string metric;
  std::string by = "automatic";
  study::DiffOptions diff;
  bool json = false, markdown = false;
};

void run(const DiffVerbOptions& options) {
  const study::SampleOptions samples{.metric = options.metric, .pair_by = choice_of<study::PairBy>(options.by, "--by")};
  const study::DiffResult result = study::diff_results(study::read_result_samples(options.a, samples),
                                                       study::read_result_samples(options.b, samples), options.diff);
  if (options.json) {
    fmt::print("{}\n", study::to_json(result).dump(2));
    return;
  }
  fmt::print("{}", study::diff_table(result, options.markdown));
  fmt::print("\nA: {}\nB: {}\nPaired by {}.", options.a, options.b,
             result.pair_by == study::PairBy::request ? "request" : "point and replica");
  for (const std::string& change : result.changed_axes) fmt::print(" {}.", change);
  const std::size_t alone = result.only_in_a.size() + result.only_in_b.size();
  if (alone > 0) fmt::print(" {} points are in one result only.", alone);
  if (result.unpaired_samples > 0) fmt::print(" {} numbers have no partner.", result.unpaired_samples);
  fmt::print("\n");
  for (const study::DiffEntry& entry : result.points) {
    if (entry.interval) continue;
    fmt::print("A single pair has no interval: sweep with repeats, or with --set keep_requests=true.\n");
    break;
  }
}

}  // namespace

void add_diff(CLI::App& app, const Environment&) {
  auto options = std::make_shared<DiffVerbOptions>();
  CLI::App* verb = app.add_subcommand("diff", "Compare two result folders: better, worse, same or ambiguous");
  verb->add_option("A", options->a, "Result folder of `sweep` or `compare`")->required();
  verb->add_option("B", options->b, "The same for what is held against it")->required();
  verb->add_option("--metric", options->metric,
                   "Path of a number in the rows (default: the mean TTFT; for example ttft.p95_ttft_ms)");
  verb->add_option("--by", options->by, "Pair by request, point, or automatic (default: request where both have them)");
  verb->add_option("--margin", options->diff.margin, "Relative difference that still counts as the same (default 0.01)")
      ->check(CLI::Range(0.0, 1.0));
  verb->add_flag("--higher-is-better", options->diff.higher_is_better, "Of a metric such as attention_mass_kept.mean");
  verb->add_option("--seed", options->diff.seed, "Of the bootstrap (default 1)");
  verb->add_flag("--json", options->json, "Print the result as JSON");
  verb->add_flag("--markdown", options->markdown, "Print the table as Markdown");
  verb->callback([options] { run(*options); });
}

}  // namespace reprefill::cli
