#include "traces/workload/statistics.hpp"

#include <algorithm>
#include <vector>

#include "core/base/error.hpp"
#include "traces/workload/block_table.hpp"

namespace reprefill::traces {
namespace {

struct BlockUse {
  Nanoseconds last_use;
  std::uint64_t num_uses = 0;
};

/// Reorders `values`, which must not be empty.
template <typename Value>
Value nearest_rank(std::vector<Value>& values, std::size_t percent) {
  const std::size_t rank = divide_rounding_up(percent * values.size(), std::size_t{100});
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(rank, 1) - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

TokenStatistics summarize(std::vector<std::uint64_t> tokens) {
  std::uint64_t sum = 0;
  for (const std::uint64_t count : tokens) sum += count;
  return {.mean = static_cast<double>(sum) / static_cast<double>(tokens.size()),
          .p50 = nearest_rank(tokens, 50),
          .p95 = nearest_rank(tokens, 95),
          .max = *std::max_element(tokens.begin(), tokens.end())};
}

std::optional<std::uint64_t> find_common_first_block(const RequestTrace& trace) {
  std::optional<std::uint64_t> common;
  for (const TraceRequest& request : trace.requests()) {
    if (request.block_ids.empty() || (common && request.block_ids[0] != *common)) return std::nullopt;
    common = request.block_ids[0];
  }
  return common;
}

/// Replays the trace through the unbounded cache.
class PrefixReplay {
 public:
  explicit PrefixReplay(const RequestTrace& trace, TraceStatistics& statistics)
      : statistics_(statistics), uses_(4 * trace.num_block_references()) {
    for (const TraceRequest& request : trace.requests()) {
      look_up(request);
      insert(request);
    }
    statistics_.num_requests_with_hit = hit_lengths_.size();
    if (!hit_lengths_.empty()) {
      statistics_.hits = TraceStatistics::Hits{.length_p50_blocks = nearest_rank(hit_lengths_, 50),
                                               .length_p95_blocks = nearest_rank(hit_lengths_, 95),
                                               .reuse_time_p50 = nearest_rank(reuse_times_, 50),
                                               .reuse_time_p95 = nearest_rank(reuse_times_, 95)};
    }
  }

 private:
  void look_up(const TraceRequest& request) {
    std::size_t run = 0;
    while (run < request.block_ids.size() && uses_[request.block_ids[run]].num_uses > 0) ++run;
    statistics_.num_leading_blocks_seen_before += run;
    const std::size_t common_blocks = statistics_.common_first_block ? 1 : 0;
    if (run <= common_blocks) return;
    hit_lengths_.push_back(run);
    reuse_times_.push_back(request.arrival - uses_[request.block_ids[run - 1]].last_use);
  }

  void insert(const TraceRequest& request) {
    for (const std::uint64_t id : request.block_ids) {
      BlockUse& use = uses_[id];
      use.last_use = request.arrival;
      ++use.num_uses;
      if (use.num_uses == 1) ++statistics_.num_distinct_blocks;
      if (use.num_uses == 2) ++statistics_.num_distinct_blocks_used_again;
    }
  }

  TraceStatistics& statistics_;
  detail::BlockTable<BlockUse> uses_;
  std::vector<std::uint64_t> hit_lengths_;
  std::vector<Nanoseconds> reuse_times_;
};

double fraction(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

/// 175239 as "175,239".
std::string with_commas(std::uint64_t number) {
  std::string digits = fmt::format("{}", number);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

std::string with_commas(double number) { return with_commas(static_cast<std::uint64_t>(number + 0.5)); }

Json to_json(const TokenStatistics& tokens) {
  return {{"mean", tokens.mean}, {"p50", tokens.p50}, {"p95", tokens.p95}, {"max", tokens.max}};
}

}  // namespace

double TraceStatistics::leading_blocks_seen_before_fraction() const {
  return fraction(num_leading_blocks_seen_before, num_blocks_referenced);
}
double TraceStatistics::distinct_blocks_used_again_fraction() const {
  return fraction(num_distinct_blocks_used_again, num_distinct_blocks);
}
double TraceStatistics::requests_with_hit_fraction() const { return fraction(num_requests_with_hit, num_requests); }

TraceStatistics compute_statistics(const RequestTrace& trace) {
  TraceStatistics statistics;
  if (trace.empty()) return statistics;
  statistics.num_requests = trace.size();
  statistics.first_arrival = trace[0].arrival;
  statistics.last_arrival = trace[trace.size() - 1].arrival;
  statistics.num_blocks_referenced = trace.num_block_references();
  statistics.common_first_block = find_common_first_block(trace);
  std::vector<std::uint64_t> input_tokens;
  std::vector<std::uint64_t> output_tokens;
  for (const TraceRequest& request : trace.requests()) {
    input_tokens.push_back(request.input_tokens);
    output_tokens.push_back(request.output_tokens);
  }
  statistics.input_tokens = summarize(std::move(input_tokens));
  statistics.output_tokens = summarize(std::move(output_tokens));
  PrefixReplay(trace, statistics);
  return statistics;
}

Json to_json(const TraceStatistics& statistics) {
  Json json = {{"num_requests", statistics.num_requests},
               {"first_arrival_s", to_seconds(statistics.first_arrival)},
               {"last_arrival_s", to_seconds(statistics.last_arrival)},
               {"input_tokens", to_json(statistics.input_tokens)},
               {"output_tokens", to_json(statistics.output_tokens)},
               {"num_blocks_referenced", statistics.num_blocks_referenced},
               {"num_distinct_blocks", statistics.num_distinct_blocks},
               {"num_distinct_blocks_used_again", statistics.num_distinct_blocks_used_again},
               {"distinct_blocks_used_again_fraction", statistics.distinct_blocks_used_again_fraction()},
               {"num_leading_blocks_seen_before", statistics.num_leading_blocks_seen_before},
               {"leading_blocks_seen_before_fraction", statistics.leading_blocks_seen_before_fraction()},
               {"common_first_block", nullptr},
               {"num_requests_with_hit", statistics.num_requests_with_hit},
               {"requests_with_hit_fraction", statistics.requests_with_hit_fraction()},
               {"hits", nullptr}};
  if (statistics.common_first_block) json["common_first_block"] = *statistics.common_first_block;
  if (const auto& hits = statistics.hits) {
    json["hits"] = {{"length_p50_blocks", hits->length_p50_blocks},
                    {"length_p95_blocks", hits->length_p95_blocks},
                    {"reuse_time_p50_s", to_seconds(hits->reuse_time_p50)},
                    {"reuse_time_p95_s", to_seconds(hits->reuse_time_p95)}};
  }
  return json;
}

std::string to_text(const TraceStatistics& s) {
  std::string text;
  const auto line = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{:<40}{}\n", name, value);
  };
  const auto tokens = [](const TokenStatistics& t) {
    return fmt::format("{} / {} / {} / {}", with_commas(t.mean), with_commas(t.p50), with_commas(t.p95),
                       with_commas(t.max));
  };
  line("requests", with_commas(s.num_requests));
  line("time span (s)", fmt::format("{:.1f} to {:.1f}", to_seconds(s.first_arrival), to_seconds(s.last_arrival)));
  line("input tokens, mean / p50 / p95 / max", tokens(s.input_tokens));
  line("output tokens, mean / p50 / p95 / max", tokens(s.output_tokens));
  line("blocks referenced", with_commas(s.num_blocks_referenced));
  line("distinct blocks", with_commas(s.num_distinct_blocks));
  line("leading blocks seen before", fmt::format("{:.1f}%", 100 * s.leading_blocks_seen_before_fraction()));
  line("distinct blocks used more than once", fmt::format("{:.1f}%", 100 * s.distinct_blocks_used_again_fraction()));
  line("block that starts every request", s.common_first_block ? fmt::format("{}", *s.common_first_block) : "none");
  line("requests with a prefix hit", fmt::format("{:.1f}%", 100 * s.requests_with_hit_fraction()));
  line("hit length, p50 / p95 (blocks)",
       s.hits ? fmt::format("{} / {}", s.hits->length_p50_blocks, s.hits->length_p95_blocks) : "no hits");
  line("time since last use, p50 / p95 (s)",
       s.hits ? fmt::format("{:.1f} / {:.1f}", to_seconds(s.hits->reuse_time_p50), to_seconds(s.hits->reuse_time_p95))
              : "no hits");
  return text;
}

std::string markdown_header() {
  return "| set | requests | time span (s) | input tokens mean / p50 / p95 / max | output tokens mean / p50 / p95 | "
         "blocks referenced | distinct blocks | leading blocks seen before | distinct blocks used more than once | "
         "requests with a prefix hit | hit length p50 / p95 (blocks) | time since last use of the hit prefix p50 / p95 "
         "(s) |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";
}

std::string to_markdown_row(const TraceStatistics& s, std::string_view label) {
  std::string row = fmt::format(
      "| {} | {} | {:.1f} – {:.1f} | {} / {} / {} / {} | {} / {} / {} | {} | {} | {:.1f}% | {:.1f}% | {:.1f}% |", label,
      with_commas(s.num_requests), to_seconds(s.first_arrival), to_seconds(s.last_arrival),
      with_commas(s.input_tokens.mean), with_commas(s.input_tokens.p50), with_commas(s.input_tokens.p95),
      with_commas(s.input_tokens.max), with_commas(s.output_tokens.mean), with_commas(s.output_tokens.p50),
      with_commas(s.output_tokens.p95), with_commas(s.num_blocks_referenced), with_commas(s.num_distinct_blocks),
      100 * s.leading_blocks_seen_before_fraction(), 100 * s.distinct_blocks_used_again_fraction(),
      100 * s.requests_with_hit_fraction());
  if (!s.hits) return row + " – | – |";
  return row + fmt::format(" {} / {} | {:.1f} / {:.1f} |", s.hits->length_p50_blocks, s.hits->length_p95_blocks,
                           to_seconds(s.hits->reuse_time_p50), to_seconds(s.hits->reuse_time_p95));
}

}  // namespace reprefill::traces
