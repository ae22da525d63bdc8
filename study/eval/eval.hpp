// How well a system answers when it keeps a part of the prefix, beside full KV: `reprefill eval`.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/base/params.hpp"
#include "engine/session/session.hpp"
#include "study/eval/task.hpp"
#include "study/statistics/paired_statistics.hpp"

namespace reprefill::study {

enum class Scoring : std::uint8_t {
  first_token,     // the choice whose first token has the highest logit
  log_likelihood,  // the choice with the highest sum of log-probabilities
  generate         // what greedy decoding writes begins with the right choice
};

/// One system with its parameters: a column of the comparison.
struct EvalVariant {
  std::string label;  // "contiguous_kv 5 %"
  std::string system;
  Json params = Json::object();
};

struct EvalOptions {
  Scoring scoring = Scoring::first_token;
  pipeline::PathKind path = pipeline::PathKind::direct;
  std::filesystem::path work_folder;  // for the store of prefixes and the recorded importance
  bool buffered_reads = false;
  std::uint64_t seed = 1;  // of the bootstrap
  const std::atomic<bool>* interrupted = nullptr;
  std::function<void(std::size_t variant, std::size_t item)> on_item = nullptr;  // variant 0 is full KV
};

/// One item under one variant.
struct ItemResult {
  bool is_right = false;
  bool next_token_agrees = true;      // with full KV
  double kl_from_full = 0;            // KL(full || variant) of the next token, nats
  double answer_log_likelihood = 0;   // of the right choice
  double attention_mass_kept = 1;     // mean over layers, of the mass under full KV
  double attention_mass_worst = 1;    // its worst layer
  double chosen_recall = 1;           // of chosen units: share that is among the best by keys under full KV
  std::vector<double> answer_recall;  // by layer: kept share of the answer's tokens; empty where the item names none
};

struct VariantResult {
  EvalVariant variant;
  std::vector<ItemResult> items;  // in the order of the task
};

struct EvalResult {
  std::vector<VariantResult> variants;  // the first is full KV
  int period_layers = 8;
};

/// Stores the task's prefixes, answers every item under full KV (attention_store, which loads all of it), then under
/// each variant, through the engine and its caches. Throws what the engine throws.
EvalResult evaluate(engine::Model& model, std::span<const TaskItem> task, std::span<const EvalVariant> variants,
                    const EvalOptions& options);

}  // namespace reprefill::study

template <>
struct reprefill::EnumNames<reprefill::study::Scoring> {
  static constexpr std::pair<const char*, study::Scoring> names[] = {{"first_token", study::Scoring::first_token},
                                                                     {"log_likelihood", study::Scoring::log_likelihood},
                                                                     {"generate", study::Scoring::generate}};
};
