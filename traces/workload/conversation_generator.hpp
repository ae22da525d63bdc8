// A generated stand-in for a recorded chat trace: conversations whose prompts grow turn by turn under one system
// prompt.
#pragma once

#include <cstdint>

#include "core/base/params.hpp"
#include "traces/workload/request_trace.hpp"

namespace reprefill::traces {

/// How the conversations go. The defaults are fitted to the first 7,000 requests of Mooncake's conversation trace; what
/// they achieve is in traces/samples/README.md. A lognormal is given by its median and the sigma of its logarithm.
struct ConversationWorkload {
  std::uint64_t seed = 1;
  std::uint64_t num_requests = 7000;
  std::uint32_t block_tokens = 512;

  // Arrivals.
  double requests_per_s = 3.232;
  /// Arrivals are recorded at the start of their bin; 0 records them to the millisecond.
  double bin_s = 3.0;
  /// Sigma of the logarithm of the rate at which conversations start, drawn for every bin; 0 is a Poisson process.
  double burst_sigma = 0.15;
  /// Conversations start this long before the trace does, so that it opens in the middle of some.
  double warm_up_s = 1800.0;

  // The first prompt: the system prompt that all conversations share, then a short question or a long document.
  std::uint32_t system_tokens = 880;
  double short_start_share = 0.265;
  double short_start_mean_tokens = 250.0;
  double long_start_median_tokens = 8550.0;
  double long_start_sigma = 1.0;

  // Whether a conversation goes on after turn k = 0, 1, ...: limit - (limit - first) * decay^k. People who stay, stay.
  double continue_first = 0.365;
  double continue_limit = 0.89;
  double continue_decay = 0.77;
  // From one request of a conversation to its next.
  double gap_median_s = 137.0;
  double gap_sigma = 0.985;
  double gap_min_s = 12.0;

  // The next prompt: the last one, its answer, and a message that is short or brings a document.
  double short_message_median_tokens = 24.0;
  double short_message_sigma = 1.2;
  double long_message_share = 0.15;
  double long_message_median_tokens = 2200.0;
  double long_message_sigma = 0.95;
  /// Share of turns whose prompt is as long but new from some point on (edited history, exchanged documents).
  double rewrite_share = 0.36;

  double short_output_share = 0.19;
  double short_output_mean_tokens = 25.0;
  double output_mean_tokens = 395.0;
  double output_deviation_tokens = 165.0;
  double long_output_share = 0.03;
  std::uint32_t max_output_tokens = 2000;

  /// A conversation ends before a prompt would be longer.
  std::uint32_t max_input_tokens = 126'976;
};

/// The declaration of the parameters above, for checked reading and for help texts.
ParamTable<ConversationWorkload> conversation_workload_params();

/// The same workload gives the same trace, on every machine. Ids count up from 0 in order of first appearance, as in
/// the recorded files. Throws ConfigError for parameters out of their declared range.
RequestTrace generate_conversations(const ConversationWorkload& workload);

}  // namespace reprefill::traces
