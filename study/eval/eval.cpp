#include "study/eval/eval.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/session/prefix_builder.hpp"
#include "engine/store/system_layouts.hpp"
#include "study/eval/kept_tokens.hpp"

namespace reprefill::study {
namespace {

using engine::argmax;

std::vector<double> log_softmax(std::span<const float> logits) {
  const double highest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  std::vector<double> result;
  for (const float logit : logits) result.push_back(static_cast<double>(logit) - highest - std::log(sum));
  return result;
}

double kl_divergence(std::span<const float> p_logits, std::span<const float> q_logits) {
  const std::vector<double> p = log_softmax(p_logits), q = log_softmax(q_logits);
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) sum += std::exp(p[i]) * (p[i] - q[i]);
  return std::max(0.0, sum);
}

/// Log-likelihoods of all choices by teacher forcing; the request is left as it was.
std::vector<double> score_choices(engine::RealMachine& machine, std::uint32_t request,
                                  const std::vector<std::vector<std::int32_t>>& choices, bool first_tokens_only) {
  const std::span<const float> at_start = machine.logits(request);
  const std::vector<float> first(at_start.begin(), at_start.end());
  const std::vector<double> first_log = log_softmax(first);
  std::vector<double> scores;
  for (const std::vector<std::int32_t>& ids : choices) {
    double sum = first_log[static_cast<std::size_t>(ids.front())];
    if (!first_tokens_only && ids.size() > 1) {
      const std::uint32_t own = machine.num_own_tokens(request);
      for (std::size_t i = 1; i < ids.size(); ++i) {
        machine.decode(request, ids[i - 1]);
        sum += log_softmax(machine.logits(request))[static_cast<std::size_t>(ids[i])];
      }
      machine.rewind(request, own);
    }
    scores.push_back(sum);
  }
  return scores;
}

/// Everything that a run of one variant needs.
class Evaluation {
 public:
  Evaluation(engine::Model& model, std::span<const TaskItem> task, const EvalOptions& options)
      : model_(model), task_(task), options_(options) {
    for (const TaskItem& item : task) {
      prompts_.push_back({.name = item.name, .text = item.prefix + item.suffix, .max_tokens = 1});
      std::vector<std::vector<std::int32_t>> ids;
      for (const std::string& choice : item.choices) ids.push_back(model.tokenizer->encode(choice));
      choices_.push_back(std::move(ids));
      answer_tokens_.push_back(answer_tokens(*model.tokenizer, item));
    }
  }

  /// One store for all prefixes, with the layouts that the variants open.
  void build_store(std::span<const EvalVariant> variants) {
    const ModelGeometry& geometry = model_.checkpoint->geometry();
    engine::StoreGeometry stored = engine::StoreGeometry::of(geometry);
    stored.kv_type = model_.executor->kv_type();
    engine::StoreManifest manifest{
        .model = {.name = geometry.name, .fingerprint = model_.checkpoint->fingerprint(), .geometry = stored}};
    for (const EvalVariant& variant : variants) {
      const pipeline::SystemEntry& entry = pipeline::find_system(JsonValue(Json(variant.system), variant.label));
      const Json resolved = entry.resolve(JsonValue(variant.params, variant.label), options_.path);
      if (auto layout = engine::layout_of_system(variant.system, resolved, options_.path, geometry)) {
        manifest.layouts.push_back(*layout);
      }
    }
    manifest.layouts = engine::union_of_layouts(std::move(manifest.layouts));
    engine::StoreWriter writer(options_.work_folder / "store", manifest);
    std::set<std::string_view> seen;
    for (const TaskItem& item : task_) {
      if (!seen.insert(item.prefix).second || item.prefix.empty()) continue;
      engine::build_prefix(*model_.executor, writer, model_.tokenizer->encode(item.prefix));
    }
  }

  VariantResult run_full(const EvalVariant& variant) {
    const std::filesystem::path file = options_.work_folder / "importance.rimp";
    {
      engine::ImportanceRecorder recorder(
          file, {.mode = engine::RecordMode::full, .geometry = model_.checkpoint->geometry(), .probe_heads = {0}});
      VariantResult result = run(variant, 0, &recorder);
      recorder.finish();
      full_ = std::move(result);
    }
    importance_.emplace(traces::RecordedImportance::open(file));
    return full_;
  }

