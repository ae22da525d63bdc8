// From measurements to the profile bundle that the simulator takes (design 6), and between bundles.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "calibrate/fit/fit_report.hpp"
#include "calibrate/run.hpp"

namespace reprefill::calibrate {

struct Bundle {
  Json meta;
  Json model;
  std::vector<FitReport> fits;
};

/// Parts that were measured, each number with its source. A part that was not measured is left out: a scenario or
/// `profile derive` mixes it in by name.
Bundle make_bundle(const Plan& plan, const Measurements& measurements, const std::string& name, const std::string& date,
                   const std::string& version);

/// model.json, then meta.json with its digest: a bundle of which half is from another run is refused when it is read.
void write_bundle(const std::filesystem::path& folder, const Bundle& bundle);

/// Fits of a bundle's model.json; none in a datasheet bundle.
std::vector<FitReport> fits_of(const Json& model, const std::string& origin);

}  // namespace reprefill::calibrate
