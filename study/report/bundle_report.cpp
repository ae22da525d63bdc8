#include "study/report/bundle_report.hpp"

#include <algorithm>

#include "calibrate/bundle.hpp"
#include "sim/devices/profile.hpp"

namespace reprefill::study {
namespace {

constexpr const char* kParts[] = {"gpu", "ssd", "link", "host"};

Json numbers_of(const Json& part) {
  Json numbers = Json::array();
  const Json sources = part.value("sources", Json::object());
  for (const auto& [key, value] : part.items()) {
    if (key == "name" || key == "sources" || value.is_structured()) continue;
    numbers.push_back({{"parameter", key}, {"value", value}, {"source", sources.value(key, "")}});
  }
  return numbers;
}

Json parts_of(const Json& model) {
  Json parts = Json::array();
  for (const char* name : kParts) {
    if (!model.contains(name)) continue;
    const Json& part = model.at(name);
    parts.push_back({{"part", name}, {"name", part.value("name", "")}, {"numbers", numbers_of(part)}});
  }
  return parts;
}

std::size_t num_open(const calibrate::FitReport& fit) {
  return static_cast<std::size_t>(
      std::count_if(fit.points.begin(), fit.points.end(), [](const auto& point) { return !point.converged; }));
}

Json warnings_of(const Json& meta, const Json& model, const std::vector<calibrate::FitReport>& fits) {
  Json warnings = Json::array();
  if (meta.value("kind", "") != "measured") {
    warnings.push_back("The profile is hypothetical: datasheet numbers and assumptions, no measurement.");
  }
  if (fits.empty()) warnings.push_back("The bundle has no fits: nothing to hold against a measurement.");
  for (const calibrate::FitReport& fit : fits) {
    if (const std::size_t open = num_open(fit); open > 0) {
      warnings.push_back(
          fmt::format("{}: {} of {} points did not converge in the time they had.", fit.name, open, fit.points.size()));
    }
  }
  const int pairs = static_cast<int>(model.value("interference", Json::array()).size());
  if (const int missing = sim::kNumActivities * (sim::kNumActivities - 1) - pairs; missing > 0) {
    warnings.push_back(
        fmt::format("Interference: {} pairs were measured, {} are missing and count as none.", pairs, missing));
  }
  for (const Json& text : meta.value("disturbances", Json::array())) {
    warnings.push_back(
        fmt::format("While it was measured, {}.", text.is_string() ? text.get<std::string>() : text.dump()));
  }
  return warnings;
}

}  // namespace

bool is_bundle(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / "meta.json") && std::filesystem::exists(folder / "model.json");
}

Json bundle_data(const std::filesystem::path& folder, const std::string& program) {
  sim::check_bundle(folder);
  const Json bundle = sim::read_bundle(folder);
  const Json& meta = bundle.at("meta");
  const Json& model = bundle.at("model");
  const std::vector<calibrate::FitReport> fits = calibrate::fits_of(model, (folder / "model.json").string());
  Json data = {{"program", program}, {"results", Json::array()}, {"folder", folder.string()}};
  data["name"] = meta.value("name", std::filesystem::absolute(folder).lexically_normal().filename().string());
  data["warnings"] = warnings_of(meta, model, fits);
  data["meta"] = meta;
  data["parts"] = parts_of(model);
  data["fits"] = Json::array();
  for (const calibrate::FitReport& fit : fits) {
    Json json = fit.to_json();
    json["not_converged"] = num_open(fit);
    data["fits"].push_back(std::move(json));
  }
  return data;
}

}  // namespace reprefill::study
