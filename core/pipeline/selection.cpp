#include "core/pipeline/selection.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

namespace reprefill::pipeline {
namespace {

/// Room that is written before it is read: clearing it would take as long as using it.
class Buffer {
 public:
  explicit Buffer(std::size_t size) : values_(std::make_unique_for_overwrite<std::uint32_t[]>(size)), size_(size) {}
  std::uint32_t* data() { return values_.get(); }
  std::span<const std::uint32_t> first(std::size_t count) const { return {values_.get(), count}; }
  std::span<const std::uint32_t> all() const { return first(size_); }

 private:
  std::unique_ptr<std::uint32_t[]> values_;
  std::size_t size_;
};

/// Bits of non-negative floats, which order like these.
struct OrderedBits {
  Buffer buffer;
  std::uint32_t largest = 0;
  std::span<const std::uint32_t> bits() const { return buffer.all(); }
};

/// Checks the scores on the way. In a form that compilers vectorise.
OrderedBits ordered_bits(std::span<const float> scores) {
  OrderedBits ordered{.buffer = Buffer(scores.size())};
  std::uint32_t num_invalid = 0, largest = 0;
  std::uint32_t* bits = ordered.buffer.data();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    num_invalid += scores[i] >= 0 ? 0u : 1u;
    bits[i] = std::bit_cast<std::uint32_t>(scores[i] + 0.0f);  // + 0: minus zero ties with zero
  }
  for (const std::uint32_t value : ordered.bits()) largest = std::max(largest, value);
  ordered.largest = largest;
  for (std::size_t i = 0; num_invalid > 0 && i < scores.size(); ++i) {
    REPREFILL_CHECK(scores[i] >= 0, "score {} of unit {} is negative or not a number", scores[i], i);
  }
  return ordered;
}

/// Values by exponent and three bits of the mantissa.
constexpr int kBucketShift = 20;  // the sign is 0, so 11 bits are left
constexpr std::size_t kNumBuckets = 2048;

/// The bucket that holds the count-th largest of every `stride`-th value, and how many of these lie above it.
struct Bucket {
  std::uint32_t index = 0;
  std::size_t num_above = 0;
  std::size_t num_inside = 0;
};
Bucket bucket_of_nth(std::span<const std::uint32_t> bits, std::uint32_t largest, std::size_t stride,
                     std::size_t count) {
  std::array<std::uint32_t, kNumBuckets> num_in_bucket{};
  for (std::size_t i = 0; i < bits.size(); i += stride) ++num_in_bucket[bits[i] >> kBucketShift];
  Bucket bucket{.index = largest >> kBucketShift};
  while (bucket.num_above + num_in_bucket[bucket.index] < count) bucket.num_above += num_in_bucket[bucket.index--];
  bucket.num_inside = num_in_bucket[bucket.index];
  return bucket;
}

/// The count-th largest value. Only the values of one bucket are ordered.
std::uint32_t nth_largest(std::span<const std::uint32_t> bits, std::uint32_t largest, std::size_t count) {
  const Bucket bucket = bucket_of_nth(bits, largest, 1, count);
  Buffer inside(bucket.num_inside + 1);  // one more: written to before it is known to be kept
  std::size_t num_inside = 0;
  for (const std::uint32_t value : bits) {
    inside.data()[num_inside] = value;
    num_inside += (value >> kBucketShift) == bucket.index;
  }
  std::uint32_t* nth = inside.data() + (count - bucket.num_above - 1);
  std::nth_element(inside.data(), nth, inside.data() + num_inside, std::greater<>());
  return *nth;
}

/// Indices of the flags (0 or 1) that are set, ascending. Eight flags become the bits of a byte by one multiplication.
class SetFlags {
 public:
  static constexpr std::size_t kWidth = 64;
  using Flags = std::array<std::uint8_t, kWidth>;

  explicit SetFlags(std::size_t most) : indices_(most) {}
  void add(std::uint32_t first_index, const Flags& flags) {
    std::uint64_t set = 0;
    for (std::size_t byte = 0; byte < kWidth / 8; ++byte) {
      std::uint64_t eight = 0;
      std::memcpy(&eight, flags.data() + 8 * byte, sizeof(eight));
      set |= ((eight * 0x0102040810204080ull) >> 56) << (8 * byte);
    }
    for (; set != 0; set &= set - 1) {
      indices_.data()[count_++] = first_index + static_cast<std::uint32_t>(std::countr_zero(set));
    }
  }
  std::vector<std::uint32_t> indices() const { return {indices_.first(count_).begin(), indices_.first(count_).end()}; }

