#include "calibrate/fit/fit_report.hpp"

#include <cmath>

#include "calibrate/meter/statistics.hpp"
#include "core/base/text_table.hpp"

namespace reprefill::calibrate {
namespace {

double relative_error(double predicted, double measured) { return std::abs(predicted / measured - 1); }

std::string percent(const std::vector<double>& errors, double share) {
  return errors.empty() ? "-" : fmt::format("{:.1f} %", 100 * quantile(errors, share));
}

}  // namespace

std::vector<double> FitReport::held_out_errors() const {
  std::vector<double> errors;
  for (const FitPoint& point : points) {
    if (point.held_out) errors.push_back(relative_error(*point.held_out, point.measured));
  }
  return errors;
}

std::vector<double> FitReport::residuals() const {
  std::vector<double> errors;
  for (const FitPoint& point : points) errors.push_back(relative_error(point.fitted, point.measured));
  return errors;
}

std::size_t FitReport::num_within_spread() const {
  std::size_t count = 0;
  for (const FitPoint& point : points) {
    count += point.held_out && relative_error(*point.held_out, point.measured) <= point.spread ? 1u : 0u;
  }
  return count;
}

Json FitReport::to_json() const {
  Json json = {{"name", name}, {"unit", unit}, {"rule", rule}};
  if (!points.empty()) json["residual_median"] = median(residuals());
  if (const std::vector<double> errors = held_out_errors(); !errors.empty()) {
    json["held_out"] = {{"points", errors.size()},
                        {"median", median(errors)},
                        {"p95", quantile(errors, 0.95)},
                        {"within_spread", num_within_spread()}};
  }
  json["points"] = Json::array();
  for (const FitPoint& point : points) {
    Json item = {{"shape", point.shape},
                 {"measured", point.measured},
                 {"spread", point.spread},
                 {"converged", point.converged},
                 {"fitted", point.fitted}};
    if (point.held_out) item["held_out"] = *point.held_out;
    json["points"].push_back(std::move(item));
  }
  return json;
}

FitReport FitReport::from_json(const JsonValue& json) {
  constexpr double kLargest = 1e18;
  json.require_object().refuse_unknown_keys({"name", "unit", "rule", "residual_median", "held_out", "points"});
  FitReport report{.name = json.key("name").as_string(),
                   .unit = json.key("unit").as_string(),
                   .rule = json.key("rule").as_string(),
                   .points = {}};
  const JsonValue points = json.key("points").require_array();
  for (std::size_t i = 0; i < points.json().size(); ++i) {
    const JsonValue item = points.element(i).require_object();
    item.refuse_unknown_keys({"shape", "measured", "spread", "converged", "fitted", "held_out"});
    FitPoint point{.shape = item.key("shape").require_object().json(),
                   .measured = item.key("measured").as_number(1e-9, kLargest, report.unit),
                   .spread = item.key("spread").as_number(0, kLargest, ""),
                   .converged = item.key("converged").as_bool(),
                   .fitted = item.key("fitted").as_number(0, kLargest, report.unit)};
    if (item.has("held_out")) point.held_out = item.key("held_out").as_number(0, kLargest, report.unit);
    report.points.push_back(std::move(point));
  }
  return report;
}

std::string describe(const std::vector<FitReport>& fits) {
  TextTable table(
      {"fit", "points", "not converged", "spread", "residual", "held-out median", "held-out p95", "within spread"});
  for (const FitReport& fit : fits) {
    std::vector<double> spreads;
    std::size_t open = 0;
    for (const FitPoint& point : fit.points) {
      spreads.push_back(point.spread);
      open += point.converged ? 0u : 1u;
    }
    const std::vector<double> errors = fit.held_out_errors();
    table.add_row({fit.name, std::to_string(fit.points.size()), std::to_string(open), percent(spreads, 0.5),
                   percent(fit.residuals(), 0.5), percent(errors, 0.5), percent(errors, 0.95),
                   errors.empty() ? "-" : fmt::format("{}/{}", fit.num_within_spread(), errors.size())});
  }
  return table.to_text();
}

}  // namespace reprefill::calibrate
