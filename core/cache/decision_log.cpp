#include "core/cache/decision_log.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace reprefill::cache {

const char* name_of(Tier tier) { return tier == Tier::gpu ? "gpu" : "host"; }

const char* name_of(Decision decision) {
  switch (decision) {
    case Decision::entered_gpu:
      return "entered_gpu";
    case Decision::entered_host:
      return "entered_host";
    case Decision::promoted:
      return "promoted";
    case Decision::demoted:
      return "demoted";
    case Decision::dropped_gpu:
      return "dropped_gpu";
    case Decision::dropped_host:
      return "dropped_host";
    case Decision::bypassed:
      return "bypassed";
    case Decision::hit_gpu:
      return "hit_gpu";
    case Decision::hit_host:
      return "hit_host";
    case Decision::missed:
      return "missed";
    case Decision::not_promoted:
      return "not_promoted";
    case Decision::state_dropped:
      return "state_dropped";
  }
  return "unknown";
}

void DecisionLog::record(const Move& decision) {
  const std::uint64_t words[] = {decision.key.packed, decision.bytes.value,
                                 static_cast<std::uint64_t>(decision.decision)};
  digest_ = XXH3_64bits_withSeed(words, sizeof words, digest_);
  ++num_decisions_;
  if (keep_ == Keep::full_list) decisions_.push_back(decision);
  if (observer_ != nullptr) observer_->on_decision(decision);
}

}  // namespace reprefill::cache
