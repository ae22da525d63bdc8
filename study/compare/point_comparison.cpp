#include "study/compare/point_comparison.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/record/result_folder.hpp"
#include "core/record/ttft_statistics.hpp"

namespace reprefill::study {
namespace {

using Getter = std::function<double(const MachineRequest&)>;

double ttft_ms(const MachineRequest& request) { return to_milliseconds(request.ttft); }

double mean_over(const MachineRun& run, const Getter& get) {
  double sum = 0;
  for (const MachineRequest& request : run.requests) sum += get(request);
  return sum / static_cast<double>(run.requests.size());
}

std::vector<double> all_ttfts(const MachineRun& run) {
  std::vector<double> values;
  for (const MachineRequest& request : run.requests) values.push_back(ttft_ms(request));
  return values;
}

double quantile(std::vector<double> values, double percentile) {
  std::sort(values.begin(), values.end());
  return record::nearest_rank(values, percentile);
}

class Comparison {
 public:
  explicit Comparison(const PointInputs& inputs) : in_(inputs) {
    result_.predicted = simulate(in_.profile, in_.simulation);
    result_.ttft = mean_cell("ttft", ttft_ms);
  }

  PointComparison run() {
    add_classes();
    add_spans();
    check_equality();
    if (in_.timing_dependent) {
      add_distribution();
    } else {
      for (std::size_t i = 0; i < result_.predicted.requests.size(); ++i) {
        result_.requests.push_back(request_cell(i, ttft_ms(result_.predicted.requests[i])));
      }
    }
    add_drive_then();
    add_formulas();
    add_ablations();
    add_ranges();
    return std::move(result_);
  }

 private:
  MachineRun simulate(const sim::Profile& profile, const SimulatedSessionOptions& options) const {
    return simulate_requests(options, profile, in_.requests, in_.num_warmup);
  }

  Cell cell(std::string name, const std::function<double(const MachineRun&)>& of_run, double predicted) const {
    std::vector<double> samples;
    for (const MachineRun& repeat : in_.repeats) samples.push_back(of_run(repeat));
    const double ttft = result_.ttft.real_ms > 0 ? result_.ttft.real_ms : samples.front();
    return judge(std::move(name), std::move(samples), predicted, ttft, in_.judgement);
  }
  Cell mean_cell(std::string name, const Getter& get) const {
    return cell(
        std::move(name), [&](const MachineRun& run) { return mean_over(run, get); }, mean_over(result_.predicted, get));
  }
  Cell request_cell(std::size_t index, double predicted) const {
    std::vector<double> samples;
    for (const MachineRun& repeat : in_.repeats) samples.push_back(ttft_ms(repeat.requests[index]));
    const double own = quantile(samples, 50);
    return judge(std::to_string(in_.num_warmup + index), std::move(samples), predicted, own, in_.judgement);
  }

  void add_classes() {
    double io = 0, other = 0;
    for (int i = 0; i < record::kNumTimeClasses; ++i) {
      const auto time_class = static_cast<record::TimeClass>(i);
      result_.classes.push_back(mean_cell(record::name_of(time_class), [&](const MachineRequest& request) {
        return to_milliseconds(request.time[time_class]);
      }));
      const bool is_io = time_class == record::TimeClass::ssd || time_class == record::TimeClass::link;
      (is_io ? io : other) += result_.classes.back().real_ms;
    }
    result_.is_io_bound = io > other;
    result_.worst_class = worst(result_.classes);
  }

  void add_spans() {
    for (int kind = 0; kind < kNumSpanKinds; ++kind) {
      const auto at = static_cast<std::size_t>(kind);
      const auto occurs = [&](const MachineRun& run) {
        return std::any_of(run.requests.begin(), run.requests.end(),
                           [&](const MachineRequest& request) { return request.spans[at].count > 0; });
      };
      if (!occurs(result_.predicted) && std::none_of(in_.repeats.begin(), in_.repeats.end(), occurs)) continue;
      result_.spans.push_back(mean_cell(span_kind_name(kind), [&](const MachineRequest& request) {
        return to_milliseconds(request.spans[at].service);
      }));
    }
    result_.worst_span = worst(result_.spans);
  }

  static std::string worst(std::span<const Cell> cells) {
    const auto found = std::max_element(cells.begin(), cells.end(), [](const Cell& a, const Cell& b) {
      return std::abs(a.predicted_ms - a.real_ms) < std::abs(b.predicted_ms - b.real_ms);
    });
    return found == cells.end() ? "" : found->name;
  }

  void check_equality() {
    Equality& equality = result_.equality;
    if (in_.timing_dependent) return;
    equality.is_checked = true;
    const Json expected = decisions_of(result_.predicted);
    for (std::size_t repeat = 0; repeat < in_.repeats.size() && equality.first_difference.empty(); ++repeat) {
      const std::string difference = record::first_difference(expected, decisions_of(in_.repeats[repeat]));
      if (!difference.empty()) {
        equality.first_difference = fmt::format("repeat {}: {} on the engine", repeat, difference);
      }
    }
    equality.is_equal = equality.first_difference.empty();
  }

  static Json decisions_of(const MachineRun& run) {
    Json json = {{"num_decisions", run.num_decisions},
                 {"decisions_digest", run.decisions_digest},
                 {"identification_digest", run.identification_digest},
                 {"warmup_accounts", run.warmup_accounts},
                 {"accounts", Json::array()}};
    for (const MachineRequest& request : run.requests) json["accounts"].push_back(request.account);
    return json;
  }

