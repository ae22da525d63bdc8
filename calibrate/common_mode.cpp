#include "calibrate/common_mode.hpp"

#include <algorithm>
#include <cmath>

#include "calibrate/fit/fit_driver.hpp"
#include "calibrate/meter/statistics.hpp"
#include "calibrate/predicted_session.hpp"

namespace reprefill::calibrate {
namespace {

struct MeasuredSession {
  std::vector<double> ttft_ns;  // [sample]
  SessionWork work;             // of all samples
};

std::optional<MeasuredSession> session_of(const Measured& cell) {
  MeasuredSession session;
  for (const Json& extra : cell.extras) {
    if (!extra.contains("work")) return std::nullopt;
    session.ttft_ns.push_back(extra.at("ttft_ns").get<double>());
    session.work += session_work_from_json(extra.at("work"));
  }
  if (session.ttft_ns.empty()) return std::nullopt;
  return session;
}

/// Squares of logarithms, around zero.
class LogErrors {
 public:
  void add(double measured, double predicted) {
    if (measured <= 0 || predicted <= 0) return;
    // One session that is off by more than a factor of e is a fault to look at, not a spread.
    const double error = std::clamp(std::log(measured / predicted), -1.0, 1.0);
    sum_ += error * error;
    ++count_;
  }
  double variance() const { return count_ > 0 ? sum_ / count_ : 0; }
  int count() const { return count_; }

 private:
  double sum_ = 0;
  int count_ = 0;
};

sim::CommonTerm term_of(double variance, int count) {
  constexpr double kMost = 2;
  return {.sigma = std::min(kMost, std::sqrt(variance)), .num_sessions = std::max(1, count)};
}

struct Shares {
  double gpu, ssd, link, host;
};
Shares shares_of(const record::TimeBreakdown& time) {
  using record::TimeClass;
  const auto total = static_cast<double>(std::max(std::int64_t{1}, time.total().value));
  const auto of = [&](TimeClass time_class) { return static_cast<double>(time[time_class].value) / total; };
  return {.gpu = of(TimeClass::gpu_compute) + of(TimeClass::scoring),
          .ssd = of(TimeClass::ssd),
          .link = of(TimeClass::link),
          .host = of(TimeClass::host) + of(TimeClass::queueing)};
}

class CommonModeJob {
 public:
  CommonModeJob(const Plan& plan, const Measurements& m, const Json& model)
      : plan_(plan), m_(m), profile_(sim::read_whole_model(model, "calibration")) {}

  std::optional<CommonModeFit> run() {
    for (const Measured& cell : m_.cells) {
      if (cell.spec.quantity == "driver" && !add(cell)) return std::nullopt;
    }
    if (ttft_.count() == 0) return std::nullopt;
    sim::CommonMode& common = result_.common;
    const double drift = drive_drift_sigma(m_.cells);
    common.gpu = term_of(gpu_.variance(), gpu_.count());
    common.link = term_of(link_.variance(), link_.count());
    common.ssd = term_of(ssd_.variance() + drift * drift, ssd_.count());
    common.host = term_of(host_.variance(), host_.count());
    common.session = term_of(std::max(0.0, ttft_.variance() - explained()), ttft_.count());
    return std::move(result_);
  }

 private:
  /// False for samples that say nothing of their session.
  bool add(const Measured& cell) {
    const std::optional<MeasuredSession> measured = session_of(cell);
    const ModelSource* source = source_of(cell);
    if (!measured || source == nullptr) return false;
    ModelGeometry geometry = source->geometry;
    if (source->checkpoint.empty()) geometry.num_layers = source->num_layers;
    const PredictedSession predicted = predict_session(cell.spec.shape, geometry, profile_);
    const PredictedSession held_out = predict_session(cell.spec.shape, geometry, without(cell));
    add_devices(measured->work, static_cast<double>(measured->ttft_ns.size()), predicted.work);
    const double ttft = median(measured->ttft_ns);
    ttft_.add(ttft, held_out.ttft_ns);
    shares_.push_back(shares_of(held_out.time));
    result_.report.points.push_back({.shape = cell.spec.shape,
                                     .measured = ttft,
                                     .spread = relative_spread(measured->ttft_ns),
                                     .converged = cell.converged,
                                     .fitted = predicted.ttft_ns,
                                     .held_out = held_out.ttft_ns});
    return true;
  }

  const ModelSource* source_of(const Measured& cell) const {
    const auto found = std::ranges::find_if(plan_.models, [&](const ModelSource& model) {
      return model.geometry.name == cell.spec.shape.at("model").get<std::string>();
    });
    return found == plan_.models.end() ? nullptr : &*found;
  }

