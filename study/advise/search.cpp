#include "study/advise/search.hpp"

#include <algorithm>
#include <numeric>

#include "core/base/random.hpp"

namespace reprefill::study {
namespace {

/// The next setting in the order of the last dimension first; false after the last one.
bool next_setting(SearchSetting& setting, std::span<const SearchDimension> space) {
  for (std::size_t i = setting.size(); i-- > 0;) {
    if (++setting[i] < space[i].values.size()) return true;
    setting[i] = 0;
  }
  return false;
}

}  // namespace

bool dominates(const Outcome& a, const Outcome& b) {
  const bool no_worse = a.time_ms <= b.time_ms && a.memory_bytes <= b.memory_bytes && a.quality >= b.quality;
  return no_worse && (a.time_ms < b.time_ms || a.memory_bytes < b.memory_bytes || a.quality > b.quality);
}

std::vector<std::size_t> pareto_set(std::span<const Outcome> outcomes) {
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    bool is_beaten = false;
    for (std::size_t j = 0; j < outcomes.size() && !is_beaten; ++j) {
      const bool is_equal = !dominates(outcomes[i], outcomes[j]) && outcomes[i].time_ms == outcomes[j].time_ms &&
                            outcomes[i].memory_bytes == outcomes[j].memory_bytes &&
                            outcomes[i].quality == outcomes[j].quality;
      is_beaten = dominates(outcomes[j], outcomes[i]) || (is_equal && j < i);
    }
    if (!is_beaten) kept.push_back(i);
  }
  std::stable_sort(kept.begin(), kept.end(),
                   [&](std::size_t a, std::size_t b) { return outcomes[a].time_ms < outcomes[b].time_ms; });
  return kept;
}

ParetoSearch::ParetoSearch(std::vector<SearchDimension> space, std::function<bool(const Json& params)> allows,
                           std::uint64_t seed)
    : space_(std::move(space)), allows_(std::move(allows)), seed_(seed) {
  SearchSetting setting(space_.size(), 0);
  do num_allowed_ += allows_(params_of(setting));
  while (next_setting(setting, space_));
  REPREFILL_CHECK(num_allowed_ > 0, "a search over {} parameters without a setting", space_.size());
}

Json ParetoSearch::params_of(const SearchSetting& setting) const {
  Json params = Json::object();
  for (std::size_t i = 0; i < space_.size(); ++i) params[space_[i].name] = space_[i].values[setting[i]];
  return params;
}

SearchSetting ParetoSearch::anywhere(RandomStream& random) const {
  SearchSetting setting;
  for (const SearchDimension& dimension : space_) setting.push_back(random.below(dimension.values.size()));
  return setting;
}

SearchSetting ParetoSearch::beside(SearchSetting setting, RandomStream& random) const {
  for (std::uint64_t changes = 1 + random.below(2); changes > 0; --changes) {
    const std::size_t which = random.below(space_.size());
    const std::size_t count = space_[which].values.size();
    if (setting[which] == 0 || (setting[which] + 1 < count && random.below(2) == 0)) {
      setting[which] = std::min(setting[which] + 1, count - 1);
    } else {
      --setting[which];
    }
  }
  return setting;
}

bool ParetoSearch::take(const SearchSetting& setting) {
  return allows_(params_of(setting)) && proposed_.insert(setting).second;
}

std::optional<SearchSetting> ParetoSearch::first_not_proposed() const {
  SearchSetting setting(space_.size(), 0);
  do {
    if (!proposed_.contains(setting) && allows_(params_of(setting))) return setting;
  } while (next_setting(setting, space_));
  return std::nullopt;
}

std::vector<SearchSetting> ParetoSearch::propose(std::size_t count) {
  RandomStream random(seed_, num_calls_++, "advise/search");
  const std::vector<std::size_t> best = pareto_set(outcomes_);
  std::vector<SearchSetting> batch;
  while (batch.size() < count && proposed_.size() < num_allowed_) {
    // Drawing anew what was drawn already must end: then the next one in order is taken.
    constexpr int kTries = 64;
    bool found = false;
    for (int attempt = 0; attempt < kTries && !found; ++attempt) {
      const bool near = !best.empty() && random.below(4) != 0;
      const SearchSetting setting =
          near ? beside(settings_[best[random.below(best.size())]], random) : anywhere(random);
      found = take(setting);
      if (found) batch.push_back(setting);
    }
    if (found) continue;
    batch.push_back(*first_not_proposed());
    take(batch.back());
  }
  return batch;
}

void ParetoSearch::report(const SearchSetting& setting, const std::optional<Outcome>& outcome) {
  REPREFILL_CHECK(proposed_.contains(setting), "a report of a setting that was not proposed");
  if (!outcome) return;
  settings_.push_back(setting);
  outcomes_.push_back(*outcome);
}

}  // namespace reprefill::study
