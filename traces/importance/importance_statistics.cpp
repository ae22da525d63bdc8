#include "traces/importance/importance_statistics.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

namespace reprefill::traces {
namespace {

using Indices = std::vector<std::uint32_t>;

/// Ascending indices of the k highest scores, ties to the lower index: the selection contract of design 4, in a form of
/// its own because traces may not depend on core/pipeline.
Indices top_k(std::span<const float> scores, std::size_t k) {
  std::vector<float> sorted(scores.begin(), scores.end());
  const std::size_t count = std::min(k, sorted.size());
  if (count == 0) return {};
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(count - 1), sorted.end(),
                   std::greater<>());
  const float threshold = sorted[count - 1];
  auto ties = static_cast<std::ptrdiff_t>(count) -
              std::count_if(scores.begin(), scores.end(), [&](float score) { return score > threshold; });
  Indices chosen;
  chosen.reserve(count);
  for (std::uint32_t i = 0; i < scores.size(); ++i) {
    if (scores[i] > threshold || (scores[i] == threshold && ties-- > 0)) chosen.push_back(i);
  }
  return chosen;
}

std::size_t num_common(const Indices& a, const Indices& b) {
  std::size_t common = 0;
  for (auto i = a.begin(), j = b.begin(); i != a.end() && j != b.end();) {
    if (*i == *j) ++common;
    const bool step_a = *i <= *j, step_b = *j <= *i;
    i += step_a;
    j += step_b;
  }
  return common;
}

double share_of(std::size_t part, std::size_t whole) {
  return whole == 0 ? 1.0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// Sums and counts by name, in the order in which the names were declared.
class Means {
 public:
  void declare(std::string name, std::string meaning) { rows_.push_back({std::move(name), std::move(meaning), 0, 0}); }
  void add(std::string_view name, double value) {
    const auto row =
        std::find_if(rows_.begin(), rows_.end(), [&](const Row& candidate) { return candidate.name == name; });
    REPREFILL_CHECK(row != rows_.end(), "statistic {} was not declared", name);
    row->sum += value;
    ++row->count;
  }
  std::vector<ImportanceStatistics::Value> values() const {
    std::vector<ImportanceStatistics::Value> result;
    for (const Row& row : rows_) {
      result.push_back({.name = row.name, .meaning = row.meaning, .mean = std::nullopt});
      if (row.count > 0) result.back().mean = row.sum / static_cast<double>(row.count);
    }
    return result;
  }

 private:
  struct Row {
    std::string name, meaning;
    double sum;
    std::size_t count;
  };
  std::vector<Row> rows_;
};

std::string coverage_name(int from_layer, int to_layer) {
  return fmt::format("coverage_{}_to_{}", from_layer, to_layer);
}

Means declared(const ImportanceStatisticsOptions& options) {
  Means means;
  const int c = options.chunk_tokens, block = options.block_tokens;
  means.declare("chunk_blocks_touched",
                fmt::format("share of {}-token blocks that chosen {}-token chunks touch", block, c));
  means.declare("chunk_mass_kept", "share of the attention mass in chosen chunks");
  means.declare("chunk_last_tenth", "share of chosen chunks in the last tenth of the prefix");
  means.declare("coverage_between_periods", "chosen chunks of a leader that the leader one period earlier chose too");
  for (int l = options.layers_per_period; l < options.num_layers; l += options.layers_per_period) {
    means.declare(coverage_name(l - options.layers_per_period, l), "the same, for this pair of leaders");
  }
  means.declare("coverage_within_period", "chosen chunks of a layer that its leader chose too");
  means.declare("coverage_between_requests", "chosen chunks that another request on the prefix chose too");
  means.declare("head_union_blocks_touched", "share of blocks that the top tokens of any KV head touch");
  means.declare("head_blocks_touched", "share of blocks that the top tokens of one KV head touch");
  means.declare("probe_similarity", "mean pairwise Jaccard index of the probed heads' top tokens");
  means.declare("probe_fallback", "share of layers below the similarity threshold, which load everything");
  means.declare("vote_blocks_touched", "share of blocks that voted tokens touch, in layers that do not fall back");
  means.declare("vote_blocks_loaded", "the same over all layers, 1 where a layer falls back");
  means.declare("vote_amplification", "tokens in touched blocks / voted tokens, in layers that do not fall back");
  return means;
}

/// Statistics of one budget, gathered request by request and layer by layer.
class Gatherer {
 public:
  Gatherer(const ImportanceSource& source, const ImportanceStatisticsOptions& options, Budget budget)
      : source_(source), options_(options), budget_(budget), means_(declared(options)) {}

  void add(const ImportanceSample& sample) {
    sample_ = &sample;
    num_tokens_ = static_cast<std::size_t>(total_tokens(sample.prefix));
    locate_tokens();
    chunks_by_layer_.clear();
    for (int layer = 0; layer < options_.num_layers; ++layer) {
      if (source_.has_channel(HeadGrouping::all_heads)) add_chunks(layer);
      if (has_tokens(HeadGrouping::per_kv_head)) add_heads(layer);
      if (has_tokens(HeadGrouping::probe_heads)) add_probes(layer);
    }
    chunks_by_task_.insert_or_assign(sample.task, chunks_by_layer_);
  }

  ImportanceStatistics result() const { return {.budget = budget_, .values = means_.values()}; }

 private:
  bool has_tokens(HeadGrouping grouping) const {
    return options_.with_tokens && source_.has_channel(grouping) && source_.granularity_tokens(grouping) == 1;
  }

  std::vector<std::vector<float>> scores(int layer, HeadGrouping grouping, int unit_tokens) const {
    const auto groups = static_cast<std::size_t>(source_.num_groups(grouping));
    const std::size_t count = num_units(sample_->prefix, unit_tokens);
    std::vector<float> flat(groups * count);
    source_.unit_scores({.request = sample_->request,
                         .task = sample_->task,
                         .prefix = sample_->prefix,
                         .layer_idx = layer,
                         .grouping = grouping},
                        unit_tokens, flat);
    std::vector<std::vector<float>> result;
    for (std::size_t g = 0; g < groups; ++g) {
      const auto first = flat.begin() + static_cast<std::ptrdiff_t>(g * count);
      result.emplace_back(first, first + static_cast<std::ptrdiff_t>(count));
    }
    return result;
  }

  /// Blocks and chunks restart at segments, so their numbers follow from the path, not from the token's position.
  void locate_tokens() {
    block_of_token_.clear();
    token_of_chunk_.clear();
    block_of_chunk_.clear();
    num_blocks_ = 0;
    const auto block_tokens = static_cast<std::uint32_t>(options_.block_tokens);
    const auto chunk_tokens = static_cast<std::uint32_t>(options_.chunk_tokens);
    for (const SegmentSpan& span : sample_->prefix) {
      for (std::uint32_t t = 0; t < span.num_tokens; ++t) {
        const auto block = static_cast<std::uint32_t>(num_blocks_) + t / block_tokens;
        if (t % chunk_tokens == 0) {
          token_of_chunk_.push_back(block_of_token_.size());
          block_of_chunk_.push_back(block);
        }
        block_of_token_.push_back(block);
      }
      num_blocks_ += (span.num_tokens + block_tokens - 1) / block_tokens;
    }
  }

  std::size_t num_touched(std::span<const std::uint32_t> block_of, const std::vector<Indices>& chosen) const {
    std::vector<bool> touched(num_blocks_, false);
    for (const Indices& indices : chosen) {
      for (const std::uint32_t index : indices) touched[block_of[index]] = true;
    }
    return static_cast<std::size_t>(std::count(touched.begin(), touched.end(), true));
  }

  void add_chunks(int layer) {
    const std::vector<float> masses = scores(layer, HeadGrouping::all_heads, options_.chunk_tokens).front();
    const Indices chosen = top_k(masses, budget_.ceil_of(masses.size()));
    means_.add("chunk_blocks_touched", share_of(num_touched(block_of_chunk_, {chosen}), num_blocks_));
    double kept = 0;
    std::size_t num_late = 0;
    for (const std::uint32_t chunk : chosen) {
      kept += static_cast<double>(masses[chunk]);
      num_late += 10 * token_of_chunk_[chunk] >= 9 * num_tokens_;
    }
    const double all = std::accumulate(masses.begin(), masses.end(), 0.0);
    if (all > 0) means_.add("chunk_mass_kept", kept / all);
    means_.add("chunk_last_tenth", share_of(num_late, chosen.size()));
    add_overlaps(layer, chosen);
    chunks_by_layer_.push_back(chosen);
  }

  void add_overlaps(int layer, const Indices& chosen) {
    const int in_period = layer % options_.layers_per_period;
    const auto coverage = [&](int other) {
      return share_of(num_common(chosen, chunks_by_layer_[static_cast<std::size_t>(other)]), chosen.size());
    };
    if (in_period != 0) {
      means_.add("coverage_within_period", coverage(layer - in_period));
    } else if (layer > 0) {
      const double value = coverage(layer - options_.layers_per_period);
      means_.add("coverage_between_periods", value);
      means_.add(coverage_name(layer - options_.layers_per_period, layer), value);
    }
    if (const auto other = chunks_by_task_.find(sample_->task); other != chunks_by_task_.end()) {
      const Indices& before = other->second[static_cast<std::size_t>(layer)];
      means_.add("coverage_between_requests", share_of(num_common(chosen, before), chosen.size()));
    }
  }

  std::vector<Indices> chosen_tokens(const std::vector<std::vector<float>>& groups) const {
    std::vector<Indices> chosen;
    for (const std::vector<float>& masses : groups) chosen.push_back(top_k(masses, budget_.ceil_of(masses.size())));
    return chosen;
  }

  void add_heads(int layer) {
    const std::vector<Indices> chosen = chosen_tokens(scores(layer, HeadGrouping::per_kv_head, 1));
    means_.add("head_union_blocks_touched", share_of(num_touched(block_of_token_, chosen), num_blocks_));
    for (const Indices& indices : chosen) {
      means_.add("head_blocks_touched", share_of(num_touched(block_of_token_, {indices}), num_blocks_));
    }
  }

  void add_probes(int layer) {
    const std::vector<std::vector<float>> groups = scores(layer, HeadGrouping::probe_heads, 1);
    const std::vector<Indices> chosen = chosen_tokens(groups);
    double similarity = 0;
    int num_pairs = 0;
    for (std::size_t a = 0; a < chosen.size(); ++a) {
      for (std::size_t b = a + 1; b < chosen.size(); ++b, ++num_pairs) {
        const std::size_t common = num_common(chosen[a], chosen[b]);
        similarity += share_of(common, chosen[a].size() + chosen[b].size() - common);
      }
    }
    similarity = num_pairs == 0 ? 1.0 : similarity / num_pairs;
    const double ratio = budget_.as_double();
    const bool falls_back = similarity < std::pow(ratio / (2 - ratio), options_.similarity_exponent);
    means_.add("probe_similarity", similarity);
    means_.add("probe_fallback", falls_back ? 1.0 : 0.0);
    if (falls_back) {
      means_.add("vote_blocks_loaded", 1);
      return;
    }
    const Indices voted = vote(groups, chosen);
    const std::size_t touched = num_touched(block_of_token_, {voted});
    means_.add("vote_blocks_touched", share_of(touched, num_blocks_));
    means_.add("vote_blocks_loaded", share_of(touched, num_blocks_));
    if (!voted.empty()) {
      means_.add("vote_amplification", share_of(touched, num_blocks_) * share_of(num_tokens_, voted.size()));
    }
  }

  /// The k tokens with most votes, ties by summed score, then by the lower index (semantics 3).
  Indices vote(const std::vector<std::vector<float>>& groups, const std::vector<Indices>& chosen) const {
    std::map<std::uint32_t, int> votes;
    for (const Indices& indices : chosen) {
      for (const std::uint32_t token : indices) ++votes[token];
    }
    struct Candidate {
      int votes;
      float score;
      std::uint32_t token;
    };
    std::vector<Candidate> candidates;
    for (const auto& [token, count] : votes) {
      float score = 0;
      for (const std::vector<float>& masses : groups) score += masses[token];
      candidates.push_back({count, score, token});
    }
    std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
      if (a.votes != b.votes) return a.votes > b.votes;
      return a.score != b.score ? a.score > b.score : a.token < b.token;
    });
    candidates.resize(std::min<std::size_t>(candidates.size(), budget_.ceil_of(num_tokens_)));
    Indices result;
    for (const Candidate& candidate : candidates) result.push_back(candidate.token);
    std::sort(result.begin(), result.end());
    return result;
  }

