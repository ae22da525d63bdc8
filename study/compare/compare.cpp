#include "study/compare/compare.hpp"

#include <map>

#include "sim/simulation/run_point.hpp"
#include "study/compare/calibrate_orders.hpp"
#include "study/compare/compare_summary.hpp"
#include "study/compare/drive_drift.hpp"
#include "study/compare/overlay_timeline.hpp"
#include "traces/importance/recorded_importance.hpp"

namespace reprefill::study {
namespace {

constexpr const char* kRecordingExtension = ".rimp";

/// Of all points of a group, the most that one needs: every system gets the same requests (semantics 7).
std::vector<std::uint64_t> warmup_counts(const sim::Scenario& scenario, sim::SharedInputs& inputs) {
  std::map<std::size_t, std::uint64_t> most;
  for (const sim::Point& point : scenario.points) {
    if (sim::warmup_limit(point) == 0) continue;
    most[point.group] = std::max(most[point.group], sim::warmup_needed(point, inputs, {}));
  }
  std::vector<std::uint64_t> counts;
  for (const sim::Point& point : scenario.points) {
    const bool has_rule = sim::warmup_limit(point) > 0;
    counts.push_back(has_rule ? most[point.group] : point.workload.pool.warmup_requests.value_or(0));
  }
  return counts;
}

/// The prototype path's fixed costs are those of published prototypes (semantics 4). The engine runs the same
/// structure, one object at a time, without sleeping: what that costs is in the profile of the machine.
pipeline::SoftwarePath as_the_engine_runs(pipeline::SoftwarePath path) {
  for (Nanoseconds* cost : {&path.object_fixed_cost, &path.compute_overhead_per_request,
                            &path.launch_overhead_per_layer, &path.identify_cost_per_call, &path.stage_synchronise}) {
    *cost = Nanoseconds{0};
  }
  path.score_to_host = Bytes{0};
  return path;
}

bool depends_on_timing(const sim::Point& point) {
  if (point.workload.max_in_flight() > 1) return true;
  const Json name = point.system;
  const pipeline::SystemEntry& entry = pipeline::find_system(JsonValue(name, point.origin));
  if (entry.timing_dependent) return true;
  const pipeline::SystemEnvironment environment = environment_of(point);
  return entry.make(point.system_params, environment)->timing_dependent();
}

std::filesystem::path importance_file(const CompareOptions& options, const sim::Point& point) {
  return options.work_folder / fmt::format("point{}{}", point.index, kRecordingExtension);
}

std::size_t journal_entry(const sim::Scenario& scenario, std::size_t repeat, const sim::Point& point) {
  return repeat * scenario.points.size() + point.index;
}

/// Behind all runs: a journal without them is a whole one.
std::size_t probe_entry(const sim::Scenario& scenario, const CompareOptions& options, std::size_t number) {
  return options.repeats * scenario.points.size() + number;
}

std::vector<DriveProbe> probes_of(const sim::Scenario& scenario, const CompareOptions& options,
                                  const record::ResultFolder& folder) {
  std::vector<DriveProbe> probes;
  while (const Json* row = folder.row(probe_entry(scenario, options, probes.size()))) {
    probes.push_back(drive_probe_from_json(row->at("drive_probe")));
  }
  return probes;
}

void check_interrupted(const CompareOptions& options) {
  if (options.interrupted != nullptr && *options.interrupted) throw Interrupted();
}

/// Fills the journal.
class MeasureJob {
 public:
  MeasureJob(engine::Model& model, const sim::Scenario& scenario, sim::SharedInputs& inputs,
             record::ResultFolder& folder, const CompareOptions& options)
      : model_(model), scenario_(scenario), folder_(folder), options_(options) {
    const std::vector<std::uint64_t> warmup = warmup_counts(scenario, inputs);
    for (const sim::Point& point : scenario.points) {
      workloads_.push_back(make_compare_workload(point, warmup[point.index], inputs));
    }
    std::filesystem::create_directories(options.work_folder);
  }

  MeasuredRequests run() {
    const auto on_prefix = [&](std::size_t done, std::size_t all) {
      check_interrupted(options_);
      if (options_.on_prefix) options_.on_prefix(done, all);
    };
    store_.emplace(
        build_compare_store(model_, scenario_.points, workloads_, options_.work_folder / "store", on_prefix));
    calibrate_orders(model_, *store_, scenario_.points, options_.real, options_.work_folder);
    for (const sim::Point& point : scenario_.points) record_importance(point);
    measure();
    MeasuredRequests measured{.on = measured_on(model_), .segment_tokens = {}, .points = {}};
    for (std::uint32_t i = 0; i < store_->num_segments(); ++i) {
      measured.segment_tokens.push_back(store_->segment(SegmentId{i}).num_tokens());
    }
    for (const sim::Point& point : scenario_.points) {
      const CompareWorkload& workload = workloads_[point.index];
      measured.points.push_back({resolve_requests(*store_, point, workload), workload.num_warmup});
    }
    return measured;
  }

 private:
  void done() {
    ++num_done_;
    if (options_.on_run) options_.on_run(num_done_);
  }

