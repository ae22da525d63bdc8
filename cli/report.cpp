// `reprefill report`: a result folder, or two, as one HTML file.
#include "cli/verbs.hpp"
#include "cli/version.hpp"
#include "core/base/files.hpp"
#include "study/report/report_page.hpp"
#include "study/report/report_timeline.hpp"

namespace reprefill::cli {
namespace {

constexpr std::size_t kMostTimelines = 16;

struct ReportOptions {
  std::vector<std::string> folders;
  bool compare = false;
  std::string out;
  std::vector<std::size_t> timelines;
  bool no_timelines = false;
  study::TimelineLimits limits;
};

/// Points that nobody asked for may fail to run again: then the report says why and goes without.
Json entry_of(const study::ResultSet& result, const ReportOptions& options, const Environment& environment) {
  if (options.no_timelines) return study::report_entry(result, Json::array(), {});
  if (!options.timelines.empty()) {
    return study::report_entry(
        result, study::simulate_timelines(result, options.timelines, environment.scenario, options.limits), {});
  }
  try {
    const std::vector<std::size_t> points = study::fastest_points(result, kMostTimelines);
    return study::report_entry(result, study::simulate_timelines(result, points, environment.scenario, options.limits),
                               {});
  } catch (const ConfigError& error) {
    return study::report_entry(result, Json::array(), {fmt::format("No time lines: {}", error.what())});
  }
}

void run(const ReportOptions& options, const Environment& environment) {
  if (options.folders.size() != (options.compare ? 2 : 1)) {
    throw ConfigError(
        fmt::format("report: found {} result folders; expected one, or two after --compare", options.folders.size()));
  }
  const std::string program = fmt::format("reprefill {} ({})", kVersion, kRevision);
  std::vector<study::ResultSet> results;
  std::vector<Json> entries;
  for (const std::string& folder : options.folders) {
    results.push_back(study::read_result_set(folder));
    entries.push_back(entry_of(results.back(), options, environment));
  }
  const bool two = results.size() == 2;
  const Json data = two ? study::comparison_data(results[0], results[1], entries[0], entries[1], program)
                        : study::report_data(entries, program);
  const std::string title = two ? results[0].name + " and " + results[1].name : results[0].name;
  const std::filesystem::path out = options.out.empty() ? results[0].folder / (two ? "comparison.html" : "report.html")
                                                        : std::filesystem::path(options.out);
  write_file_atomically(out, study::make_page(data, title, environment.home / "plots" / "report"));
  fmt::print("{}\n", out.string());
}

}  // namespace

void add_report(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* verb = app.add_subcommand("report", "Write a result folder as one interactive HTML file (no network)");
  verb->add_option("result", options->folders, "Result folder of a sweep; two with --compare")->required();
  verb->add_flag("--compare", options->compare, "Two result folders side by side");
  verb->add_option("--out", options->out, "HTML file (default: report.html or comparison.html in the first folder)");
  CLI::Option* chosen =
      verb->add_option("--timeline", options->timelines,
                       "Points whose time line to show (default: the fastest of each system and path)")
          ->delimiter(',')
          ->allow_extra_args(false);
  verb->add_option("--timeline-requests", options->limits.num_requests, "Measured requests in a time line (default 2)")
      ->check(CLI::Range(1, 100));
  verb->add_flag("--no-timelines", options->no_timelines, "Simulate nothing: the page has no time lines")
      ->excludes(chosen);
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
