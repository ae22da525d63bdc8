// `reprefill report`: a result folder, two of them, or a profile bundle, as one HTML file.
#include "cli/verbs.hpp"
#include "cli/version.hpp"
#include "core/base/files.hpp"
#include "study/diff/diff.hpp"
#include "study/report/bundle_report.hpp"
#include "study/report/compare_report.hpp"
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

/// Two results may be shown side by side without being of a kind that has verdicts.
Json verdicts_of(const std::vector<std::string>& folders) {
  try {
    return study::to_json(study::diff_results(study::read_result_samples(folders[0], {}),
                                              study::read_result_samples(folders[1], {}), {}));
  } catch (const ConfigError& error) {
    return {{"refused", error.what()}};
  }
}

struct Page {
  study::PageKind kind;
  Json data;
  std::string title;
  std::filesystem::path out;  // unless the user names one
};

Page page_of_sweeps(const ReportOptions& options, const Environment& environment, const std::string& program) {
  std::vector<study::ResultSet> results;
  std::vector<Json> entries;
  for (const std::string& folder : options.folders) {
    results.push_back(study::read_result_set(folder));
    entries.push_back(entry_of(results.back(), options, environment));
  }
  if (results.size() == 1) {
    return {study::PageKind::sweep, study::report_data(entries, program), results[0].name,
            results[0].folder / "report.html"};
  }
  return {study::PageKind::sweep,
          study::comparison_data(results[0], results[1], entries[0], entries[1], verdicts_of(options.folders), program),
          results[0].name + " and " + results[1].name, results[0].folder / "comparison.html"};
}

Page page_of(const ReportOptions& options, const Environment& environment) {
  const std::string program = fmt::format("reprefill {} ({})", kVersion, kRevision);
  const std::filesystem::path folder = options.folders.front();
  if (!options.compare && study::is_bundle(folder)) {
    Json data = study::bundle_data(folder, program);
    const std::string title = data.at("name").get<std::string>();
    return {study::PageKind::bundle, std::move(data), title, folder / "report.html"};
  }
  if (!options.compare && study::is_compare_result(folder)) {
    Json data = study::compare_data(folder, program);
    const std::string title = data.at("name").get<std::string>();
    return {study::PageKind::compare, std::move(data), title, folder / "report.html"};
  }
  return page_of_sweeps(options, environment, program);
}

void run(const ReportOptions& options, const Environment& environment) {
  if (options.folders.size() != (options.compare ? 2 : 1)) {
    throw ConfigError(
        fmt::format("report: found {} result folders; expected one, or two after --compare", options.folders.size()));
  }
  const Page page = page_of(options, environment);
  const std::filesystem::path out = options.out.empty() ? page.out : std::filesystem::path(options.out);
  write_file_atomically(out, study::make_page(page.kind, page.data, page.title, environment.home / "plots" / "report"));
  fmt::print("{}\n", out.string());
}

}  // namespace

void add_report(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* verb = app.add_subcommand(
      "report", "Write a result folder or a profile bundle as one interactive HTML file (no network)");
  verb->add_option("result", options->folders,
                   "Result folder of `sweep` or `compare`, or a measured profile; two of `sweep` with --compare")
      ->required();
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
