// What a calibration on a GPU writes into a bundle in place of, or over, what one on a CPU does.
#pragma once

#include "calibrate/fit/fit_report.hpp"
#include "calibrate/plan.hpp"
#include "calibrate/run.hpp"

namespace reprefill::calibrate {

Json cuda_gpu_part(const Plan& plan, const Measurements& m, std::vector<FitReport>& fits);
/// Demand copies by the gather kernel, prefetch copies as sessions make them, pageable ones by the copy engine.
Json cuda_link_part(const Measurements& m, std::vector<FitReport>& fits);
/// Costs of a session's software that depend on the device.
void amend_host_part(Json& host, const Measurements& m);
Json cuda_interference(const std::vector<Measured>& cells, std::vector<FitReport>& fits);

}  // namespace reprefill::calibrate
