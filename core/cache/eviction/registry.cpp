#include "core/cache/eviction/registry.hpp"

#include "core/base/nearest_name.hpp"
#include "core/cache/eviction/makers.hpp"

namespace reprefill::cache {
namespace {

ParamInfo score_table_entries_info() {
  return {.name = "score_table_entries",
          .doc =
              "limit on pieces whose score is remembered; the longest unselected absent one is dropped, resident "
              "ones never",
          .source = "ours: four times the pieces of the default tiers (Qwen2.5-7B, 16-token chunks)",
          .unit = "pieces",
          .minimum = 1,
          .maximum = 1 << kSlotBits};
}

ParamTable<ScoreTableParams> score_table_params() {
  ParamTable<ScoreTableParams> table;
  table.add(&ScoreTableParams::score_table_entries, score_table_entries_info());
  return table;
}

ParamTable<ImportanceFrequencyParams> importance_frequency_params() {
  using P = ImportanceFrequencyParams;
  ParamTable<P> table;
  table
      .add(&P::share_average,
           {.name = "share_average",
            .doc = "how the important share is averaged over accesses: all alike, or later ones more",
            .source = "reference 3.2: a moving average of unpublished weight; the lineage prototype's is the mean"})
      .add(&P::share_weight, {.name = "share_weight",
                              .doc = "weight of the newest access with share_average = exponential",
                              .source = "assumption",
                              .minimum = 0,
                              .maximum = 1})
      .add(&P::score_table_entries, score_table_entries_info());
  return table;
}

ParamTable<S3FifoParams> s3_fifo_params() {
  using P = S3FifoParams;
  ParamTable<P> table;
  table
      .add(&P::small_share, {.name = "small_share",
                             .doc = "part of a tier's pieces that the small queue holds before it gives victims",
                             .source = "Yang et al. 2023: 10 %",
                             .maximum = 1})
      .add(&P::score_table_entries, score_table_entries_info());
  return table;
}

template <typename Params>
PolicyInfo row(std::string name, std::string doc, std::string source, const ParamTable<Params>& table,
               std::unique_ptr<EvictionPolicy> (*make)(const Params&)) {
  const auto read = [table](const JsonValue& json) {
    Params params;
    table.read(json, params);
    return params;
  };
  return {.name = std::move(name),
          .doc = std::move(doc),
          .source = std::move(source),
          .parameters = table.infos(),
          .resolve = [table, read](const JsonValue& json) { return table.write(read(json)); },
          .make = [make, read](const JsonValue& json) { return make(read(json)); }};
}

const std::vector<PolicyInfo>& table() {
  static const std::vector<PolicyInfo> rows = {
      row("lru", "least recently used; always admits", "reference 3.1: AS+LRU", ParamTable<NoParams>{}, make_lru),
      row("lfu", "least often looked up; admits what is looked up more often than the minimum",
          "reference 3.2: AS+H2O+LFU", score_table_params(), make_lfu),
      row("s3_fifo", "small, main and ghost FIFO queues; always admits", "Yang et al., SOSP 2023", s3_fifo_params(),
          make_s3_fifo),
      row("arc", "recent and frequent pieces in two lists whose lengths adapt; always admits",
          "Megiddo & Modha, FAST 2003", score_table_params(), make_arc),
      row("importance_frequency", "accesses x mean share of important tokens", "reference 3.2: IMPRESS",
          importance_frequency_params(), make_importance_frequency),
      row("attention_guided", "cumulative attention x loads from SSD", "reference 3.1: ContiguousKV",
          score_table_params(), make_attention_guided),
  };
  return rows;
}

}  // namespace

std::span<const PolicyInfo> eviction_policies() { return table(); }

const PolicyInfo* find_eviction_policy(std::string_view name) {
  for (const PolicyInfo& policy : table()) {
    if (policy.name == name) return &policy;
  }
  return nullptr;
}

const PolicyInfo& read_eviction_policy(const JsonValue& name) {
  const std::string found = name.as_string();
  if (const PolicyInfo* policy = find_eviction_policy(found)) return *policy;
  std::vector<std::string> known;
  for (const PolicyInfo& policy : table()) known.push_back(policy.name);
  name.fail(fmt::format("no eviction policy \"{}\"{}", found, nearest_and_allowed(found, known)));
}

std::unique_ptr<EvictionPolicy> make_eviction_policy(std::string_view name) {
  const Json no_params = Json::object();
  return make_eviction_policy(name, JsonValue(no_params, "defaults"));
}

std::unique_ptr<EvictionPolicy> make_eviction_policy(std::string_view name, const JsonValue& params) {
  const PolicyInfo* policy = find_eviction_policy(name);
  REPREFILL_CHECK(policy != nullptr, "no eviction policy \"{}\"", name);
  return policy->make(params);
}

}  // namespace reprefill::cache