  const ImportanceSource& source_;
  const ImportanceStatisticsOptions& options_;
  Budget budget_;
  Means means_;

  const ImportanceSample* sample_ = nullptr;
  std::size_t num_tokens_ = 0;
  std::size_t num_blocks_ = 0;
  std::vector<std::uint32_t> block_of_token_, block_of_chunk_;
  std::vector<std::size_t> token_of_chunk_;
  std::vector<Indices> chunks_by_layer_;
  std::map<std::uint64_t, std::vector<Indices>> chunks_by_task_;
};

}  // namespace

std::vector<ImportanceSample> make_importance_samples(std::uint32_t prefix_tokens, int count) {
  std::vector<ImportanceSample> samples;
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(count); ++i) {
    samples.push_back(
        {.request = i, .task = i / 2, .prefix = {{.segment = SegmentId{i / 2}, .num_tokens = prefix_tokens}}});
  }
  return samples;
}

std::optional<double> ImportanceStatistics::mean(std::string_view name) const {
  for (const Value& value : values) {
    if (value.name == name) return value.mean;
  }
  return std::nullopt;
}

std::vector<ImportanceStatistics> compute_importance_statistics(const ImportanceSource& source,
                                                                std::span<const ImportanceSample> samples,
                                                                const ImportanceStatisticsOptions& options) {
  std::vector<ImportanceStatistics> result;
  for (const Budget& budget : options.budgets) {
    Gatherer gatherer(source, options, budget);
    for (const ImportanceSample& sample : samples) gatherer.add(sample);
    result.push_back(gatherer.result());
  }
  return result;
}