 private:
  Buffer indices_;
  std::size_t count_ = 0;
};
static_assert(std::endian::native == std::endian::little, "flags are packed in memory order");

/// Indices of values that are at least `least`, ascending.
template <typename Value>
std::vector<std::uint32_t> at_least(std::span<const Value> values, Value least) {
  SetFlags found(values.size());
  SetFlags::Flags flags;
  std::size_t first = 0;
  for (; first + flags.size() <= values.size(); first += flags.size()) {
    for (std::size_t i = 0; i < flags.size(); ++i) flags[i] = values[first + i] >= least;
    found.add(static_cast<std::uint32_t>(first), flags);
  }
  flags.fill(0);
  for (std::size_t i = 0; first + i < values.size(); ++i) flags[i] = values[first + i] >= least;
  found.add(static_cast<std::uint32_t>(first), flags);
  return found.indices();
}

/// A value that at least `count` values probably reach and not many more, from a sample; 0 where one does not pay.
std::uint32_t likely_floor(const OrderedBits& ordered, std::size_t count) {
  constexpr std::size_t kStride = 8, kMinValues = 1024;
  const std::size_t margin = count / 4 + 8 * kStride;
  if (ordered.bits().size() < kMinValues || count + margin >= ordered.bits().size()) return 0;
  return bucket_of_nth(ordered.bits(), ordered.largest, kStride, (count + margin) / kStride).index << kBucketShift;
}

double jaccard_index(std::size_t common, std::size_t size_a, std::size_t size_b) {
  const std::size_t all = size_a + size_b - common;
  return all == 0 ? 1.0 : static_cast<double>(common) / static_cast<double>(all);
}

/// How many units every two heads have in common, over how many either has: the mean of the pairs.
double mean_jaccard_index(const std::vector<std::vector<std::uint32_t>>& chosen, std::size_t num_units) {
  std::vector<std::uint8_t> is_in(num_units);
  double sum = 0;
  int num_pairs = 0;
  for (std::size_t a = 0; a < chosen.size(); ++a) {
    std::ranges::fill(is_in, std::uint8_t{0});
    for (const std::uint32_t unit : chosen[a]) is_in[unit] = 1;
    for (std::size_t b = a + 1; b < chosen.size(); ++b, ++num_pairs) {
      std::size_t common = 0;
      for (const std::uint32_t unit : chosen[b]) common += is_in[unit];
      sum += jaccard_index(common, chosen[a].size(), chosen[b].size());
    }
  }
  return num_pairs == 0 ? 1.0 : sum / num_pairs;
}

/// The k of `voted` with the most votes, then the highest summed scores, then the lower index.
std::vector<std::uint32_t> best_voted(const std::vector<std::uint32_t>& voted, const std::vector<std::uint8_t>& votes,
                                      const Scores& scores, std::uint64_t k) {
  std::vector<std::size_t> num_with(static_cast<std::size_t>(scores.num_groups) + 1);
  for (const std::uint32_t unit : voted) ++num_with[votes[unit]];
  std::size_t level = num_with.size() - 1, num_above = 0;  // units with more votes than `level` are all kept
  while (num_above + num_with[level] < k) num_above += num_with[level--];
  std::vector<float> summed;
  for (const std::uint32_t unit : voted) {
    if (votes[unit] != level) continue;
    float& total = summed.emplace_back(0.0f);
    for (int group = 0; group < scores.num_groups; ++group) total += scores.group(group)[unit];
  }
  const std::vector<std::uint32_t> kept_of_level = top_k(summed, k - num_above);
  std::vector<std::uint32_t> kept;
  kept.reserve(k);
  std::uint32_t turn = 0;
  auto next = kept_of_level.begin();
  for (const std::uint32_t unit : voted) {
    if (votes[unit] > level) kept.push_back(unit);
    if (votes[unit] != level) continue;
    if (next != kept_of_level.end() && *next == turn) {
      kept.push_back(unit);
      ++next;
    }
    ++turn;
  }
  return kept;
}

Selection vote_of_probe_heads(const Scores& scores, const SelectionRule& rule) {
  std::vector<std::vector<std::uint32_t>> chosen;
  for (int group = 0; group < scores.num_groups; ++group) chosen.push_back(top_k(scores.group(group), rule.k));

  Selection result;
  result.similarity = mean_jaccard_index(chosen, scores.num_units);
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
  const int needed = rule.vote == Vote::majority ? scores.num_groups / 2 + 1 : 1;
  std::vector<std::uint32_t> voted = at_least<std::uint8_t>(votes, static_cast<std::uint8_t>(needed));
  if (rule.vote == Vote::top_k && voted.size() > rule.k) voted = best_voted(voted, votes, scores, rule.k);
  result.groups.push_back(std::move(voted));
  return result;
}

}  // namespace

/// Candidates come from a sample's guess, which is checked: with fewer than `count` of them all units are.
std::vector<std::uint32_t> top_k(std::span<const float> scores, std::uint64_t k) {
  const OrderedBits ordered = ordered_bits(scores);
  const std::size_t count = std::min<std::size_t>(k, scores.size());
  if (count == 0) return {};
  std::vector<std::uint32_t> candidates = at_least<std::uint32_t>(ordered.bits(), likely_floor(ordered, count));
  if (candidates.size() < count) candidates = at_least<std::uint32_t>(ordered.bits(), 0);
  Buffer values(candidates.size());
  for (std::size_t i = 0; i < candidates.size(); ++i) values.data()[i] = ordered.bits()[candidates[i]];
  const std::uint32_t threshold = nth_largest(values.all(), ordered.largest, count);

  const auto num_above = std::ranges::count_if(values.all(), [&](std::uint32_t value) { return value > threshold; });
  std::size_t num_ties = count - static_cast<std::size_t>(num_above);
  std::size_t num_chosen = 0;  // in place: never beyond what is read
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const std::uint32_t value = values.data()[i];
    const bool is_tie = value == threshold && num_ties > 0;
    candidates[num_chosen] = candidates[i];
    num_chosen += value > threshold || is_tie;
    num_ties -= is_tie;
  }
  return {candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(count)};
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
  return jaccard_index(common, a.size(), b.size());
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
