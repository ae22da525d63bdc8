// A seeded search for the settings that no other one beats in every respect.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "core/base/json.hpp"
#include "core/base/random.hpp"

namespace reprefill::study {

/// One parameter and its values, in order: a step to a neighbour is a small change.
struct SearchDimension {
  std::string name;
  std::vector<Json> values;
};

/// Indices into each dimension's values.
using SearchSetting = std::vector<std::size_t>;

/// What a setting costs and gives. Lower time and memory are better, more quality is.
struct Outcome {
  double time_ms = 0;
  double memory_bytes = 0;
  double quality = 0;
};

/// At least as good in all three, better in one.
bool dominates(const Outcome& a, const Outcome& b);
/// Positions of the outcomes that no other one dominates, by ascending time; of equal outcomes the first.
std::vector<std::size_t> pareto_set(std::span<const Outcome> outcomes);

class ParetoSearch {
 public:
  /// `allows` says which combinations make sense; at least one must.
  ParetoSearch(std::vector<SearchDimension> space, std::function<bool(const Json& params)> allows, std::uint64_t seed);

  /// Up to `count` settings that were not proposed before: three quarters next to the Pareto set of what was reported
  /// (one or two parameters moved), the rest anywhere. A function of seed and reports alone. Empty: all were proposed.
  std::vector<SearchSetting> propose(std::size_t count);
  /// Of a proposed setting; without outcome: it could not run.
  void report(const SearchSetting& setting, const std::optional<Outcome>& outcome);

  Json params_of(const SearchSetting& setting) const;
  std::size_t num_settings() const { return num_allowed_; }

 private:
  SearchSetting anywhere(RandomStream& random) const;
  SearchSetting beside(SearchSetting setting, RandomStream& random) const;
  bool take(const SearchSetting& setting);
  std::optional<SearchSetting> first_not_proposed() const;

  std::vector<SearchDimension> space_;
  std::function<bool(const Json&)> allows_;
  std::uint64_t seed_;
  std::uint64_t num_calls_ = 0;
  std::size_t num_allowed_ = 0;
  std::set<SearchSetting> proposed_;
  std::vector<SearchSetting> settings_;  // reported, with outcome
  std::vector<Outcome> outcomes_;
};

}  // namespace reprefill::study
