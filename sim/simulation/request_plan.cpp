#include "sim/simulation/request_plan.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/ranges.h>

#include "core/base/files.hpp"
#include "core/base/nearest_name.hpp"
#include "core/base/random.hpp"
#include "core/pipeline/identification.hpp"
#include "sim/simulation/store_capacity.hpp"
#include "traces/importance/recorded_importance.hpp"
#include "traces/importance/synthetic_importance.hpp"
#include "traces/workload/output_blocks.hpp"
#include "traces/workload/replay.hpp"
#include "traces/workload/trace_convert.hpp"
#include "traces/workload/trace_format.hpp"

namespace reprefill::sim {
namespace {

/// Draws prefixes by rank: P(r) proportional to 1 / (r + 1)^s.
class ZipfTable {
 public:
  ZipfTable(std::uint64_t size, double exponent) {
    double sum = 0;
    for (std::uint64_t rank = 0; rank < size; ++rank) {
      sum += std::pow(static_cast<double>(rank + 1), -exponent);
      cumulative_.push_back(sum);
    }
  }
  std::uint32_t draw(RandomStream& stream) const {
    const double target = stream.uniform() * cumulative_.back();
    const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), target);
    return static_cast<std::uint32_t>(
        std::min<std::ptrdiff_t>(found - cumulative_.begin(), std::ssize(cumulative_) - 1));
  }

 private:
  std::vector<double> cumulative_;
};

class PrefixPoolPlan final : public RequestPlan {
 public:
  PrefixPoolPlan(const Point& point, std::uint64_t num_warmup,
                 const std::function<Nanoseconds(std::uint32_t)>& recompute_time)
      : spec_(point.workload.pool),
        num_prefixes_(pool_size(point)),
        stored_tokens_(stored_tokens_of(spec_.prefix_tokens, point.store_block_tokens)),
        kv_bytes_per_token_(point.geometry.kv_bytes_per_token()) {
    RandomStream prefixes(point.seed, point.replica, "workload/prefixes");
    RandomStream suffixes(point.seed, point.replica, "workload/suffixes");
    RandomStream arrivals(point.seed, point.replica, "workload/arrivals");
    const ZipfTable zipf(num_prefixes_, spec_.popularity == Popularity::zipf ? spec_.zipf_exponent : 0.0);
    const std::uint64_t num_requests = num_warmup + spec_.measured_requests;
    double time_s = 0;
    for (std::uint64_t i = 0; i < num_requests; ++i) {
      PlannedRequest request;
      request.prefix = choose_prefix(i, num_warmup, num_requests, zipf, prefixes);
      request.prompt_tokens = spec_.prefix_tokens + draw_suffix(suffixes);
      if (spec_.arrivals != Arrivals::closed) {
        time_s += arrivals.exponential(rate(recompute_time));
        request.arrival = nanoseconds_from_seconds(time_s);
      }
      requests_.push_back(request);
    }
  }

  std::uint64_t num_requests() const override { return requests_.size(); }
  PlannedRequest planned(std::uint64_t index) const override { return requests_[index]; }
  std::uint32_t segment_tokens(SegmentId) const override { return stored_tokens_; }
  Bytes working_set() const override { return num_prefixes_ * stored_tokens_ * kv_bytes_per_token_; }
  std::uint64_t num_prefixes() const override { return num_prefixes_; }
  bool open_arrivals() const override { return spec_.arrivals != Arrivals::closed; }

  void resolve(std::uint64_t index, pipeline::Request& request, bool) override { preview(index, request); }
  void preview(std::uint64_t index, pipeline::Request& request) const override {
    const PlannedRequest& planned = requests_[index];
    request.task = planned.prefix;
    request.stored_tokens = stored_tokens_;
    if (stored_tokens_ > 0) request.stored_prefix = {{SegmentId{planned.prefix}, stored_tokens_}};
    request.prompt_tokens = planned.prompt_tokens;
    request.own_tokens = planned.prompt_tokens - stored_tokens_;
    request.hit_trace_tokens = stored_tokens_;
  }