  VariantResult run(const EvalVariant& variant, std::size_t variant_idx,
                    engine::ImportanceRecorder* recorder = nullptr) {
    const engine::Store store = engine::Store::open(options_.work_folder / "store");
    engine::Session session(model_, &store,
                            {.system = variant.system,
                             .system_params = variant.params,
                             .path = options_.path,
                             .buffered_reads = options_.buffered_reads,
                             .keep_logits = true});
    VariantResult result{.variant = variant, .items = std::vector<ItemResult>(task_.size())};
    std::vector<KeptTokens> kept;
    for (const std::vector<std::uint32_t>& tokens : answer_tokens_)
      kept.emplace_back(importance_ ? &*importance_ : nullptr, tokens);
    engine::SessionCallbacks callbacks;
    callbacks.interrupted = options_.interrupted;
    callbacks.on_attend = [&](const pipeline::Request& request, int layer_idx, const pipeline::KvView& view) {
      kept[request.id].add(request, layer_idx, view);
    };
    callbacks.after_first_token = [&](engine::RealMachine& machine, const pipeline::Request& request,
                                      engine::RequestOutcome& outcome) {
      result.items[request.id] = judge(machine, request.id, outcome, variant_idx);
      kept[request.id].write(result.items[request.id]);
      if (options_.on_item) options_.on_item(variant_idx, request.id);
    };
    session.serve(prompts_, callbacks, recorder);
    return result;
  }

 private:
  ItemResult judge(engine::RealMachine& machine, std::uint32_t item, const engine::RequestOutcome& outcome,
                   std::size_t variant_idx) {
    const TaskItem& task = task_[item];
    ItemResult result;
    if (variant_idx == 0) full_logits_.resize(task_.size());
    if (variant_idx == 0) full_logits_[item] = outcome.first_logits;
    const std::vector<float>& full = full_logits_[item];
    result.next_token_agrees = argmax(full) == argmax(outcome.first_logits);
    result.kl_from_full = variant_idx == 0 ? 0 : kl_divergence(full, outcome.first_logits);
    const bool first_only = options_.scoring == Scoring::first_token && distinct_first_tokens(choices_[item]);
    const std::vector<double> scores = score_choices(machine, item, choices_[item], first_only);
    result.answer_log_likelihood = scores[task.answer];
    if (options_.scoring == Scoring::generate) {
      result.is_right = generates(machine, item, outcome.first_logits, choices_[item][task.answer]);
    } else {
      const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
      result.is_right = choices_[item][static_cast<std::size_t>(best)] == choices_[item][task.answer];
    }
    return result;
  }

  /// Choices that begin alike can only be told apart by their whole likelihood.
  static bool distinct_first_tokens(const std::vector<std::vector<std::int32_t>>& choices) {
    for (std::size_t i = 0; i < choices.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (choices[i] != choices[j] && choices[i].front() == choices[j].front()) return false;
      }
    }
    return true;
  }

  /// Greedy decoding writes the wanted tokens.
  bool generates(engine::RealMachine& machine, std::uint32_t request, std::span<const float> first_logits,
                 const std::vector<std::int32_t>& wanted) {
    const std::uint32_t own = machine.num_own_tokens(request);
    bool same = argmax(first_logits) == wanted.front();
    for (std::size_t i = 1; i < wanted.size() && same; ++i) {
      machine.decode(request, wanted[i - 1]);
      same = argmax(machine.logits(request)) == wanted[i];
    }
    machine.rewind(request, own);
    return same;
  }

  engine::Model& model_;
  std::span<const TaskItem> task_;
  const EvalOptions& options_;
  std::vector<engine::Prompt> prompts_;
  std::vector<std::vector<std::vector<std::int32_t>>> choices_;
  std::vector<std::vector<std::uint32_t>> answer_tokens_;
  std::vector<std::vector<float>> full_logits_;
  VariantResult full_;
  std::optional<traces::RecordedImportance> importance_;
};

}  // namespace

EvalResult evaluate(engine::Model& model, std::span<const TaskItem> task, std::span<const EvalVariant> variants,
                    const EvalOptions& options) {
  std::filesystem::create_directories(options.work_folder);
  Evaluation evaluation(model, task, options);
  std::vector<EvalVariant> all = {{.label = "full KV", .system = "attention_store"}};
  all.insert(all.end(), variants.begin(), variants.end());
  evaluation.build_store(all);
  EvalResult result;
  result.variants.push_back(evaluation.run_full(all.front()));
  for (std::size_t i = 1; i < all.size(); ++i) result.variants.push_back(evaluation.run(all[i], i));
  return result;
}

}  // namespace reprefill::study