  /// What the engine scored and chose. It also warms up weights and buffers, so it is not timed.
  void record_importance(const sim::Point& point) {
    check_interrupted(options_);
    const std::filesystem::path file = importance_file(options_, point);
    if (!std::filesystem::exists(file)) {
      run_on_engine(model_, *store_, point, workloads_[point.index], options_.real, file);
    }
    done();
  }

  /// Repeats are interleaved, since drives and clocks drift; each round begins with another point. The drive is probed
  /// before a round, again where one goes on after an interruption, and after the last.
  void measure() {
    const std::size_t num_points = scenario_.points.size();
    num_probes_ = probes_of(scenario_, options_, folder_).size();
    bool any = false;
    for (std::size_t repeat = 0; repeat < options_.repeats; ++repeat) {
      bool probed = false;
      for (std::size_t i = 0; i < num_points; ++i) {
        const sim::Point& point = scenario_.points[(i + repeat) % num_points];
        if (folder_.row(journal_entry(scenario_, repeat, point)) == nullptr) {
          check_interrupted(options_);
          if (!probed) probe_drive(repeat * num_points + i);
          measure_run(repeat, point);
          any = probed = true;
        }
        done();
      }
    }
    if (any) probe_drive(options_.repeats * num_points);
  }

  void measure_run(std::size_t repeat, const sim::Point& point) {
    const MachineRun run = run_on_engine(model_, *store_, point, workloads_[point.index], options_.real);
    Json row = {{"point", point.index}, {"repeat", repeat}, {"run", to_json(run)}};
    if (repeat == 0) row["timeline"] = spans_json(run.timeline);
    folder_.append_row(journal_entry(scenario_, repeat, point), "", row);
  }

  /// Through the page cache there is no drive to probe.
  void probe_drive(std::size_t num_runs_before) {
    if (!options_.probe_drive || options_.real.buffered_reads) return;
    const DriveMeter meter(*store_, options_.real.unregistered_buffers);
    const DriveProbe probe = meter.measure(num_runs_before, num_probes_);
    folder_.append_row(probe_entry(scenario_, options_, num_probes_++), "", {{"drive_probe", to_json(probe)}});
  }

  engine::Model& model_;
  const sim::Scenario& scenario_;
  record::ResultFolder& folder_;
  const CompareOptions& options_;
  std::vector<CompareWorkload> workloads_;
  std::optional<engine::Store> store_;
  std::size_t num_done_ = 0;
  std::size_t num_probes_ = 0;
};

/// Holds the simulator against a whole journal.
class JudgeJob {
 public:
  JudgeJob(const sim::Scenario& scenario, const MeasuredRequests& measured, const record::ResultFolder& folder,
           const CompareOptions& options)
      : scenario_(scenario),
        measured_(measured),
        folder_(folder),
        options_(options),
        probes_(probes_of(scenario, options, folder)) {}

  CompareResult run() {
    CompareResult result;
    std::vector<PointComparison> comparisons;
    OverlayTimeline timeline;
    for (const sim::Point& point : scenario_.points) {
      check_interrupted(options_);
      comparisons.push_back(judge_point(point));
      const std::string name = fmt::format("{} {}", point.index, point.label);
      timeline.add(name + ", engine", spans_from_json(journal(0, point).at("timeline")));
      timeline.add(name + ", simulator", comparisons.back().predicted.timeline);
      result.rows.push_back(row_of(point, comparisons.back()));
    }
    result.summary = summarise_comparison(scenario_.points, comparisons);
    result.summary["drive"] = drive_json();
    result.timeline = timeline.json();
    return result;
  }

 private:
  const Json& journal(std::size_t repeat, const sim::Point& point) const {
    const Json* row = folder_.row(journal_entry(scenario_, repeat, point));
    if (row == nullptr) {
      throw ConfigError(fmt::format("{}: repeat {} of point {} was not measured; expected a whole journal",
                                    folder_.path().string(), repeat, point.index));
    }
    return *row;
  }

  std::optional<DriveDrift> drift_for(const sim::Profile& profile) const {
    return drive_drift(probes_, options_.repeats, scenario_.points.size(), profile.ssd);
  }

  /// Of the first point's profile: points seldom have another.
  Json drive_json() const {
    Json json = {{"probes", probes_.size()}};
    const sim::Profile& profile = scenario_.points.front().profile;
    if (const auto drift = drift_for(profile)) {
      json.update(to_json(*drift));
      json["in_words"] = in_words(*drift);
    } else if (probes_.empty()) {
      json["in_words"] = "The drive was not measured beside the runs.";
    } else {
      json["in_words"] = fmt::format(
          "The drive was measured beside the runs, but not in every round, or profile {} does not say what the same "
          "reads took when it was calibrated.",
          profile.name);
    }
    return json;
  }

