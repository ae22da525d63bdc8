#include "traces/workload/conversation_generator.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "traces/workload/mooncake.hpp"

namespace reprefill::traces {
namespace {

constexpr std::int64_t kNanosecondsPerMillisecond = 1'000'000;
constexpr double kMaxArrival_s = static_cast<double>(kMaxTimestampMs) * 1e-3;
/// The finest bins: shorter ones cannot be told apart in a trace.
constexpr double kMinBin_s = 1e-3;
/// Bins in which the rate is redrawn where arrivals are not binned.
constexpr double kDefaultBurstBin_s = 3.0;

double lognormal(RandomStream& random, double median, double sigma) {
  return median * std::exp(sigma * random.normal(0.0, 1.0));
}

/// At least one token; a tail beyond `maximum` is cut off.
std::uint32_t whole_tokens(double tokens, std::uint32_t maximum) {
  return static_cast<std::uint32_t>(std::clamp(tokens, 1.0, static_cast<double>(maximum)));
}

double continue_probability(const ConversationWorkload& workload, int turn) {
  return workload.continue_limit -
         (workload.continue_limit - workload.continue_first) * std::pow(workload.continue_decay, turn);
}

double expected_turns(const ConversationWorkload& workload) {
  double turns = 0;
  double reached = 1;
  for (int turn = 0; reached > 1e-9; ++turn) {
    turns += reached;
    reached *= continue_probability(workload, turn);
  }
  return turns;
}

/// One conversation. Every draw comes from a stream of its own, so that conversations do not depend on how their turns
/// interleave.
class Conversation {
 public:
  Conversation(const ConversationWorkload& workload, std::uint64_t number)
      : workload_(workload), random_(workload.seed, number, "trace_generator.conversation") {
    const double start = random_.uniform() < workload_.short_start_share
                             ? exponential(workload_.short_start_mean_tokens)
                             : lognormal(random_, workload_.long_start_median_tokens, workload_.long_start_sigma);
    input_tokens_ = whole_tokens(workload_.system_tokens + start, workload_.max_input_tokens);
    draw_output();
  }

  std::uint32_t input_tokens() const { return input_tokens_; }
  std::uint32_t output_tokens() const { return output_tokens_; }

  /// Seconds until the next turn, to which this moves on; nullopt at the end of the conversation.
  std::optional<double> next_turn() {
    if (random_.uniform() >= continue_probability(workload_, turn_++)) return std::nullopt;
    const double gap_s = std::max(workload_.gap_min_s, lognormal(random_, workload_.gap_median_s, workload_.gap_sigma));
    const std::uint32_t num_kept_blocks =
        (random_.uniform() < workload_.rewrite_share ? rewrite_point() : input_tokens_) / workload_.block_tokens;
    const double message =
        random_.uniform() < workload_.long_message_share
            ? lognormal(random_, workload_.long_message_median_tokens, workload_.long_message_sigma)
            : lognormal(random_, workload_.short_message_median_tokens, workload_.short_message_sigma);
    const double input = static_cast<double>(input_tokens_) + output_tokens_ + std::max(1.0, message);
    if (input > workload_.max_input_tokens) return std::nullopt;
    input_tokens_ = whole_tokens(input, workload_.max_input_tokens);
    if (block_ids_.size() > num_kept_blocks) block_ids_.resize(num_kept_blocks);
    draw_output();
    return gap_s;
  }

  /// The ids of this turn's prompt. New blocks take the next free ids; the partly filled last block's id is not kept,
  /// because the next turn fills that block differently.
  std::vector<std::uint64_t> name_blocks(std::uint64_t& next_id, std::vector<std::uint64_t>& system_ids) {
    const std::uint32_t num_full = input_tokens_ / workload_.block_tokens;
    const std::uint32_t num_system = std::min(num_full, workload_.system_tokens / workload_.block_tokens);
    while (block_ids_.size() < num_system) {
      if (block_ids_.size() == system_ids.size()) system_ids.push_back(next_id++);
      block_ids_.push_back(system_ids[block_ids_.size()]);
    }
    while (block_ids_.size() < num_full) block_ids_.push_back(next_id++);
    std::vector<std::uint64_t> ids = block_ids_;
    if (input_tokens_ % workload_.block_tokens != 0) ids.push_back(next_id++);
    return ids;
  }

 private:
  double exponential(double mean) { return mean > 0 ? random_.exponential(1.0 / mean) : 0.0; }

  /// Behind the system prompt, mostly early: exchanged documents stand before the questions about them.
  std::uint32_t rewrite_point() {
    const std::uint32_t system_tokens = std::min(workload_.system_tokens, input_tokens_);
    const double share_kept = std::pow(random_.uniform(), 3);
    return system_tokens + static_cast<std::uint32_t>(share_kept * (input_tokens_ - system_tokens));
  }

  void draw_output() {
    const double kind = random_.uniform();
    double tokens = 0;
    if (kind < workload_.short_output_share) {
      tokens = exponential(workload_.short_output_mean_tokens);
    } else if (kind < workload_.short_output_share + workload_.long_output_share) {
      tokens = workload_.output_mean_tokens +
               random_.uniform() * (workload_.max_output_tokens - workload_.output_mean_tokens);
    } else {
      tokens = random_.normal(workload_.output_mean_tokens, workload_.output_deviation_tokens);
    }
    output_tokens_ = whole_tokens(tokens, workload_.max_output_tokens);
  }