 private:
  std::uint32_t choose_prefix(std::uint64_t index, std::uint64_t num_warmup, std::uint64_t num_requests,
                              const ZipfTable& zipf, RandomStream& stream) const {
    const bool warming = index < num_warmup && spec_.initial_cache == InitialCache::warm;
    if (warming || spec_.order == RequestOrder::interleaved || spec_.order == RequestOrder::distinct) {
      return static_cast<std::uint32_t>(index % num_prefixes_);
    }
    if (spec_.order == RequestOrder::blocked) return static_cast<std::uint32_t>(index * num_prefixes_ / num_requests);
    return zipf.draw(stream);
  }

  std::uint32_t draw_suffix(RandomStream& stream) const {
    const double mean = spec_.suffix_tokens;
    double tokens = mean;
    if (spec_.suffix_distribution == SuffixDistribution::uniform) {
      tokens = mean * (1 + spec_.suffix_spread * (2 * stream.uniform() - 1));
    } else if (spec_.suffix_distribution == SuffixDistribution::lognormal) {
      tokens = mean * std::exp(stream.normal(0, spec_.suffix_spread));
    }
    return static_cast<std::uint32_t>(std::clamp(std::round(tokens), 1.0, 1e6));
  }

  double rate(const std::function<Nanoseconds(std::uint32_t)>& recompute_time) const {
    if (spec_.arrivals == Arrivals::poisson) return spec_.rate_per_s;
    return spec_.target_utilisation / to_seconds(recompute_time(spec_.prefix_tokens + spec_.suffix_tokens));
  }

  PrefixPoolSpec spec_;
  std::uint64_t num_prefixes_;
  std::uint32_t stored_tokens_;
  Bytes kv_bytes_per_token_;
  std::vector<PlannedRequest> requests_;
};

class TracePlan final : public RequestPlan {
 public:
  TracePlan(const Point& point, std::shared_ptr<const traces::RequestTrace> trace,
            const std::function<Nanoseconds(std::uint32_t)>& recompute_time)
      : spec_(point.workload.trace),
        trace_(std::move(trace)),
        tree_(trace_->block_tokens()),
        store_(spec_.ssd_capacity),
        store_block_tokens_(point.store_block_tokens),
        kv_bytes_per_token_(point.geometry.kv_bytes_per_token()) {
    if (trace_->block_tokens() % store_block_tokens_ != 0) {
      throw ConfigError(fmt::format(
          "store_block_tokens: found {}; it must divide the trace's blocks of {} tokens or be a multiple of them",
          store_block_tokens_, trace_->block_tokens()));
    }
    traces::ReplayOptions options{.over_limit = spec_.over_limit,
                                  .time_scale = spec_.time_scale,
                                  .num_replicas = static_cast<std::uint32_t>(spec_.num_replicas)};
    options.context_limit_tokens = context_limit(point);
    replay_ = traces::prepare_replay(*trace_, options);
    if (spec_.target_utilisation) {
      factor_ = traces::scale_to_utilisation(
          replay_.requests, *spec_.target_utilisation, options.num_replicas,
          [&](const traces::TraceRequest& request) { return to_seconds(recompute_time(request.input_tokens)); });
    }
    for (const traces::ReplayRequest& request : replay_.requests) {
      if (request.replica_idx != static_cast<std::uint32_t>(spec_.replica)) continue;
      if (spec_.max_requests > 0 && mine_.size() >= spec_.max_requests) break;
      mine_.push_back(&request);
    }
    if (mine_.empty()) throw ConfigError("workload.file: no request of the trace is left to replay");
    if (spec_.append == Append::suffix_and_output) find_outputs();
    count_working_set();
  }

