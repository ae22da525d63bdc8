// `reprefill merge`: the shards of a sweep become one result folder.
#include "cli/verbs.hpp"
#include "core/record/result_folder.hpp"
#include "sim/simulation/result_row.hpp"
#include "sim/sweep/shard.hpp"
#include "sim/sweep/summary.hpp"

namespace reprefill::cli {
namespace {

struct MergeOptions {
  std::string folder;
  bool force = false;
  bool json = false;
  bool markdown = false;
};

void run(const MergeOptions& options) {
  const sim::MergedSweep merged = sim::read_shards(options.folder);
  const auto mode = options.force ? record::ResultFolder::Mode::replace : record::ResultFolder::Mode::fresh;
  record::ResultFolder folder(options.folder, merged.resolved, mode);
  for (const Json& row : merged.rows) {
    folder.append_row(row.at("point").get<std::size_t>(), row.at("inputs").get<std::string>(), row);
  }
  folder.finish(merged.rows, merged.summary, {{"merged_points", merged.rows.size()}});
  if (options.json) {
    fmt::print("{}\n", Json(sim::summarise_replicas(merged.rows)).dump(2));
    return;
  }
  print_rows(merged.rows, merged.axis_names, options.markdown);
  fmt::print("\n{} points. Results: {}\n", merged.rows.size(), options.folder);
  print_notes(merged.rows);
}

}  // namespace

void add_merge(CLI::App& app, const Environment&) {
  auto options = std::make_shared<MergeOptions>();
  CLI::App* verb = app.add_subcommand("merge", "Join the shards of a sweep: the same files as from one process");
  verb->add_option("folder", options->folder, "The --out folder of `sweep --shard`")->required();
  verb->add_flag("--force", options->force, "Replace the results in the folder");
  verb->add_flag("--json", options->json, "Print the summary as JSON");
  verb->add_flag("--markdown", options->markdown, "Print the table as Markdown");
  verb->callback([options] { run(*options); });
}

}  // namespace reprefill::cli
