#include "calibrate/run.hpp"

#include <algorithm>

#include "calibrate/cpu/host_cells.hpp"
#include "calibrate/cpu/interference_cells.hpp"
#include "calibrate/cpu/random_checkpoint.hpp"
#include "calibrate/meter/sample_journal.hpp"
#include "calibrate/session/driver_cells.hpp"
#include "calibrate/storage/fio.hpp"

namespace reprefill::calibrate {
namespace {

/// Removed with its owner; what a killed run left is removed by the next.
class ScratchFolder {
 public:
  explicit ScratchFolder(std::filesystem::path path) : path_(std::move(path)) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// A model ready to be walked through. Random weights lie in a folder that goes with it.
struct OpenModel {
  OpenModel(const ModelSource& source, const std::filesystem::path& scratch, const Plan& plan) {
    std::filesystem::path folder = source.checkpoint;
    if (folder.empty()) {
      folder = scratch;
      write_random_checkpoint(folder, source.geometry, source.num_layers);
    }
    model.checkpoint = std::make_unique<engine::Checkpoint>(engine::Checkpoint::open(folder));
    engine::CpuExecutorOptions options{.num_threads = plan.options.threads};
    if (!source.weights_cached) options.weight_cache = Bytes{0};
    auto executor = std::make_unique<engine::CpuExecutor>(*model.checkpoint, options);
    num_threads = executor->num_threads();
    model.executor = std::move(executor);
    walk.emplace(*model.executor, std::max(std::uint32_t{4096}, plan.operation_grid.keys.back()));
    // Open files stay readable without names: nothing is left even by a kill from here on.
    if (source.checkpoint.empty()) std::filesystem::remove_all(folder);
  }
  engine::Model model;
  int num_threads = 0;
  std::optional<LayerWalk> walk;
};

class PlanRun {
 public:
  PlanRun(const Plan& plan, const RunOptions& options)
      : plan_(plan),
        options_(options),
        journal_(options.out / "raw", plan.to_json(), options.mode),
        scratch_(options.out / "scratch"),
        progress_("calibrate", costs_of(plan), options.progress) {}

  Measurements run() {
    const Nanoseconds start = clock_.now();
    result_.before = read_conditions();
    if (plan_.site) result_.removed_leftovers = remove_leftovers(plan_.site->folder);
    measure_host();
    if (plan_.site) measure_storage();
    std::optional<OpenModel> model;
    for (const ModelSource& source : plan_.models) {
      model.reset();  // before the next: two need not fit the memory
      model.emplace(source, scratch_ / source.geometry.name, plan_);
      result_.num_threads = model->num_threads;
      measure_cells(operation_cells(plan_.operation_grid, source.geometry, &*model->walk), plan_.rule);
      measure_driver(source.geometry, model->model);
    }
    measure_interference(model ? &*model->walk : nullptr);
    if (file_) check_page_cache();
    result_.after = read_conditions();
    result_.wall_s = to_seconds(clock_.now() - start);
    result_.disturbances =
        disturbances(result_.before, result_.after, result_.wall_s, describe_machine().at("cores").get<int>());
    return std::move(result_);
  }

 private:
  static std::vector<double> costs_of(const Plan& plan) {
    std::vector<double> costs;
    for (const PlannedPart& part : plan.parts) costs.push_back(part.expected_s);
    return costs;
  }

  /// The next planned part. Its share is that of its cells.
  void measure_cells(const std::vector<std::unique_ptr<Cell>>& cells, const StoppingRule& rule) {
    const std::size_t part = next_part_++;
    std::vector<double> shares(cells.size(), 0);
    const auto report = [&](std::size_t index, double share) {
      shares[index] = share;
      double sum = 0;
      for (const double each : shares) sum += each;
      progress_.update(part, sum / static_cast<double>(shares.size()));
    };
    std::vector<Measured> measured =
        measure(cells, {.rule = rule, .interrupted = options_.interrupted, .on_progress = report}, clock_, journal_);
    progress_.done(part);
    std::ranges::move(measured, std::back_inserter(result_.cells));
  }

