// The scenario's workload: which requests arrive, and when (semantics 7).
#pragma once

#include <optional>
#include <string>

#include "core/base/params.hpp"
#include "core/pipeline/append.hpp"
#include "traces/workload/replay.hpp"
#include "traces/workload/trace_format.hpp"

namespace reprefill::sim {

enum class Popularity : std::uint8_t { uniform, zipf };
enum class RequestOrder : std::uint8_t { random, interleaved, blocked, distinct };
enum class Arrivals : std::uint8_t { closed, poisson, target_utilisation };
enum class InitialCache : std::uint8_t { cold, warm, steady };
enum class SuffixDistribution : std::uint8_t { constant, uniform, lognormal };
enum class Decode : std::uint8_t { ignore, occupancy };
enum class ContextLimit : std::uint8_t { trace, model };  // none but the trace's own; the model's position limit
using pipeline::Append;
using pipeline::AppendKv;
using traces::OverLimit;
enum class PoolPreset : std::uint8_t { sst2, subj, trec, rte, rag, long_document_qa, custom };

/// Requests on a pool of stored prefixes.
struct PrefixPoolSpec {
  PoolPreset preset = PoolPreset::custom;
  std::uint64_t num_prefixes = 0;  // 0: the default working set, 20 times the GPU tier [A13]
  std::uint32_t prefix_tokens = 6011;
  std::uint32_t suffix_tokens = 48;
  SuffixDistribution suffix_distribution = SuffixDistribution::constant;
  double suffix_spread = 0.25;
  Popularity popularity = Popularity::zipf;
  double zipf_exponent = 0.9;
  RequestOrder order = RequestOrder::random;
  Arrivals arrivals = Arrivals::closed;
  int in_flight = 1;
  double rate_per_s = 1;
  double target_utilisation = 0.5;
  InitialCache initial_cache = InitialCache::steady;
  std::optional<std::uint64_t> warmup_requests;  // null: until the tiers are full, 2 x num_prefixes at most
  std::uint64_t measured_requests = 500;
};

/// Replay of a recorded or generated request trace.
struct TraceSpec {
  std::string file;
  traces::TraceFormat format = traces::TraceFormat::mooncake;
  std::optional<std::uint32_t> block_tokens;
  double conversations_per_s = traces::AgenticOptions{}.conversations_per_s;
  traces::SharePrefix share_prefix = traces::SharePrefix::none;
  double time_scale = 1;
  std::optional<double> target_utilisation;
  int num_replicas = 1;
  int replica = 0;
  int max_in_flight = 1;
  ChoiceOrCount<ContextLimit> context_limit;
  OverLimit over_limit = OverLimit::drop;
  Append append = Append::suffix;
  AppendKv append_kv = AppendKv::as_computed;
  Decode decode = Decode::ignore;
  Bytes ssd_capacity{0};           // 0: no limit
  std::uint64_t max_requests = 0;  // 0: all
};

struct WorkloadSpec {
  bool is_trace = false;
  PrefixPoolSpec pool;
  TraceSpec trace;
  Json resolved;

  int max_in_flight() const { return is_trace ? trace.max_in_flight : pool.in_flight; }
};

const ParamTable<PrefixPoolSpec>& prefix_pool_params();
const ParamTable<TraceSpec>& trace_params();
WorkloadSpec read_workload(const JsonValue& value);

}  // namespace reprefill::sim

namespace reprefill {
template <>
struct EnumNames<sim::Popularity> {
  static constexpr std::pair<const char*, sim::Popularity> names[] = {{"uniform", sim::Popularity::uniform},
                                                                      {"zipf", sim::Popularity::zipf}};
};
template <>
struct EnumNames<sim::RequestOrder> {
  static constexpr std::pair<const char*, sim::RequestOrder> names[] = {{"random", sim::RequestOrder::random},
                                                                        {"interleaved", sim::RequestOrder::interleaved},
                                                                        {"blocked", sim::RequestOrder::blocked},
                                                                        {"distinct", sim::RequestOrder::distinct}};
};
template <>
struct EnumNames<sim::Arrivals> {
  static constexpr std::pair<const char*, sim::Arrivals> names[] = {
      {"closed", sim::Arrivals::closed},
      {"poisson", sim::Arrivals::poisson},
      {"target_utilisation", sim::Arrivals::target_utilisation}};
};
template <>
struct EnumNames<sim::InitialCache> {
  static constexpr std::pair<const char*, sim::InitialCache> names[] = {
      {"cold", sim::InitialCache::cold}, {"warm", sim::InitialCache::warm}, {"steady", sim::InitialCache::steady}};
};
template <>
struct EnumNames<sim::SuffixDistribution> {
  static constexpr std::pair<const char*, sim::SuffixDistribution> names[] = {
      {"constant", sim::SuffixDistribution::constant},
      {"uniform", sim::SuffixDistribution::uniform},
      {"lognormal", sim::SuffixDistribution::lognormal}};
};
template <>
struct EnumNames<sim::Decode> {
  static constexpr std::pair<const char*, sim::Decode> names[] = {{"ignore", sim::Decode::ignore},
                                                                  {"occupancy", sim::Decode::occupancy}};
};
template <>
struct EnumNames<sim::ContextLimit> {
  static constexpr std::pair<const char*, sim::ContextLimit> names[] = {{"trace", sim::ContextLimit::trace},
                                                                        {"model", sim::ContextLimit::model}};
};
template <>
struct EnumNames<sim::PoolPreset> {
  static constexpr std::pair<const char*, sim::PoolPreset> names[] = {
      {"sst2", sim::PoolPreset::sst2},    {"subj", sim::PoolPreset::subj},
      {"trec", sim::PoolPreset::trec},    {"rte", sim::PoolPreset::rte},
      {"rag", sim::PoolPreset::rag},      {"long_document_qa", sim::PoolPreset::long_document_qa},
      {"custom", sim::PoolPreset::custom}};
};
}  // namespace reprefill
