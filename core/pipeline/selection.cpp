#include "core/pipeline/selection.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>

namespace reprefill::pipeline {
namespace {

/// Non-negative floats order like their bits.
std::uint32_t order_bits(float score) { return std::bit_cast<std::uint32_t>(score); }

/// The bits of scores in a form that is cheap to order; checks them on the way.
std::vector<std::uint32_t> ordered_bits(std::span<const float> scores) {
  std::vector<std::uint32_t> bits(scores.size());
  bool all_valid = true;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    all_valid &= scores[i] >= 0;
    bits[i] = order_bits(scores[i] + 0.0f);  // + 0: minus zero ties with zero
  }
  for (std::size_t i = 0; !all_valid && i < scores.size(); ++i) {
    REPREFILL_CHECK(scores[i] >= 0, "score {} of unit {} is negative or not a number", scores[i], i);
  }
  return bits;
}

/// The count-th largest value. Values are counted by exponent and three bits of the mantissa first, so that only those
/// of one such bucket are ordered: nothing else in a simulation of per-head selections takes as long.
std::uint32_t nth_largest(const std::vector<std::uint32_t>& bits, std::size_t count) {
  constexpr int kShift = 20;  // the sign is 0, so 11 bits are left
  std::array<std::uint32_t, 2048> num_in_bucket{};
  for (const std::uint32_t value : bits) ++num_in_bucket[value >> kShift];
  std::uint32_t bucket = 2047;
  std::size_t above = 0;
  while (above + num_in_bucket[bucket] < count) above += num_in_bucket[bucket--];

  std::vector<std::uint32_t> inside(num_in_bucket[bucket] + 1);  // one more: written to before it is known to be kept
  std::size_t num_inside = 0;
  for (const std::uint32_t value : bits) {
    inside[num_inside] = value;
    num_inside += (value >> kShift) == bucket;
  }
  inside.resize(num_inside);
  const auto nth = inside.begin() + static_cast<std::ptrdiff_t>(count - above - 1);
  std::nth_element(inside.begin(), nth, inside.end(), std::greater<>());
  return *nth;
}

Selection vote_of_probe_heads(const Scores& scores, const SelectionRule& rule) {
  std::vector<std::vector<std::uint32_t>> chosen;
  for (int group = 0; group < scores.num_groups; ++group) chosen.push_back(top_k(scores.group(group), rule.k));

  Selection result;
  double sum = 0;
  int num_pairs = 0;
  for (std::size_t a = 0; a < chosen.size(); ++a) {
    for (std::size_t b = a + 1; b < chosen.size(); ++b, ++num_pairs) sum += jaccard_index(chosen[a], chosen[b]);
  }
  result.similarity = num_pairs == 0 ? 1.0 : sum / num_pairs;
  if (result.similarity < rule.similarity_threshold) {
    result.is_everything = true;
    result.groups.emplace_back(scores.num_units);
    std::iota(result.groups.front().begin(), result.groups.front().end(), 0u);
    return result;
  }

  std::vector<std::uint8_t> votes(scores.num_units, 0);
  for (const auto& units : chosen) {
    for (const std::uint32_t unit : units) ++votes[unit];
  }
  std::vector<std::uint32_t> voted;
  const int needed = rule.vote == Vote::majority ? scores.num_groups / 2 + 1 : 1;
  for (std::uint32_t unit = 0; unit < scores.num_units; ++unit) {
    if (votes[unit] >= needed) voted.push_back(unit);
  }
  if (rule.vote == Vote::top_k && voted.size() > rule.k) {
    const auto summed = [&](std::uint32_t unit) {
      float total = 0;
      for (int group = 0; group < scores.num_groups; ++group) total += scores.group(group)[unit];
      return total;
    };
    const auto better = [&](std::uint32_t a, std::uint32_t b) {
      if (votes[a] != votes[b]) return votes[a] > votes[b];
      const float score_a = summed(a), score_b = summed(b);
      return score_a != score_b ? score_a > score_b : a < b;
    };
    std::nth_element(voted.begin(), voted.begin() + static_cast<std::ptrdiff_t>(rule.k), voted.end(), better);
    voted.resize(rule.k);
    std::sort(voted.begin(), voted.end());
  }
  result.groups.push_back(std::move(voted));
  return result;
}

}  // namespace

std::vector<std::uint32_t> top_k(std::span<const float> scores, std::uint64_t k) {
  const std::vector<std::uint32_t> bits = ordered_bits(scores);
  const std::size_t count = std::min<std::size_t>(k, scores.size());
  if (count == 0) return {};
  const std::uint32_t threshold = nth_largest(bits, count);
  std::size_t num_above = 0;
  for (const std::uint32_t value : bits) num_above += value > threshold;
  std::size_t num_ties = count - num_above;
  std::vector<std::uint32_t> chosen(count + 1);  // one more: written to before it is known to be kept
  std::size_t num_chosen = 0;
  for (std::uint32_t i = 0; num_chosen < count; ++i) {
    const bool is_tie = bits[i] == threshold && num_ties > 0;
    chosen[num_chosen] = i;
    num_chosen += bits[i] > threshold || is_tie;
    num_ties -= is_tie;
  }
  chosen.resize(count);
  return chosen;
}

double jaccard_index(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  std::size_t common = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) {
      ++common, ++i, ++j;
    } else if (a[i] < b[j]) {
      ++i;
    } else {
      ++j;
    }
  }
  const std::size_t all = a.size() + b.size() - common;
  return all == 0 ? 1.0 : static_cast<double>(common) / static_cast<double>(all);
}

Selection select_units(const Scores& scores, const SelectionRule& rule) {
  if (rule.mode == SelectionMode::probe_vote) return vote_of_probe_heads(scores, rule);
  REPREFILL_CHECK(rule.mode == SelectionMode::top_k_per_group || scores.num_groups == 1,
                  "one selection for all heads needs summed scores, found {} groups", scores.num_groups);
  Selection result;
  for (int group = 0; group < scores.num_groups; ++group) result.groups.push_back(top_k(scores.group(group), rule.k));
  return result;
}

}  // namespace reprefill::pipeline