namespace {

const ImportanceTarget* find_target(std::span<const ImportanceTarget> targets, const Budget& budget,
                                    std::string_view statistic) {
  for (const ImportanceTarget& target : targets) {
    if (target.budget == budget && target.statistic == statistic) return &target;
  }
  return nullptr;
}

bool lies_in(double value, const ImportanceTarget& target) { return value >= target.low && value <= target.high; }

}  // namespace

std::optional<bool> meets_target(std::span<const ImportanceStatistics> statistics, const ImportanceTarget& target) {
  for (const ImportanceStatistics& of_budget : statistics) {
    if (of_budget.budget != target.budget) continue;
    if (const auto mean = of_budget.mean(target.statistic)) return lies_in(*mean, target);
  }
  return std::nullopt;
}

Json to_json(std::span<const ImportanceStatistics> statistics, std::span<const ImportanceTarget> targets) {
  Json rows = Json::array();
  for (const ImportanceStatistics& of_budget : statistics) {
    for (const ImportanceStatistics::Value& value : of_budget.values) {
      Json row = {{"budget", of_budget.budget.to_string()}, {"statistic", value.name}, {"meaning", value.meaning}};
      row["mean"] = value.mean ? Json(*value.mean) : Json(nullptr);
      if (const ImportanceTarget* target = find_target(targets, of_budget.budget, value.name)) {
        row["target"] = {{"low", target->low}, {"high", target->high}, {"source", target->source}};
        row["met"] = value.mean ? Json(lies_in(*value.mean, *target)) : Json(nullptr);
      }
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

std::string to_text(std::span<const ImportanceStatistics> statistics, std::span<const ImportanceTarget> targets) {
  std::string text = fmt::format("{:>6}  {:<26} {:>8}  {:<13} {:<4} {}\n", "budget", "statistic", "mean", "target",
                                 "met", "meaning; source of the target");
  for (const ImportanceStatistics& of_budget : statistics) {
    for (const ImportanceStatistics::Value& value : of_budget.values) {
      const ImportanceTarget* target = find_target(targets, of_budget.budget, value.name);
      const std::string range = target ? fmt::format("{:.3g}..{:.3g}", target->low, target->high) : "";
      const std::string met = target && value.mean ? (lies_in(*value.mean, *target) ? "yes" : "NO") : "";
      text += fmt::format("{:>6}  {:<26} {:>8}  {:<13} {:<4} {}{}{}\n", of_budget.budget.to_string(), value.name,
                          value.mean ? fmt::format("{:.3f}", *value.mean) : "-", range, met, value.meaning,
                          target ? "; " : "", target ? target->source : "");
    }
  }
  return text;
}

}  // namespace reprefill::traces