  /// With the driver's costs of the other systems. Their error on this one's busy time is the host's.
  sim::Profile without(const Measured& cell) {
    std::vector<Measured> others;
    for (const Measured& other : m_.cells) {
      if (other.spec.quantity == "driver" && other.spec.id != cell.spec.id) others.push_back(other);
    }
    sim::Profile profile = profile_;
    if (const auto fit = fit_driver(others)) {
      profile.host.driver.per_operation = fit->costs.per_operation;
      profile.host.driver.per_piece = fit->costs.per_piece;
      const double busy = static_cast<double>(fit->costs.per_operation.value) * median(cell.of(1)) +
                          static_cast<double>(fit->costs.per_piece.value) * median(cell.of(2));
      host_.add(median(cell.of(0)), busy);
    }
    return profile;
  }

  /// Of as many requests on both sides; transfers by the byte, since what is chosen is not the same.
  void add_devices(const SessionWork& measured, double num_samples, const SessionWork& predicted) {
    constexpr double kRequests = 3;  // samples in a predicted session
    gpu_.add(measured.gpu_ns / num_samples, predicted.gpu_ns / kRequests);
    const auto per_byte = [](double ns, double bytes) { return bytes > 0 ? ns / bytes : 0; };
    ssd_.add(per_byte(measured.ssd_ns, measured.ssd_bytes), per_byte(predicted.ssd_ns, predicted.ssd_bytes));
    link_.add(per_byte(measured.link_ns, measured.link_bytes), per_byte(predicted.link_ns, predicted.link_bytes));
  }

  /// Variance of a session's TTFT, mean over sessions, from the devices' terms alone.
  double explained() const {
    const sim::CommonMode& common = result_.common;
    const auto squared = [](double share, const sim::CommonTerm& term) { return std::pow(share * term.sigma, 2); };
    double sum = 0;
    for (const Shares& shares : shares_) {
      sum += squared(shares.gpu, common.gpu) + squared(shares.ssd, common.ssd) + squared(shares.link, common.link) +
             squared(shares.host, common.host);
    }
    return sum / static_cast<double>(shares_.size());
  }

  const Plan& plan_;
  const Measurements& m_;
  sim::Profile profile_;
  LogErrors gpu_, ssd_, link_, host_, ttft_;
  std::vector<Shares> shares_;
  CommonModeFit result_{.common = {},
                        .report = {.name = "sessions",
                                   .rule = "TTFT of two prefixes in turns, simulated with this profile; held out: each "
                                           "system from the driver's costs",
                                   .points = {}}};
};

/// Between-turn variance of logarithms, less what samples within a turn explain (one-way analysis of variance).
std::optional<double> between_turns(const Measured& cell) {
  const auto per_turn = static_cast<std::size_t>(StoppingRule().samples_per_turn);
  std::vector<double> means;
  double within = 0;
  for (std::size_t first = 0; first + per_turn <= cell.of().size(); first += per_turn) {
    double sum = 0, squares = 0;
    for (const double ns : cell.of().subspan(first, per_turn))
      sum += std::log(ns), squares += std::pow(std::log(ns), 2);
    const double count = static_cast<double>(per_turn);
    means.push_back(sum / count);
    within += (squares - sum * sum / count) / (count - 1);
  }
  if (means.size() < 2) return std::nullopt;
  within /= static_cast<double>(means.size());
  double mean = 0, spread = 0;
  for (const double each : means) mean += each / static_cast<double>(means.size());
  for (const double each : means) spread += std::pow(each - mean, 2) / static_cast<double>(means.size() - 1);
  return std::max(0.0, spread - within / static_cast<double>(per_turn));
}

}  // namespace

double drive_drift_sigma(const std::vector<Measured>& cells) {
  std::vector<double> turns;
  LogErrors until_the_end;
  for (const Measured& cell : cells) {
    if (cell.spec.quantity == "read") {
      if (const auto variance = between_turns(cell)) turns.push_back(*variance);
    }
    if (cell.spec.quantity != "read_again") continue;
    const auto before = std::ranges::find_if(cells, [&](const Measured& other) {
      return other.spec.quantity == "read" && other.spec.shape == cell.spec.shape;
    });
    if (before != cells.end()) until_the_end.add(median(cell.of()), median(before->of()));
  }
  const double between = turns.empty() ? 0 : median(turns);
  return std::sqrt(std::max(between, until_the_end.variance()));
}

std::optional<CommonModeFit> fit_common_mode(const Plan& plan, const Measurements& measurements, const Json& model) {
  for (const char* part : {"gpu", "ssd", "link", "host"}) {
    if (!model.contains(part)) return std::nullopt;
  }
  return CommonModeJob(plan, measurements, model).run();
}

}  // namespace reprefill::calibrate
