// `reprefill calibrate`: measures this machine and writes a profile bundle.
#include <chrono>

#include "calibrate/bundle.hpp"
#include "calibrate/storage/fio.hpp"
#include "cli/verbs.hpp"
#include "cli/version.hpp"
#include "core/base/files.hpp"
#include "core/base/text_table.hpp"
#include "sim/sweep/parallel_runner.hpp"

namespace reprefill::cli {
namespace {

struct CalibrateVerbOptions {
  std::string storage, span, fio, device = "cpu", out;
  std::vector<std::string> models;
  bool quick = false, full = false, resume = false, force = false, plan = false, quiet = false;
  bool unregistered = false, json = false;
  int threads = 0, gpu_index = 0;
  double cell_seconds = 0;
};

std::optional<Bytes> span_of(const std::string& text) {
  if (text.empty()) return std::nullopt;
  const bool is_number = text.find_first_not_of("0123456789") == std::string::npos;
  const Json json = text;
  const double bytes = is_number ? std::stod(text) : JsonValue(json, "--span").as_quantity("bytes");
  return Bytes{static_cast<std::uint64_t>(bytes)};
}

calibrate::CalibrateOptions options_of(const CalibrateVerbOptions& options, const Environment& environment) {
  calibrate::CalibrateOptions result{.device = options.device,
                                     .storage = std::nullopt,
                                     .span = span_of(options.span),
                                     .fio = std::nullopt,
                                     .models = options.models,
                                     .models_folder = environment.scenario.models,
                                     .effort = options.full ? calibrate::Effort::full : calibrate::Effort::quick,
                                     .cell_seconds = std::nullopt,
                                     .unregistered_buffers = options.unregistered,
                                     .threads = options.threads,
                                     .gpu_index = options.gpu_index};
  if (!options.storage.empty()) result.storage = options.storage;
  if (options.cell_seconds > 0) result.cell_seconds = options.cell_seconds;
  if (!options.fio.empty()) result.fio = options.fio;
  return result;
}

void print_plan(const calibrate::Plan& plan, bool json) {
  if (json) {
    Json parts = Json::array();
    for (const auto& part : plan.parts) {
      parts.push_back({{"part", part.name}, {"cells", part.num_cells}, {"expected_s", part.expected_s}});
    }
    fmt::print("{}\n", Json{{"plan", plan.to_json()}, {"parts", parts}, {"expected_s", plan.expected_s()}}.dump(2));
    return;
  }
  TextTable table({"part", "cells", "about s"});
  for (const auto& part : plan.parts) {
    table.add_row({part.name, std::to_string(part.num_cells), fmt::format("{:.0f}", part.expected_s)});
  }
  fmt::print("{}about {:.0f} s in all\n", table.to_text(), plan.expected_s());
}

std::string today() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  return fmt::format("{:04}-{:02}-{:02}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday);
}

void run(const CalibrateVerbOptions& options, const Environment& environment) {
  if (options.device == "cuda" && !engine::has_cuda()) {
    throw ConfigError(
        "--device cuda: this build measures no GPU: configure it with -DREPREFILL_CUDA=ON. Or take --device cpu, or "
        "mix "
        "a shipped GPU part into the bundle (reprefill profile derive --gpu)");
  }
  const calibrate::Plan plan = calibrate::make_plan(options_of(options, environment));
  if (plan.site) {
    for (const std::string& warning : plan.site->warnings) fmt::print(stderr, "note: {}\n", warning);
  }
  if (options.plan) return print_plan(plan, options.json);
  if (options.out.empty()) throw ConfigError("--out: found nothing; expected the folder that becomes the bundle");
  const std::filesystem::path out(options.out);
  if (plan.options.fio) calibrate::read_fio_result(*plan.options.fio);  // refused before minutes are spent
  const sim::InterruptGuard interrupt;
  const auto mode = options.resume  ? record::ResultFolder::Mode::resume
                    : options.force ? record::ResultFolder::Mode::replace
                                    : record::ResultFolder::Mode::fresh;
  const calibrate::Measurements measurements =
      calibrate::run_plan(plan, {.out = out,
                                 .mode = mode,
                                 .progress = options.quiet ? ProgressMode::quiet : ProgressMode::automatic,
                                 .interrupted = &interrupt.flag()});
  const calibrate::Bundle bundle =
      calibrate::make_bundle(plan, measurements, std::filesystem::absolute(out).lexically_normal().filename(), today(),
                             fmt::format("{} ({})", kVersion, kRevision));
  if (plan.site) {
    write_file_atomically(
        out / "fio.job",
        calibrate::fio_job(plan.storage_grid, std::filesystem::absolute(plan.site->folder), plan.site->span));
  }
  calibrate::write_bundle(out, bundle);
  for (const auto& path : measurements.removed_leftovers) {
    fmt::print(stderr, "note: removed what a killed calibration left: {}\n", path.string());
  }
  for (const std::string& disturbance : measurements.disturbances) fmt::print(stderr, "note: {}\n", disturbance);
  fmt::print("{}\n{} cells in {:.0f} s. Bundle: {}\n", calibrate::describe(bundle.fits), measurements.cells.size(),
             measurements.wall_s, out.string());
  std::string missing;
  for (const char* part : {"gpu", "ssd"}) {
    if (!bundle.model.contains(part)) missing += fmt::format("{}{}", missing.empty() ? "" : " and ", part);
  }
  if (!missing.empty()) {
    fmt::print(
        "Not measured: {}. Mix it in by name: \"profile\": {{\"name\": ...}} of a scenario, or `reprefill profile "
        "derive`.\n",
        missing);
  }
}

}  // namespace

void add_calibrate(CLI::App& app, const Environment& environment) {
  auto options = std::make_shared<CalibrateVerbOptions>();
  CLI::App* verb =
      app.add_subcommand("calibrate", "Measure this machine: writes a profile that sweep and simulate take");
  verb->add_option("--storage", options->storage,
                   "Folder on the drive to measure; a scratch file is made there and removed");
  verb->add_option("--span", options->span,
                   "Size of the scratch file, \"8 GiB\" or bytes (default: 64 GiB or a quarter of the free space)");
  verb->add_option("--fio", options->fio, "JSON result of fio (see fio.job in the bundle) in place of our reads");
  verb->add_option("--device", options->device, "cpu (default) or cuda");
  verb->add_option("--gpu", options->gpu_index, "Number of the GPU, with --device cuda (default 0)")
      ->check(CLI::Range(0, 63));
  verb->add_option("--model", options->models,
                   "Models to measure: config.json files, checkpoint folders, or names in scenarios/models");
  CLI::Option* quick = verb->add_flag("--quick", options->quick, "Fewer shapes, 2 % per median (default)");
  verb->add_flag("--full", options->full, "All shapes, 1 % per median")->excludes(quick);
  CLI::Option* resume = verb->add_flag("--resume", options->resume, "Go on with an interrupted calibration");
  verb->add_flag("--force", options->force, "Replace the measurements in the folder")->excludes(resume);
  verb->add_flag("--plan", options->plan, "Say what would be measured, and how long it takes");
  verb->add_option("--out", options->out, "Folder of the bundle");
  verb->add_option("--threads", options->threads, "Threads of the CPU executor (default: the cores it may use)")
      ->check(CLI::Range(1, 4096));
  verb->add_option("--cell-seconds", options->cell_seconds,
                   "The most that one cell gets (default 0.8 with --quick, 2 with --full); what is open then is marked")
      ->check(CLI::Range(0.01, 3600.0));
  verb->add_flag("--unregistered-buffers", options->unregistered, "Do without locked memory for io_uring");
  verb->add_flag("--quiet", options->quiet, "No progress");
  verb->add_flag("--json", options->json, "With --plan: machine-readable");
  verb->callback([options, environment] { run(*options, environment); });
}

}  // namespace reprefill::cli
