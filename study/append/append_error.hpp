// How far KV that is stored as a pruning system computed it drifts from what a full prefill would have stored, turn
// after turn of one conversation (semantics 1, append_kv).
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/base/json.hpp"
#include "engine/session/session.hpp"
#include "engine/store/manifest.hpp"

namespace reprefill::study {

struct AppendErrorOptions {
  engine::SessionOptions session;  // of both histories; logits are kept whatever it says
  /// Of both stores, which are made in `folder`: "as_computed" and "recompute_exact". It must be new or empty.
  engine::StoreManifest manifest;
  std::filesystem::path folder;
};

/// Root mean square of the difference over root mean square of the exact values.
struct RelativeError {
  double mean = 0;   // over all layers' values together
  double worst = 0;  // layer
};

struct TurnError {
  std::string name;
  std::uint32_t prompt_tokens = 0;
  std::uint32_t stored_tokens = 0;       // found in the store
  std::uint32_t approximate_tokens = 0;  // of them: appended by a turn that had a stored prefix itself
  std::uint32_t appended_tokens = 0;
  /// Of what this turn appended as computed, against a full prefill of the same prompt.
  RelativeError keys;
  RelativeError values;
  /// Of the first token's logits, against a full prefill: with a history stored as computed, and with an exact one.
  /// What the second has is the price of pruning itself; the rest is that of the history.
  double logits_as_computed = 0;
  double logits_recompute_exact = 0;
  bool same_token_as_computed = false;
  bool same_token_recompute_exact = false;
};

/// Serves the turns one after the other, each with cold caches, on two stores: in one, every turn's KV is appended as
/// the system computed it, in the other as a full prefill gives it. Each prompt must begin with the one before.
/// `on_turn` is told of each turn as it is done. Throws ConfigError for turns that are no conversation and for what a
/// session refuses.
std::vector<TurnError> measure_append_error(engine::Model& model, std::span<const engine::Prompt> turns,
                                            const AppendErrorOptions& options,
                                            const std::function<void(const TurnError&)>& on_turn = nullptr);

Json to_json(std::span<const TurnError> turns);
std::string to_text(std::span<const TurnError> turns);

}  // namespace reprefill::study
