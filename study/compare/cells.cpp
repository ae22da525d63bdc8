#include "study/compare/cells.hpp"

#include <algorithm>
#include <cmath>

#include "core/pipeline/account_metrics.hpp"
#include "core/record/ttft_statistics.hpp"

namespace reprefill::study {

using record::nearest_rank;

Cell judge(std::string name, std::vector<double> samples_ms, double predicted_ms, double ttft_ms,
           const Judgement& judgement) {
  REPREFILL_CHECK(!samples_ms.empty(), "{} was not measured", name);
  std::sort(samples_ms.begin(), samples_ms.end());
  Cell cell{.name = std::move(name),
            .real_ms = nearest_rank(samples_ms, 50),
            .p10_ms = nearest_rank(samples_ms, 10),
            .p90_ms = nearest_rank(samples_ms, 90),
            .predicted_ms = predicted_ms,
            .error = std::nullopt};
  const double difference = std::abs(predicted_ms - cell.real_ms);
  // What does not matter to the request: neither the difference nor the spread is a share of its TTFT worth judging.
  const double matters_from_ms = judgement.negligible_share * ttft_ms;
  const bool is_negligible = difference <= matters_from_ms && (cell.p90_ms - cell.p10_ms) / 2 <= matters_from_ms;
  if (cell.real_ms <= 0) {
    cell.verdict = is_negligible ? CellVerdict::within : CellVerdict::outside;
    return cell;
  }
  cell.spread = (cell.p90_ms - cell.p10_ms) / (2 * cell.real_ms);
  cell.error = (predicted_ms - cell.real_ms) / cell.real_ms;
  const bool is_close = std::abs(*cell.error) <= std::max(judgement.tolerance, cell.spread);
  if (is_negligible) {
    cell.verdict = CellVerdict::within;
  } else if (cell.spread > judgement.undecidable_spread) {
    cell.verdict = CellVerdict::undecidable;
  } else {
    cell.verdict = is_close ? CellVerdict::within : CellVerdict::outside;
  }
  return cell;
}

Json to_json(const Cell& cell) {
  return {{"name", cell.name},
          {"real_ms", cell.real_ms},
          {"real_p10_ms", cell.p10_ms},
          {"real_p90_ms", cell.p90_ms},
          {"spread", cell.spread},
          {"predicted_ms", cell.predicted_ms},
          {"error", cell.error ? Json(*cell.error) : Json(nullptr)},
          {"verdict", enum_name(cell.verdict)}};
}

Json summarise(std::span<const Cell> cells) {
  std::vector<double> errors;
  std::size_t within = 0, undecidable = 0;
  for (const Cell& cell : cells) {
    within += cell.verdict == CellVerdict::within;
    undecidable += cell.verdict == CellVerdict::undecidable;
    if (cell.verdict != CellVerdict::undecidable && cell.error) errors.push_back(std::abs(*cell.error));
  }
  std::sort(errors.begin(), errors.end());
  const auto share = [&](std::size_t part) {
    return pipeline::ratio(static_cast<double>(part), static_cast<double>(cells.size()));
  };
  return {{"cells", cells.size()},
          {"median_error", errors.empty() ? Json(nullptr) : Json(nearest_rank(errors, 50))},
          {"p95_error", errors.empty() ? Json(nullptr) : Json(nearest_rank(errors, 95))},
          {"within", share(within)},
          {"outside", share(cells.size() - within - undecidable)},
          {"undecidable", share(undecidable)}};
}

KendallTau kendall_tau(std::span<const Cell> cells) {
  KendallTau result;
  double balance = 0;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const Cell &a = cells[i], &b = cells[j];
      const double real = a.real_ms - b.real_ms, predicted = a.predicted_ms - b.predicted_ms;
      if (std::abs(real) <= a.spread * a.real_ms + b.spread * b.real_ms) {
        ++result.num_undecided;
        continue;
      }
      ++result.num_pairs;
      if (predicted != 0) balance += (real > 0) == (predicted > 0) ? 1 : -1;
    }
  }
  if (result.num_pairs > 0) result.tau = balance / static_cast<double>(result.num_pairs);
  return result;
}

double distribution_distance(std::vector<double> a, std::vector<double> b) {
  REPREFILL_CHECK(!a.empty() && !b.empty(), "a distribution of nothing");
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  double distance = 0;
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    const double value = std::min(a[i], b[j]);
    while (i < a.size() && a[i] <= value) ++i;
    while (j < b.size() && b[j] <= value) ++j;
    distance = std::max(distance, std::abs(static_cast<double>(i) / static_cast<double>(a.size()) -
                                           static_cast<double>(j) / static_cast<double>(b.size())));
  }
  return distance;
}

RangeCoverage cover(std::vector<double> replicas_ms, std::span<const double> real_ms) {
  std::sort(replicas_ms.begin(), replicas_ms.end());
  RangeCoverage range{.low_ms = nearest_rank(replicas_ms, 5), .high_ms = nearest_rank(replicas_ms, 95)};
  for (const double value : real_ms) {
    ++range.total;
    range.inside += value >= range.low_ms && value <= range.high_ms;
  }
  return range;
}

}  // namespace reprefill::study