  const ConversationWorkload& workload_;
  RandomStream random_;
  int turn_ = 0;
  std::uint32_t input_tokens_ = 0;
  std::uint32_t output_tokens_ = 0;
  std::vector<std::uint64_t> block_ids_;  // of the full blocks of the last prompt in the trace
};

/// Start times of conversations: Poisson within a bin, at a rate that is redrawn for every bin.
class Starts {
 public:
  explicit Starts(const ConversationWorkload& workload)
      : random_(workload.seed, 0, "trace_generator.starts"),
        burst_sigma_(workload.burst_sigma),
        bin_s_(workload.bin_s > 0 ? workload.bin_s : kDefaultBurstBin_s),
        mean_rate_(workload.requests_per_s / expected_turns(workload)),
        bin_end_s_(-workload.warm_up_s),
        at_s_(bin_end_s_) {
    advance();
  }

  double next_s() const { return at_s_; }

  void advance() {
    // Exponential with mean 1, spent at the rate of the bins that it crosses.
    double left = random_.exponential(1.0);
    while (left > (bin_end_s_ - at_s_) * rate_) {
      left -= (bin_end_s_ - at_s_) * rate_;
      at_s_ = bin_end_s_;
      bin_end_s_ = bin_end_s_ + bin_s_;
      // The lognormal's mean is 1, so that bursts leave the mean rate as it is.
      rate_ = mean_rate_ * std::exp(burst_sigma_ * random_.normal(0.0, 1.0) - burst_sigma_ * burst_sigma_ / 2);
    }
    at_s_ += left / rate_;
  }

 private:
  RandomStream random_;
  double burst_sigma_;
  double bin_s_;
  double mean_rate_;
  double rate_ = 0;
  double bin_end_s_;
  double at_s_;
};

class Generator {
 public:
  explicit Generator(const ConversationWorkload& workload) : workload_(workload), starts_(workload) {}

  RequestTrace run() {
    RequestTrace trace(workload_.block_tokens);
    while (trace.size() < workload_.num_requests) {
      PendingTurn turn = take_next();
      if (turn.at_s >= 0) {
        const std::vector<std::uint64_t> ids = turn.conversation->name_blocks(next_id_, system_ids_);
        trace.append({.arrival = recorded(turn.at_s),
                      .input_tokens = turn.conversation->input_tokens(),
                      .output_tokens = turn.conversation->output_tokens(),
                      .block_ids = ids});
      }
      if (const std::optional<double> gap_s = turn.conversation->next_turn()) {
        pending_.push({turn.at_s + *gap_s, next_sequence_++, std::move(turn.conversation)});
      }
    }
    return trace;
  }

 private:
  struct PendingTurn {
    double at_s;
    std::uint64_t sequence;  // breaks ties
    std::shared_ptr<Conversation> conversation;
    bool operator>(const PendingTurn& other) const {
      return at_s != other.at_s ? at_s > other.at_s : sequence > other.sequence;
    }
  };

  PendingTurn take_next() {
    if (pending_.empty() || starts_.next_s() < pending_.top().at_s) {
      PendingTurn turn{starts_.next_s(), next_sequence_++,
                       std::make_shared<Conversation>(workload_, num_conversations_++)};
      starts_.advance();
      return turn;
    }
    PendingTurn turn = pending_.top();
    pending_.pop();
    return turn;
  }

  Nanoseconds recorded(double at_s) const {
    if (at_s > kMaxArrival_s) {
      throw ConfigError(
          fmt::format("conversation workload: {} requests at {} a second end after {:.3g} s; expected at "
                      "most {:.3g} s",
                      workload_.num_requests, workload_.requests_per_s, at_s, kMaxArrival_s));
    }
    const double binned_s = workload_.bin_s > 0 ? std::floor(at_s / workload_.bin_s) * workload_.bin_s : at_s;
    return Nanoseconds{static_cast<std::int64_t>(binned_s * 1e3 + 1e-6) * kNanosecondsPerMillisecond};
  }

  const ConversationWorkload& workload_;
  Starts starts_;
  std::priority_queue<PendingTurn, std::vector<PendingTurn>, std::greater<>> pending_;
  std::uint64_t next_sequence_ = 0;
  std::uint64_t num_conversations_ = 0;
  std::uint64_t next_id_ = 0;
  std::vector<std::uint64_t> system_ids_;
};

/// The declared ranges hold for workloads built in code too.
void check_ranges(const ConversationWorkload& workload) {
  const ParamTable<ConversationWorkload> table = conversation_workload_params();
  const Json json = table.write(workload);
  ConversationWorkload unused;
  table.read(JsonValue(json, "conversation workload"), unused);
  if (workload.bin_s > 0 && workload.bin_s < kMinBin_s) {
    throw ConfigError(
        fmt::format("conversation workload: bin_s: found {}; expected 0 or at least {} s", workload.bin_s, kMinBin_s));
  }
}

}  // namespace

RequestTrace generate_conversations(const ConversationWorkload& workload) {
  check_ranges(workload);
  return Generator(workload).run();
}

}  // namespace reprefill::traces
