#include "traces/workload/conversation_generator.hpp"

#include "traces/workload/mooncake.hpp"

namespace reprefill::traces {
namespace {

constexpr const char* kFitted = "fitted to Mooncake's conversation trace, first 7,000 requests";
constexpr double kMaxTokens = kMaxRequestTokens;
/// Sigma of a logarithm; at 4 a 95th percentile is already 700 medians.
constexpr double kMaxSigma = 4.0;
constexpr double kYear_s = 3.2e7;

}  // namespace

ParamTable<ConversationWorkload> conversation_workload_params() {
  using W = ConversationWorkload;
  ParamTable<W> table;
  const auto share = [&](double W::*member, const char* name, const char* doc, double maximum = 1.0) {
    table.add(member, {.name = name, .doc = doc, .source = kFitted, .unit = "", .minimum = 0, .maximum = maximum});
  };
  const auto real = [&](double W::*member, const char* name, const char* doc, const char* unit, double minimum,
                        double maximum) {
    table.add(member,
              {.name = name, .doc = doc, .source = kFitted, .unit = unit, .minimum = minimum, .maximum = maximum});
  };
  const auto tokens = [&](std::uint32_t W::*member, const char* name, const char* doc, double minimum) {
    table.add(
        member,
        {.name = name, .doc = doc, .source = kFitted, .unit = "tokens", .minimum = minimum, .maximum = kMaxTokens});
  };
  table.add(&W::seed, {.name = "seed", .doc = "chooses the trace", .source = "the scenario"});
  table.add(&W::num_requests, {.name = "num_requests",
                               .doc = "length of the trace",
                               .source = "the scenario",
                               .unit = "requests",
                               .minimum = 1,
                               .maximum = 1e8});
  tokens(&W::block_tokens, "block_tokens", "tokens that one block id stands for", 1);
  real(&W::requests_per_s, "requests_per_s", "mean rate of arrivals", "1/s", 1e-3, 1e6);
  real(&W::bin_s, "bin_s", "arrivals are recorded in bins of this length; 0: to the millisecond", "s", 0, kYear_s);
  real(&W::burst_sigma, "burst_sigma", "spread of the rate of new conversations between bins", "", 0, kMaxSigma);
  real(&W::warm_up_s, "warm_up_s", "how long before the trace conversations start", "s", 0, kYear_s);
  tokens(&W::system_tokens, "system_tokens", "prompt that starts every request", 0);
  share(&W::short_start_share, "short_start_share", "conversations that start with a short question");
  real(&W::short_start_mean_tokens, "short_start_mean_tokens", "its mean (exponential)", "tokens", 0, kMaxTokens);
  real(&W::long_start_median_tokens, "long_start_median_tokens", "median of the other starts (lognormal)", "tokens", 1,
       kMaxTokens);
  real(&W::long_start_sigma, "long_start_sigma", "sigma of its logarithm", "", 0, kMaxSigma);
  share(&W::continue_first, "continue_first", "chance of a second turn", 0.99);
  share(&W::continue_limit, "continue_limit", "chance of another turn, after many", 0.99);
  share(&W::continue_decay, "continue_decay", "how slowly the one turns into the other, per turn");
  real(&W::gap_median_s, "gap_median_s", "median time between turns (lognormal)", "s", 1e-3, kYear_s);
  real(&W::gap_sigma, "gap_sigma", "sigma of its logarithm", "", 0, kMaxSigma);
  real(&W::gap_min_s, "gap_min_s", "shortest time between turns", "s", 0, kYear_s);
  real(&W::short_message_median_tokens, "short_message_median_tokens", "median of a message (lognormal)", "tokens", 1,
       kMaxTokens);
  real(&W::short_message_sigma, "short_message_sigma", "sigma of its logarithm", "", 0, kMaxSigma);
  share(&W::long_message_share, "long_message_share", "messages that bring a document");
  real(&W::long_message_median_tokens, "long_message_median_tokens", "its median (lognormal)", "tokens", 1, kMaxTokens);
  real(&W::long_message_sigma, "long_message_sigma", "sigma of its logarithm", "", 0, kMaxSigma);
  share(&W::rewrite_share, "rewrite_share", "turns whose prompt is new from some point on");
  share(&W::short_output_share, "short_output_share", "answers of a few words");
  real(&W::short_output_mean_tokens, "short_output_mean_tokens", "their mean (exponential)", "tokens", 0, kMaxTokens);
  real(&W::output_mean_tokens, "output_mean_tokens", "mean of the other answers (normal)", "tokens", 1, kMaxTokens);
  real(&W::output_deviation_tokens, "output_deviation_tokens", "standard deviation of the other answers", "tokens", 0,
       kMaxTokens);
  share(&W::long_output_share, "long_output_share", "answers uniform between the mean and max_output_tokens");
  tokens(&W::max_output_tokens, "max_output_tokens", "longest answer", 1);
  tokens(&W::max_input_tokens, "max_input_tokens", "a conversation ends before a longer prompt", 1);
  return table;
}

}  // namespace reprefill::traces
