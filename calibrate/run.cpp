#include "calibrate/run.hpp"

#include <algorithm>

#include "calibrate/cpu/host_cells.hpp"
#include "calibrate/cpu/interference_cells.hpp"
#include "calibrate/cpu/random_checkpoint.hpp"
#include "calibrate/cuda/gpu_conditions.hpp"
#include "calibrate/cuda/gpu_copy_cells.hpp"
#include "calibrate/cuda/gpu_interference_cells.hpp"
#include "calibrate/cuda/gpu_operation_cells.hpp"
#include "calibrate/meter/sample_journal.hpp"
#include "calibrate/session/driver_cells.hpp"
#include "calibrate/storage/fio.hpp"
#include "core/base/random.hpp"

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

/// Random weights on their way to a GPU lie in memory where there is room for them: they are read once.
std::filesystem::path weights_folder(const std::filesystem::path& out, const ModelSource& source) {
  const std::filesystem::path memory = "/dev/shm";
  std::error_code error;
  const std::uint64_t free = std::filesystem::space(memory, error).available;
  const Bytes needed = random_checkpoint_bytes(source.geometry, source.num_layers);
  if (error || free < 2 * needed.value) return out / "scratch" / "gpu";
  // The next calibration into this folder finds what a killed one left.
  const std::string name = std::filesystem::absolute(out).lexically_normal().string();
  return memory / fmt::format("reprefill-calibrate-{:016x}", hash_name(name));
}

/// A model on a GPU and the lanes of a session around it.
struct OpenGpuModel {
  OpenGpuModel(const ModelSource& source, const RunOptions& options, const Plan& plan) {
    std::optional<ScratchFolder> random;
    std::filesystem::path folder = source.checkpoint;
    if (folder.empty()) {
      random.emplace(weights_folder(options.out, source));
      folder = *random / "model";
      write_random_checkpoint(folder, source.geometry, source.num_layers);
    }
    model.checkpoint = std::make_unique<engine::Checkpoint>(engine::Checkpoint::open(folder));
    model.executor = options.open_executor(*model.checkpoint, {.device = engine::ExecutorDevice::cuda,
                                                               .cpu = {.num_threads = plan.options.threads},
                                                               .gpu_index = plan.options.gpu_index});
    driver.emplace(*model.executor);
    const auto positions = static_cast<std::uint32_t>(source.geometry.max_position_embeddings);
    walk.emplace(*driver, std::min(plan.operation_grid.keys.back(), positions / 16 * 16));
  }
  engine::Model model;
  std::optional<GpuDriver> driver;
  std::optional<GpuLayerWalk> walk;
};

class PlanRun {
 public:
  PlanRun(const Plan& plan, const RunOptions& options)
      : plan_(plan),
        options_(options),
        journal_(options.out / "raw", plan.to_json(), options.mode),
        scratch_(options.out / "scratch"),
        progress_("calibrate", costs_of(plan), options.progress, "parts") {}

  Measurements run() {
    const Nanoseconds start = clock_.now();
    result_.before = read_conditions();
    if (plan_.site) result_.removed_leftovers = remove_leftovers(plan_.site->folder);
    std::unique_ptr<OpenGpuModel> first_model;
    if (plan_.options.on_gpu()) {  // before the rest: no GPU, or no room on it, is said at once
      gpu_before_ = read_gpu_conditions(plan_.options.gpu_index);
      first_model = std::make_unique<OpenGpuModel>(plan_.models.front(), options_, plan_);
    }
    measure_host();
    if (plan_.site) measure_storage();
    if (plan_.options.on_gpu()) {
      measure_gpu(std::move(first_model));
    } else {
      measure_cpu();
    }
    if (file_) {
      measure_cells(read_again_cells(plan_.storage_grid, &*file_), read_again_rule(plan_.rule));
      check_page_cache();
    }
    result_.after = read_conditions();
    result_.wall_s = to_seconds(clock_.now() - start);
    result_.disturbances =
        disturbances(result_.before, result_.after, result_.wall_s, describe_machine().at("cores").get<int>());
    std::ranges::move(gpu_notes_, std::back_inserter(result_.disturbances));
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
    require_locked_memory(plan_.storage_grid);
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

  void measure_cpu() {
    std::optional<OpenModel> model;
    for (const ModelSource& source : plan_.models) {
      model.reset();  // before the next: two need not fit the memory
      model.emplace(source, scratch_ / source.geometry.name, plan_);
      result_.num_threads = model->num_threads;
      measure_cells(operation_cells(plan_.operation_grid, source.geometry, &*model->walk), plan_.rule);
      measure_driver(source.geometry, model->model);
    }
    measure_interference(model ? &*model->walk : nullptr);
  }

  void measure_gpu(std::unique_ptr<OpenGpuModel> model) {
    for (const ModelSource& source : plan_.models) {
      if (&source != &plan_.models.front()) {
        model.reset();
        model = std::make_unique<OpenGpuModel>(source, options_, plan_);
      }
      result_.gpu_name = model->driver->gpu().name();
      result_.gpu_memory = model->driver->gpu().total_memory();
      measure_cells(gpu_operation_cells(plan_.operation_grid, source.geometry, &*model->walk), plan_.rule);
      measure_driver(source.geometry, model->model);
    }
    // While the clocks are still those of the measurement.
    const std::optional<GpuConditions> after = read_gpu_conditions(plan_.options.gpu_index);
    measure_cells(gpu_copy_cells(plan_.options.effort == Effort::full, &*model->driver), plan_.rule);
    measure_cells(gpu_interference_cells({.file = file_ ? &*file_ : nullptr,
                                          .has_storage = file_.has_value(),
                                          .walk = &*model->walk,
                                          .unregistered_buffers = plan_.options.unregistered_buffers}),
                  plan_.rule);
    if (!gpu_before_ || !after) return;
    result_.gpu_conditions = {gpu_before_->to_json(), after->to_json()};
    gpu_notes_ = gpu_disturbances(*gpu_before_, *after);
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
  std::optional<GpuConditions> gpu_before_;
  std::vector<std::string> gpu_notes_;
  Measurements result_;
};

}  // namespace

Measurements run_plan(const Plan& plan, const RunOptions& options) {
  Measurements result = PlanRun(plan, options).run();
  if (plan.options.fio) {
    std::vector<Measured> reads = read_fio_result(*plan.options.fio);
    // Our own reads, if any, give way.
    std::erase_if(result.cells, [](const Measured& cell) {
      return cell.spec.quantity == "read" || cell.spec.quantity == "read_again";  // of another moment than fio's
    });
    std::ranges::move(reads, std::back_inserter(result.cells));
  }
  return result;
}

}  // namespace reprefill::calibrate
