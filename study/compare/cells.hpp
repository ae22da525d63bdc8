// One predicted number beside its repeated measurement, and what many of them say (design 9).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/params.hpp"

namespace reprefill::study {

enum class CellVerdict : std::uint8_t { within, outside, undecidable };

/// Real repeats of one quantity, in ms, and its prediction.
struct Cell {
  std::string name;
  double real_ms = 0;  // median of the repeats
  double p10_ms = 0;
  double p90_ms = 0;
  double predicted_ms = 0;
  double spread = 0;            // (p90 - p10) / (2 median)
  std::optional<double> error;  // (predicted - real) / real; none where the real value is zero
  CellVerdict verdict = CellVerdict::within;
};

struct Judgement {
  double tolerance = 0.05;          // of the real value
  double undecidable_spread = 0.2;  // above it a cell proves nothing
  double negligible_share = 0.01;   // of the TTFT: with a smaller difference and half-width a cell is within
};

/// undecidable: the spread is too large. within: the error is at most the larger of tolerance and spread. A small class
/// of which neither difference nor spread matters to the TTFT is within. `ttft_ms` is that of the cell's request or
/// system. At least one sample.
Cell judge(std::string name, std::vector<double> samples_ms, double predicted_ms, double ttft_ms,
           const Judgement& judgement);

Json to_json(const Cell& cell);

/// Absolute errors of the decidable cells, nearest-rank, and the share of each verdict.
Json summarise(std::span<const Cell> cells);

struct KendallTau {
  std::optional<double> tau;  // none without a decidable pair
  std::size_t num_pairs = 0;
  std::size_t num_undecided = 0;  // their difference is within their spreads
};
/// Concordant minus discordant pairs over all whose real values differ by more than the sum of their half-widths
/// (spread x median). A tie in the prediction counts as neither.
KendallTau kendall_tau(std::span<const Cell> cells);

/// Largest distance between two empirical distribution functions (Kolmogorov-Smirnov). Both non-empty.
double distribution_distance(std::vector<double> a, std::vector<double> b);

/// Nearest-rank quantiles of simulated replicas, and how many real values lie inside, ends included.
struct RangeCoverage {
  double low_ms = 0;
  double high_ms = 0;
  std::size_t inside = 0;
  std::size_t total = 0;
};
RangeCoverage cover(std::vector<double> replicas_ms, std::span<const double> real_ms);

}  // namespace reprefill::study

template <>
struct reprefill::EnumNames<reprefill::study::CellVerdict> {
  static constexpr std::pair<const char*, study::CellVerdict> names[] = {
      {"within", study::CellVerdict::within},
      {"outside", study::CellVerdict::outside},
      {"undecidable", study::CellVerdict::undecidable}};
};