  std::uint64_t num_requests() const override { return mine_.size(); }
  PlannedRequest planned(std::uint64_t index) const override {
    const traces::TraceRequest& request = mine_[index]->request;
    return {.arrival = request.arrival,
            .prompt_tokens = request.input_tokens,
            .output_tokens = request.output_tokens,
            .prefix = 0,
            .block_ids = request.block_ids};
  }
  std::uint32_t segment_tokens(SegmentId segment) const override {
    return tree_.contains(segment) ? tree_.info(segment).num_tokens : 0;
  }
  Bytes working_set() const override { return working_set_; }
  std::uint64_t num_prefixes() const override { return mine_.size(); }
  bool open_arrivals() const override { return true; }
  std::uint64_t num_dropped() const override { return replay_.num_dropped; }
  std::uint64_t num_truncated() const override { return replay_.num_truncated; }
  std::optional<double> time_factor() const override { return factor_; }

  void resolve(std::uint64_t index, pipeline::Request& request, bool system_prunes) override {
    const cache::Match stored = find_stored(index, request);
    store_.begin_use(index, stored.path);
    count_approximate_tokens(request);
    if (spec_.append != Append::none) append_blocks(index, request, system_prunes);
  }
  void finished(std::uint64_t index) override { store_.end_use(index, tree_); }
  std::uint64_t num_segments_removed() const override { return store_.num_removed(); }
  std::uint64_t num_segments_not_stored() const override { return store_.num_refused(); }
  void preview(std::uint64_t index, pipeline::Request& request) const override { find_stored(index, request); }

 private:
  std::span<const std::uint64_t> full_blocks(std::uint64_t index) const {
    const traces::TraceRequest& planned = mine_[index]->request;
    return planned.block_ids.first(planned.input_tokens / trace_->block_tokens());
  }

  cache::Match find_stored(std::uint64_t index, pipeline::Request& request) const {
    const traces::TraceRequest& planned = mine_[index]->request;
    request.prompt_tokens = planned.input_tokens;
    // Turns of one conversation share the second block; a prompt without a whole block shares nothing.
    request.task = planned.block_ids.empty()
                       ? mix64(index)
                       : planned.block_ids[std::min<std::size_t>(1, planned.block_ids.size() - 1)];
    cache::Match stored = tree_.match(full_blocks(index));
    request.stored_prefix = stored.path;
    request.stored_tokens = stored.num_tokens;
    request.hit_trace_tokens = stored.num_tokens;
    if (request.stored_tokens == request.prompt_tokens) recompute_last_block(request);
    request.own_tokens = request.prompt_tokens - request.stored_tokens;
    return stored;
  }

  void count_approximate_tokens(pipeline::Request& request) const {
    for (const SegmentSpan& span : request.stored_prefix) {
      if (is_approximate_[span.segment.value]) request.account.approximate_tokens_reused += span.num_tokens;
    }
  }

  /// Stores the full blocks of the prompt, and of the output if so asked, that are not stored yet and have room.
  void append_blocks(std::uint64_t index, pipeline::Request& request, bool system_prunes) {
    const std::span<const std::uint64_t> full = full_blocks(index);
    std::vector<std::uint64_t> blocks(full.begin(), full.end());
    if (!outputs_.empty()) blocks.insert(blocks.end(), outputs_[index].begin(), outputs_[index].end());
    const cache::Match stored = tree_.match(blocks);
    const auto fresh = std::span<const std::uint64_t>(blocks).subspan(stored.num_blocks);
    if (fresh.empty()) return;
    const Bytes size = fresh.size() * trace_->block_tokens() * kv_bytes_per_token_;
    if (!store_.make_room(size, tree_)) return;
    const SegmentId segment = tree_.insert(stored, fresh);
    store_.add(index, segment, size);
    const pipeline::NewKvOrigin origin = pipeline::origin_of_new_kv(request, system_prunes, spec_.append_kv);
    is_approximate_.resize(segment.value + 1);
    is_approximate_[segment.value] = origin.approximate;
    const auto end = static_cast<std::uint32_t>(blocks.size() * trace_->block_tokens());
    request.append =
        pipeline::AppendPlan{.segment = segment,
                             .num_tokens = tree_.info(segment).num_tokens,
                             .recompute_tokens = origin.recomputed ? std::max(request.prompt_tokens, end) : 0};
  }