  PointComparison judge_point(const sim::Point& point) {
    std::vector<MachineRun> repeats;
    for (std::size_t repeat = 0; repeat < options_.repeats; ++repeat) {
      repeats.push_back(machine_run_from_json(journal(repeat, point).at("run")));
    }
    const auto importance = traces::RecordedImportance::open(importance_file(options_, point));
    SimulatedSessionOptions simulation{
        .system = point.system,
        .system_params = point.system_params,
        .path = as_the_engine_runs(point.path),
        .geometry = point.geometry,
        .segment_tokens = [this](SegmentId segment) { return measured_.segment_tokens.at(segment.value); },
        .store_block_tokens = point.store_block_tokens,
        .max_in_flight = point.workload.max_in_flight(),
        .importance = &importance,
        .seed = point.seed};
    std::optional<engine::StoredOrders> orders;
    if (const auto wanted = wanted_order(point)) {
      if (!store_) store_.emplace(engine::Store::open(options_.work_folder / "store"));
      orders.emplace(*store_, wanted->layout);
      simulation.token_places = [&](SegmentId segment, int layer) { return orders->places(segment, layer); };
    }
    // Prompts are given as ids: neither machine tokenises.
    sim::Profile profile = point.profile;
    profile.host.tokenise_per_token = Nanoseconds{0};
    const MeasuredPoint& served = measured_.points.at(point.index);
    const std::optional<DriveDrift> drift = drift_for(profile);
    const std::optional<sim::SsdProfile> drive_then =
        drift ? std::optional(drive_as_it_was(profile, *drift)) : std::nullopt;
    return compare_point({.simulation = simulation,
                          .profile = profile,
                          .drive_then = drive_then ? &*drive_then : nullptr,
                          .requests = served.requests,
                          .num_warmup = served.num_warmup,
                          .repeats = repeats,
                          .timing_dependent = depends_on_timing(point),
                          .range_replicas = options_.range_replicas,
                          .judgement = options_.judgement});
  }

  Json row_of(const sim::Point& point, const PointComparison& comparison) const {
    const MeasuredPoint& served = measured_.points.at(point.index);
    Json row = {{"schema_version", kCompareSchemaVersion},
                {"kind", "compare"},
                {"point", point.index},
                {"label", point.label},
                {"system", point.system},
                {"axes", point.axes},
                {"software_path", enum_name(point.path.kind)},
                {"profile", point.profile.name},
                {"requests_in_flight", point.workload.max_in_flight()},
                {"prefix_tokens", point.workload.pool.prefix_tokens},
                {"warmup_requests", served.num_warmup},
                {"measured_requests", served.requests.size() - served.num_warmup},
                {"timing_dependent", depends_on_timing(point)}};
    row.update(to_json(comparison));
    return row;
  }

  const sim::Scenario& scenario_;
  const MeasuredRequests& measured_;
  const record::ResultFolder& folder_;
  const CompareOptions& options_;
  std::vector<DriveProbe> probes_;
  std::optional<engine::Store> store_;  // for its orders
};

}  // namespace

MeasuredOn measured_on(const engine::Model& model) {
  return {model.checkpoint->geometry().name, model.checkpoint->fingerprint(), model.executor->describe()};
}

Json compare_inputs(const sim::Scenario& scenario, const MeasuredOn& on, const CompareOptions& options) {
  Json json = {{"schema_version", kCompareSchemaVersion},
               {"kind", "compare"},
               {"model", on.model},
               {"fingerprint", fmt::format("{:016x}", on.fingerprint)},
               {"executor", on.executor},
               {"repeats", options.repeats},
               {"buffered_reads", options.real.buffered_reads},
               {"points", Json::array()}};
  for (const sim::Point& point : scenario.points) {
    // The profile decides the prediction, not the measurement: another one may be held against the same journal.
    Json resolved = point.resolved;
    resolved.erase("profile");
    resolved.erase("range_replicas");  // its default depends on the profile
    json["points"].push_back({{"label", point.label}, {"axes", point.axes}, {"resolved", resolved}});
  }
  return json;
}

std::size_t num_engine_runs(const sim::Scenario& scenario, const CompareOptions& options) {
  return scenario.points.size() * (1 + options.repeats);
}

void remove_recordings(const std::filesystem::path& work_folder) {
  if (!std::filesystem::exists(work_folder)) return;
  for (const auto& entry : std::filesystem::directory_iterator(work_folder)) {
    if (entry.path().extension() == kRecordingExtension) std::filesystem::remove(entry.path());
  }
}

CompareResult compare(engine::Model& model, const sim::Scenario& scenario, sim::SharedInputs& inputs,
                      record::ResultFolder& folder, const CompareOptions& options) {
  const MeasuredRequests measured = MeasureJob(model, scenario, inputs, folder, options).run();
  write_measured(options.work_folder, measured);
  return JudgeJob(scenario, measured, folder, options).run();
}

CompareResult judge_again(const sim::Scenario& scenario, const MeasuredRequests& measured, record::ResultFolder& folder,
                          const CompareOptions& options) {
  if (measured.points.size() != scenario.points.size()) {
    throw ConfigError(fmt::format("{}: {} points; the scenario has {}", options.work_folder.string(),
                                  measured.points.size(), scenario.points.size()));
  }
  return JudgeJob(scenario, measured, folder, options).run();
}

}  // namespace reprefill::study
