// What to run on this machine, from which prefix length on, and what a faster part would change: `reprefill advise`.
#pragma once

#include "study/advise/search.hpp"
#include "study/advise/trials.hpp"

namespace reprefill::study {

struct AdviseOptions {
  double min_attention_mass = 0.5;
  std::size_t search_trials = 96;
  Bytes host_memory{64'000'000'000};  // that the host tier may take
  TrialRunner::Options runner = {};
};

/// Everything that decides the record: a search goes on only with the same.
Json advise_resolved(const AdviseInputs& inputs, const AdviseOptions& options);

/// Upper bound of the trials, for progress.
std::size_t num_advise_trials(const AdviseOptions& options);

/// The report: crossovers, baselines, the Pareto set, the recommended setting, what-ifs. All trials go to `folder`'s
/// journal, in a sequence that seed and inputs decide. Throws ConfigError for inputs that no trial can run with.
Json advise(const AdviseInputs& inputs, const AdviseOptions& options, const sim::ScenarioContext& context,
            record::ResultFolder& folder, std::vector<Json>& rows);

std::string advise_markdown(const Json& report);

}  // namespace reprefill::study