  void find_outputs() {
    std::vector<traces::TraceRequest> requests;
    for (const traces::ReplayRequest* request : mine_) requests.push_back(request->request);
    outputs_ = traces::output_block_ids(requests, trace_->block_tokens());
  }

  /// At least one token must be computed: a prompt that is stored to its end computes its last store block again.
  void recompute_last_block(pipeline::Request& request) const {
    request.stored_tokens -= store_block_tokens_;
    SegmentSpan& last = request.stored_prefix.back();
    last.num_tokens -= store_block_tokens_;
    if (last.num_tokens == 0) request.stored_prefix.pop_back();
  }

  std::optional<std::uint32_t> context_limit(const Point& point) const {
    if (spec_.context_limit.count) return spec_.context_limit.count;
    if (spec_.context_limit.choice == ContextLimit::trace) return std::nullopt;
    return static_cast<std::uint32_t>(point.geometry.max_position_embeddings);
  }

  void count_working_set() {
    cache::SegmentTree seen(trace_->block_tokens());
    std::uint64_t tokens = 0;
    for (std::size_t i = 0; i < mine_.size(); ++i) {
      const traces::TraceRequest& request = mine_[i]->request;
      const auto full = request.block_ids.first(request.input_tokens / trace_->block_tokens());
      std::vector<std::uint64_t> blocks(full.begin(), full.end());
      if (!outputs_.empty()) blocks.insert(blocks.end(), outputs_[i].begin(), outputs_[i].end());
      const cache::Match match = seen.match(blocks);
      const auto fresh = std::span<const std::uint64_t>(blocks).subspan(match.num_blocks);
      if (fresh.empty()) continue;
      seen.insert(match, fresh);
      tokens += fresh.size() * trace_->block_tokens();
    }
    working_set_ = tokens * kv_bytes_per_token_;
  }

  TraceSpec spec_;
  std::shared_ptr<const traces::RequestTrace> trace_;
  traces::Replay replay_;
  std::vector<const traces::ReplayRequest*> mine_;
  cache::SegmentTree tree_;
  StoreCapacity store_;
  std::vector<bool> is_approximate_;                 // by segment
  std::vector<std::vector<std::uint64_t>> outputs_;  // of each request; empty unless outputs are stored
  std::uint32_t store_block_tokens_;
  Bytes kv_bytes_per_token_;
  Bytes working_set_;
  std::optional<double> factor_;
};

}  // namespace

bool decodes(const Point& point) { return point.workload.is_trace && point.workload.trace.decode == Decode::occupancy; }

std::uint32_t stored_tokens_of(std::uint32_t prefix_tokens, std::uint32_t store_block_tokens) {
  return prefix_tokens / store_block_tokens * store_block_tokens;
}

std::uint64_t pool_size(const Point& point) {
  const PrefixPoolSpec& pool = point.workload.pool;
  if (pool.num_prefixes > 0) return pool.num_prefixes;
  constexpr std::uint64_t kDefaultGpuCache = 10'000'000'000;
  const std::uint64_t gpu_cache = point.system_params.value("gpu_cache_bytes", kDefaultGpuCache);
  const Bytes prefix = std::max(1u, stored_tokens_of(pool.prefix_tokens, point.store_block_tokens)) *
                       point.geometry.kv_bytes_per_token();
  return std::max<std::uint64_t>(1, 20 * gpu_cache / prefix.value);
}

std::filesystem::path SharedInputs::find_trace(const std::string& file, const std::string& origin) const {
  constexpr std::string_view kVariable = "$REPREFILL_TRACES/";
  if (file.starts_with(kVariable)) {
    if (context_.traces.empty()) {
      throw ConfigError(
          fmt::format("{}: workload.file: {} needs REPREFILL_TRACES to name the folder of public traces "
                      "(../shared/traces was not found either)",
                      origin, file));
    }
    return context_.traces / file.substr(kVariable.size());
  }
  for (const std::filesystem::path& candidate :
       {std::filesystem::path(file), std::filesystem::path(origin).parent_path() / file, context_.samples / file}) {
    if (path_exists(candidate)) return candidate;
  }
  throw ConfigError(fmt::format("{}: workload.file: no file \"{}\" here, beside the scenario, or in {}", origin, file,
                                context_.samples.string()));
}