  void measure_host() {
    std::optional<engine::Tokenizer> tokenizer;
    for (const ModelSource& model : plan_.models) {
      if (!tokenizer && !model.tokenizer.empty()) tokenizer.emplace(engine::Tokenizer::open(model.tokenizer));
    }
    measure_cells(host_cells(plan_.options.effort == Effort::full, tokenizer ? &*tokenizer : nullptr, clock_),
                  plan_.rule);
  }

  void measure_storage() {
    const std::size_t fill = next_part_++;
    file_.emplace(plan_.site->folder, plan_.site->span, [&](double share) {
      progress_.update(fill, share);
      if (options_.interrupted != nullptr && options_.interrupted->load()) throw Interrupted();
    });
    result_.fill_rates_bytes_per_s = file_->write_rates();
    progress_.done(fill);
    measure_cells(storage_cells(plan_.storage_grid, &*file_), plan_.rule);
    std::vector<std::unique_ptr<Cell>> sustained;
    sustained.push_back(sustained_cell(plan_.storage_grid, &*file_));
    measure_cells(sustained, {.warm_up = 0,
                              .min_samples = plan_.sustained_s,
                              .fewest = plan_.sustained_s,
                              .max_samples = plan_.sustained_s,
                              .target = 0,
                              .cap_s = 1e9,
                              .samples_per_turn = 5});
  }

  /// Sessions read from a store of their own, beside the raw samples.
  void measure_driver(const ModelGeometry& geometry, engine::Model& model) {
    const std::uint32_t prefix_tokens = probe_prefix_tokens(geometry);
    std::optional<engine::Store> store;
    if (prefix_tokens > 0)
      store.emplace(write_probe_store(model, scratch_ / (geometry.name + "-store"), prefix_tokens));
    measure_cells(driver_cells(geometry, {.model = &model,
                                          .store = store ? &*store : nullptr,
                                          .unregistered_buffers = plan_.options.unregistered_buffers}),
                  plan_.rule);
  }

  void measure_interference(LayerWalk* walk) {
    const InterferenceParts parts{.file = file_ ? &*file_ : nullptr,
                                  .has_storage = file_.has_value(),
                                  .has_compute = walk != nullptr,
                                  .walk = walk,
                                  .slice_s = plan_.storage_grid.slice_s,
                                  .unregistered_buffers = plan_.options.unregistered_buffers};
    measure_cells(interference_cells(parts, clock_), plan_.rule);
  }

  void check_page_cache() {
    result_.cached_share = file_->cached_share();
    constexpr double kTolerated = 0.01;
    if (result_.cached_share <= kTolerated) return;
    throw MachineError(fmt::format(
        "{}: {:.0f} % of the scratch file is in the page cache: this file system serves O_DIRECT reads from memory, so "
        "they say nothing of the drive. Name a folder on ext4, xfs or btrfs with --storage",
        plan_.site->folder.string(), 100 * result_.cached_share));
  }

  const Plan& plan_;
  const RunOptions& options_;
  SteadyClock clock_;
  SampleJournal journal_;
  ScratchFolder scratch_;
  Progress progress_;
  std::size_t next_part_ = 0;
  std::optional<ScratchFile> file_;
  Measurements result_;
};

}  // namespace

Measurements run_plan(const Plan& plan, const RunOptions& options) {
  Measurements result = PlanRun(plan, options).run();
  if (plan.options.fio) {
    std::vector<Measured> reads = read_fio_result(*plan.options.fio);
    // Our own reads, if any, give way.
    std::erase_if(result.cells, [](const Measured& cell) { return cell.spec.quantity == "read"; });
    std::ranges::move(reads, std::back_inserter(result.cells));
  }
  return result;
}

}  // namespace reprefill::calibrate
