// Two results, paired: is B better, worse or the same as A? (`reprefill diff`)
#pragma once

#include <optional>

#include "core/base/params.hpp"
#include "study/diff/result_samples.hpp"
#include "study/statistics/paired_statistics.hpp"

namespace reprefill::study {

enum class DiffVerdict : std::uint8_t { better, worse, same, ambiguous };

struct DiffOptions {
  double margin = 0.01;  // relative difference up to which two results count as the same
  bool higher_is_better = false;
  std::uint64_t seed = 1;  // of the bootstrap
};

/// One point, or all of them.
struct DiffEntry {
  std::string key;
  std::size_t num_pairs = 0;
  double mean_a = 0;
  double mean_b = 0;
  double difference = 0;                            // (mean of B - mean of A) / mean of A, over the pairs
  std::optional<Interval> interval = std::nullopt;  // 95 %, paired bootstrap; none of a single pair
  DiffVerdict verdict = DiffVerdict::ambiguous;
};

struct DiffResult {
  PairBy pair_by = PairBy::point;
  std::vector<DiffEntry> points = {};
  DiffEntry all = {};  // the mean over points of their differences, resampling points
  std::vector<std::string> only_in_a = {}, only_in_b = {};  // points without a partner
  std::size_t unpaired_samples = 0;                         // of points that both have
  /// Axes with one value in each folder, another one in the other: what was changed. They do not keep points apart.
  std::vector<std::string> changed_axes = {};
};

/// same: the interval lies within the margin; better or worse: it lies on one side of zero; ambiguous: neither. Without
/// an interval only equal values have a verdict: same.
DiffVerdict diff_verdict(double difference, const std::optional<Interval>& interval, const DiffOptions& options);

/// Points pair by label and axes; an axis that has one value in each folder pairs whatever these are.
/// Throws ConfigError where the results are of different kinds or schemas, or nothing pairs.
DiffResult diff_results(const ResultSamples& a, const ResultSamples& b, const DiffOptions& options);

Json to_json(const DiffResult& result);
std::string diff_table(const DiffResult& result, bool markdown);

}  // namespace reprefill::study

template <>
struct reprefill::EnumNames<reprefill::study::PairBy> {
  static constexpr std::pair<const char*, study::PairBy> names[] = {
      {"automatic", study::PairBy::automatic}, {"request", study::PairBy::request}, {"point", study::PairBy::point}};
};
template <>
struct reprefill::EnumNames<reprefill::study::DiffVerdict> {
  static constexpr std::pair<const char*, study::DiffVerdict> names[] = {{"better", study::DiffVerdict::better},
                                                                         {"worse", study::DiffVerdict::worse},
                                                                         {"same", study::DiffVerdict::same},
                                                                         {"ambiguous", study::DiffVerdict::ambiguous}};
};