std::shared_ptr<const traces::RequestTrace> SharedInputs::trace(const Point& point) {
  const TraceSpec& spec = point.workload.trace;
  const std::filesystem::path path = find_trace(spec.file, point.origin);
  const traces::TraceReadOptions options{.format = spec.format,
                                         .block_tokens = spec.block_tokens,
                                         .agentic = {.conversations_per_s = spec.conversations_per_s,
                                                     .seed = combine64(point.seed, point.replica),
                                                     .share_prefix = spec.share_prefix}};
  // Of the seed only the starts of conversations depend.
  const std::uint64_t seed = spec.format == traces::TraceFormat::agentic ? options.agentic.seed : 0;
  const std::string key =
      fmt::format("{}|{}|{}|{}|{}|{}|{}", path.string(), enum_name(spec.format), spec.block_tokens.value_or(0),
                  spec.conversations_per_s, enum_name(spec.share_prefix), seed, point.store_block_tokens);
  const std::lock_guard lock(mutex_);
  auto& trace = traces_[key];
  if (trace) return trace;
  auto read = std::make_shared<traces::RequestTrace>(traces::read_trace(path, options));
  const std::uint32_t blocks = read->block_tokens();
  if (blocks < point.store_block_tokens && point.store_block_tokens % blocks == 0) {
    *read = traces::with_blocks_of(*read, point.store_block_tokens);
  }
  trace = std::move(read);
  return trace;
}

std::shared_ptr<const traces::ImportanceSource> SharedInputs::importance(const Point& point) {
  const std::vector<int> probe_heads = pipeline::probe_heads_of(point.system_params, point.geometry);
  traces::ImportanceHeads heads{.num_kv_heads = point.geometry.num_kv_heads, .probe_kv_heads = {}};
  for (const int head : probe_heads) heads.probe_kv_heads.push_back(head / point.geometry.group_size());
  const std::uint64_t seed = combine64(point.seed, combine64(point.replica, hash_name("importance")));
  const std::string key =
      fmt::format("{}|{}|{}|{}|{}|{}", point.importance.kind, point.importance.preset, point.importance.file, seed,
                  heads.num_kv_heads, fmt::join(heads.probe_kv_heads, ","));
  const std::lock_guard lock(mutex_);
  auto& source = importance_[key];
  if (source) return source;
  if (point.importance.kind == "recorded") {
    source = std::make_shared<traces::RecordedImportance>(traces::RecordedImportance::open(point.importance.file));
  } else {
    source = std::make_shared<traces::SyntheticImportance>(
        traces::importance_preset(point.importance.preset, point.origin + ": importance.preset").params, heads, seed);
  }
  return source;
}

std::string SharedInputs::trace_digest(const Point& point) {
  if (!point.workload.is_trace) return "";
  const std::shared_ptr<const traces::RequestTrace> requests = trace(point);
  std::uint64_t digest = requests->size();
  for (const traces::TraceRequest& request : requests->requests()) {
    digest = combine64(digest, static_cast<std::uint64_t>(request.arrival.value));
    digest = combine64(digest, request.input_tokens);
    for (const std::uint64_t block : request.block_ids) digest = combine64(digest, block);
  }
  return fmt::format("{:016x}", digest);
}

std::unique_ptr<RequestPlan> make_request_plan(const Point& point, std::uint64_t num_warmup, SharedInputs& inputs,
                                               const std::function<Nanoseconds(std::uint32_t)>& recompute_time) {
  if (!point.workload.is_trace) return std::make_unique<PrefixPoolPlan>(point, num_warmup, recompute_time);
  return std::make_unique<TracePlan>(point, inputs.trace(point), recompute_time);
}

}  // namespace reprefill::sim