  /// Requests in flight meet each other at other moments on each machine: only how TTFTs are spread is comparable.
  void add_distribution() {
    for (const double percentile : {10.0, 50.0, 90.0}) {
      const auto of_run = [&](const MachineRun& run) { return quantile(all_ttfts(run), percentile); };
      result_.distribution.push_back(cell(fmt::format("p{:.0f}", percentile), of_run, of_run(result_.predicted)));
    }
    std::vector<double> real;
    for (const MachineRun& repeat : in_.repeats) {
      const std::vector<double> values = all_ttfts(repeat);
      real.insert(real.end(), values.begin(), values.end());
    }
    result_.distribution_distance = distribution_distance(real, all_ttfts(result_.predicted));
  }

  AlternativePrediction alternative(std::string name, std::span<const double> predicted_ms) const {
    AlternativePrediction alternative{.name = std::move(name), .mean = {}, .requests = {}};
    double sum = 0;
    for (std::size_t i = 0; i < predicted_ms.size(); ++i) {
      sum += predicted_ms[i];
      if (!in_.timing_dependent) alternative.requests.push_back(request_cell(i, predicted_ms[i]));
    }
    alternative.mean = cell(
        "ttft", [](const MachineRun& run) { return mean_over(run, ttft_ms); },
        sum / static_cast<double>(predicted_ms.size()));
    return alternative;
  }

  void add_drive_then() {
    if (in_.drive_then == nullptr) return;
    sim::Profile profile = in_.profile;
    profile.ssd = *in_.drive_then;
    result_.drive_then = alternative("drive as it was then", all_ttfts(simulate(profile, in_.simulation)));
  }

  void add_formulas() {
    std::vector<double> by_bandwidth, by_object;
    for (std::size_t i = 0; i < result_.predicted.requests.size(); ++i) {
      const FormulaInput input{.geometry = in_.simulation.geometry,
                               .profile = in_.profile,
                               .path = in_.simulation.path,
                               .request = in_.requests[in_.num_warmup + i],
                               .account = in_.repeats.front().requests[i].account};
      by_bandwidth.push_back(to_milliseconds(bandwidth_and_flops(input)));
      by_object.push_back(to_milliseconds(per_object_linear(input)));
    }
    result_.alternatives.push_back(alternative("naive_bandwidth_and_flops", by_bandwidth));
    result_.alternatives.push_back(alternative("naive_per_object_linear", by_object));
  }

  void add_ablations() {
    for (const AblatedModel& model : ablated_models(in_.profile, in_.simulation.path)) {
      SimulatedSessionOptions options = in_.simulation;
      options.path = model.path;
      result_.alternatives.push_back(alternative(model.name, all_ttfts(simulate(model.profile, options))));
    }
  }

  void add_ranges() {
    if (in_.range_replicas == 0 || !in_.profile.has_residuals()) return;
    const std::size_t num_requests = result_.predicted.requests.size();
    std::vector<std::vector<double>> replicas(in_.timing_dependent ? 1 : num_requests);
    for (std::uint64_t replica = 0; replica < in_.range_replicas; ++replica) {
      SimulatedSessionOptions options = in_.simulation;
      options.uncertain = true;
      options.replica = replica;
      const MachineRun run = simulate(in_.profile, options);
      if (in_.timing_dependent) {
        replicas.front().push_back(mean_over(run, ttft_ms));
        continue;
      }
      for (std::size_t i = 0; i < num_requests; ++i) replicas[i].push_back(ttft_ms(run.requests[i]));
    }
    for (std::size_t i = 0; i < replicas.size(); ++i) {
      std::vector<double> real;
      for (const MachineRun& repeat : in_.repeats) {
        real.push_back(in_.timing_dependent ? mean_over(repeat, ttft_ms) : ttft_ms(repeat.requests[i]));
      }
      result_.ranges.push_back(cover(replicas[i], real));
    }
  }

  const PointInputs& in_;
  PointComparison result_;
};

Json cells_json(std::span<const Cell> cells) {
  Json list = Json::array();
  for (const Cell& cell : cells) list.push_back(to_json(cell));
  return list;
}

}  // namespace

PointComparison compare_point(const PointInputs& inputs) {
  REPREFILL_CHECK(!inputs.repeats.empty(), "nothing was measured");
  return Comparison(inputs).run();
}

Json to_json(const PointComparison& comparison) {
  Json json = Json::object();
  json["ttft"] = to_json(comparison.ttft);
  json["bound"] = comparison.is_io_bound ? "io" : "compute";
  json["worst_class"] = comparison.worst_class;
  json["worst_span"] = comparison.worst_span;
  const Equality& equality = comparison.equality;
  json["equality"] = {{"checked", equality.is_checked},
                      {"equal", equality.is_checked ? Json(equality.is_equal) : Json(nullptr)},
                      {"first_difference", equality.first_difference}};
  json["requests"] = cells_json(comparison.requests);
  json["distribution"] = cells_json(comparison.distribution);
  json["distribution_distance"] =
      comparison.distribution_distance ? Json(*comparison.distribution_distance) : Json(nullptr);
  json["classes"] = cells_json(comparison.classes);
  json["spans"] = cells_json(comparison.spans);
  json["drive_then"] = comparison.drive_then ? Json{{"ttft", to_json(comparison.drive_then->mean)},
                                                    {"requests", summarise(comparison.drive_then->requests)}}
                                             : Json(nullptr);
  json["alternatives"] = Json::object();
  for (const AlternativePrediction& alternative : comparison.alternatives) {
    json["alternatives"][alternative.name] = {{"ttft", to_json(alternative.mean)},
                                              {"requests", summarise(alternative.requests)}};
  }
  json["ranges"] = Json::array();
  for (const RangeCoverage& range : comparison.ranges) {
    json["ranges"].push_back({{"low_ms", range.low_ms},
                              {"high_ms", range.high_ms},
                              {"real_inside", range.inside},
                              {"real_total", range.total}});
  }
  return json;
}

}  // namespace reprefill::study
