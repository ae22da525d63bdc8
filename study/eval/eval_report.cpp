#include "study/eval/eval_report.hpp"

#include <algorithm>
#include <map>
#include <numeric>

namespace reprefill::study {
namespace {

using Items = std::vector<std::size_t>;

/// "all" first, then the kinds in order of appearance.
std::vector<std::pair<std::string, Items>> items_by_kind(std::span<const TaskItem> task) {
  std::vector<std::pair<std::string, Items>> kinds = {{"all", {}}};
  for (std::size_t i = 0; i < task.size(); ++i) {
    kinds.front().second.push_back(i);
    if (task[i].kind.empty()) continue;
    auto found =
        std::find_if(kinds.begin() + 1, kinds.end(), [&](const auto& kind) { return kind.first == task[i].kind; });
    if (found == kinds.end()) found = kinds.insert(kinds.end(), {task[i].kind, {}});
    found->second.push_back(i);
  }
  return kinds;
}

/// Questions on one prefix belong together.
std::vector<std::size_t> clusters_of(std::span<const TaskItem> task, const Items& items) {
  std::map<std::string_view, std::size_t> numbers;
  std::vector<std::size_t> clusters;
  for (const std::size_t i : items) clusters.push_back(numbers.emplace(task[i].prefix, numbers.size()).first->second);
  return clusters;
}

class VariantReport {
 public:
  VariantReport(const VariantResult& full, const VariantResult& variant, std::span<const TaskItem> task,
                std::uint64_t seed)
      : full_(full), variant_(variant), task_(task), seed_(seed) {}

  Json make(const std::string& kind, const Items& items) const {
    std::uint64_t right = 0, only_full = 0, only_variant = 0;
    for (const std::size_t i : items) {
      const bool mine = variant_.items[i].is_right, theirs = full_.items[i].is_right;
      right += mine;
      only_full += theirs && !mine;
      only_variant += mine && !theirs;
    }
    const Interval accuracy = wilson_interval(right, items.size());
    Json json = Json::object();
    json["kind"] = kind;
    json["items"] = items.size();
    json["accuracy"] = static_cast<double>(right) / static_cast<double>(items.size());
    json["accuracy_low"] = accuracy.low;
    json["accuracy_high"] = accuracy.high;
    json["right_only_with_full_kv"] = only_full;
    json["right_only_here"] = only_variant;
    json["mcnemar_p"] = mcnemar_p_value(only_full, only_variant);
    add_mean(json, "next_token_agreement", items, [](const ItemResult& r) { return r.next_token_agrees ? 1.0 : 0.0; });
    add_mean(json, "kl_from_full_nats", items, [](const ItemResult& r) { return r.kl_from_full; });
    add_change(json, items);
    add_mean(json, "attention_mass_kept", items, [](const ItemResult& r) { return r.attention_mass_kept; });
    add_mean(json, "attention_mass_kept_worst_layer", items,
             [](const ItemResult& r) { return r.attention_mass_worst; });
    add_mean(json, "chosen_recall", items, [](const ItemResult& r) { return r.chosen_recall; });
    return json;
  }

  /// Mean over items that name where their answer lies.
  Json recall(const Items& items, int period_layers) const {
    std::vector<double> by_layer, by_distance(static_cast<std::size_t>(period_layers), 0);
    std::vector<double> distance_count(by_distance.size(), 0);
    std::size_t count = 0;
    for (const std::size_t i : items) {
      const std::vector<double>& recall = variant_.items[i].answer_recall;
      if (recall.empty()) continue;
      ++count;
      by_layer.resize(recall.size(), 0);
      for (std::size_t layer = 0; layer < recall.size(); ++layer) {
        by_layer[layer] += recall[layer];
        by_distance[layer % by_distance.size()] += recall[layer];
        distance_count[layer % by_distance.size()] += 1;
      }
    }
    if (count == 0) return nullptr;
    for (double& value : by_layer) value /= static_cast<double>(count);
    for (std::size_t d = 0; d < by_distance.size(); ++d) {
      if (distance_count[d] > 0) by_distance[d] /= distance_count[d];
    }
    return {{"items", count}, {"by_layer", by_layer}, {"by_distance_from_leader", by_distance}};
  }

 private:
  template <typename Value>
  void add_mean(Json& json, const std::string& key, const Items& items, Value&& value) const {
    std::vector<double> values;
    for (const std::size_t i : items) values.push_back(value(variant_.items[i]));
    add_values(json, key, items, values);
  }
  void add_change(Json& json, const Items& items) const {
    std::vector<double> values;
    for (const std::size_t i : items) {
      values.push_back(variant_.items[i].answer_log_likelihood - full_.items[i].answer_log_likelihood);
    }
    add_values(json, "answer_log_likelihood_change", items, values);
  }
  void add_values(Json& json, const std::string& key, const Items& items, std::span<const double> values) const {
    const Interval interval = cluster_bootstrap_mean(values, clusters_of(task_, items), seed_);
    json[key] = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
    json[key + "_low"] = interval.low;
    json[key + "_high"] = interval.high;
  }

  const VariantResult& full_;
  const VariantResult& variant_;
  std::span<const TaskItem> task_;
  std::uint64_t seed_;
};

std::string with_interval(const Json& entry, const std::string& key, double scale, const char* form) {
  const auto number = [&](const std::string& name) {
    return fmt::format(fmt::runtime(form), entry.at(name).get<double>() * scale);
  };
  return fmt::format("{} ({} to {})", number(key), number(key + "_low"), number(key + "_high"));
}

}  // namespace

Json report_evaluation(const EvalResult& result, std::span<const TaskItem> task, std::uint64_t seed) {
  Json json = {{"schema_version", 1}, {"intervals", "95 %: Wilson for accuracy, else bootstrap over prefixes"}};
  json["variants"] = Json::array();
  const auto kinds = items_by_kind(task);
  for (const VariantResult& variant : result.variants) {
    const VariantReport report(result.variants.front(), variant, task, seed);
    Json entry = {{"label", variant.variant.label},
                  {"system", variant.variant.system},
                  {"params", variant.variant.params},
                  {"by_kind", Json::array()}};
    for (const auto& [kind, items] : kinds) entry["by_kind"].push_back(report.make(kind, items));
    entry["answer_recall"] = report.recall(kinds.front().second, result.period_layers);
    json["variants"].push_back(std::move(entry));
  }
  return json;
}

TextTable evaluation_table(const Json& report) {
  TextTable table({"system", "kind", "items", "accuracy, %", "p", "same next token, %", "KL, nats", "answer, nats",
                   "mass kept, %"});
  for (const Json& variant : report.at("variants")) {
    for (const Json& entry : variant.at("by_kind")) {
      table.add_row({variant.at("label").get<std::string>(), entry.at("kind").get<std::string>(),
                     entry.at("items").dump(), with_interval(entry, "accuracy", 100, "{:.1f}"),
                     fmt::format("{:.2g}", entry.at("mcnemar_p").get<double>()),
                     fmt::format("{:.1f}", 100 * entry.at("next_token_agreement").get<double>()),
                     fmt::format("{:.4f}", entry.at("kl_from_full_nats").get<double>()),
                     fmt::format("{:+.3f}", entry.at("answer_log_likelihood_change").get<double>()),
                     fmt::format("{:.1f}", 100 * entry.at("attention_mass_kept").get<double>())});
    }
  }
  return table;
}

}  // namespace reprefill::study
