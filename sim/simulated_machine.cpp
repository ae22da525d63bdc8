#include "sim/simulated_machine.hpp"

#include <algorithm>

#include "sim/simulated_operations.hpp"

namespace reprefill::sim {

using namespace pipeline;

namespace {

Noise noise_of(const SimulatedMachineOptions& options, double sigma, CommonTerm CommonMode::*common,
               const char* device) {
  if (!options.noise) return {};
  const bool has_common = options.model_error && options.profile->common_mode.has_value();
  Noise noise(sigma, options.seed, options.replica, device,
              options.model_error && !has_common ? Noise::Spread::and_model_error : Noise::Spread::each_operation);
  if (has_common) {
    noise.set_model_error(options.profile->common_mode->factor(common, options.seed, options.replica));
  }
  return noise;
}

}  // namespace

SimulatedMachine::SimulatedMachine(Simulation& simulation, const SimulatedMachineOptions& options,
                                   MachineObserver& observer)
    : simulation_(simulation),
      options_(options),
      observer_(observer),
      model_(options.profile->gpu, *options.geometry),
      costs_(*options.geometry),
      interference_(simulation, options.profile->interference),
      gpu_noise_(noise_of(options, options.profile->gpu.residual_sigma, &CommonMode::gpu, "noise/gpu")),
      link_noise_(noise_of(options, options.profile->link.residual_sigma, &CommonMode::link, "noise/link")),
      ssd_(interference_, options.profile->ssd, options.profile->host, *options.path,
           noise_of(options, options.profile->ssd.residual_sigma, &CommonMode::ssd, "noise/ssd")),
      gpu_(interference_, Activity::gemm),
      host_to_gpu_(interference_, {Activity::h2d, Activity::gather}),
      gpu_to_host_(interference_, Activity::d2h),
      host_memory_(interference_, Activity::h2d),
      host_thread_(interference_, Activity::h2d),
      staging_free_(options.staging) {}

SimulatedMachine::~SimulatedMachine() = default;

void SimulatedMachine::begin(OpState& op) {
  auto& work = dynamic_cast<Work&>(op);
  work.ready = true;
  work.span.ready = std::max(simulation_.now(), work.in_stream || driver_issues_ ? work.issued_at : driver_free_at_);
  occupancy_.enter(work.span);
  run_when_issued(work);
}

void SimulatedMachine::run_when_issued(Work& work) {
  const Nanoseconds wake = work.is_on_a_lane() ? options_.profile->host.driver.start : Nanoseconds{0};
  const Nanoseconds at = work.span.ready + wake;
  if (at == simulation_.now()) return work.run();
  simulation_.schedule(work.handling, at);
}

void SimulatedMachine::charge_driver(Work& work, std::uint64_t num_pieces) {
  const DriverCosts& driver = options_.profile->host.driver;
  const Nanoseconds cost = driver.per_operation + driver.per_piece * static_cast<std::int64_t>(num_pieces);
  if (cost.value > 0) driver_free_at_ = std::max(driver_free_at_, simulation_.now()) + cost;
  work.issued_at = driver_free_at_;
}

void SimulatedMachine::finish(OpState& op, Work& work) {
  work.span.end = simulation_.now();
  busy_[static_cast<std::size_t>(work.span.resource)].end(work.span.end);
  occupancy_.leave(work.span);
  observer_.on_span(work.span);
  if (work.in_stream) return complete(op);
  const Nanoseconds heard = heard_at(op);
  if (heard == simulation_.now()) return hear(op);
  work.handling.is_over = true;
  simulation_.schedule(work.handling, heard);
}

void SimulatedMachine::driver_listens() {
  while (!driver_listens_at_.empty() && driver_listens_at_.front() < simulation_.now()) driver_listens_at_.pop_front();
  if (driver_free_at_ > simulation_.now()) driver_listens_at_.push_back(driver_free_at_);
}

Nanoseconds SimulatedMachine::heard_at(const OpState& op) const {
  // The way of host work back to a GPU is in selection_cost and first_token_cost.
  const DriverCosts& driver = options_.profile->host.driver;
  const Nanoseconds notice = driver.streams && op.kind() != OpKind::read ? Nanoseconds{0} : driver.notice;
  const Nanoseconds noticed = simulation_.now() + notice;
  if (op.kind() == OpKind::host) {
    const auto listens = std::ranges::lower_bound(driver_listens_at_, noticed);
    if (listens != driver_listens_at_.end()) return *listens;
  }
  return std::max(noticed, driver_free_at_);
}

void SimulatedMachine::hear(OpState& op) {
  driver_issues_ = op.kind() == OpKind::host && std::ranges::binary_search(driver_listens_at_, simulation_.now());
  complete(op);
  driver_issues_ = false;
}

Nanoseconds SimulatedMachine::busy_time(record::Resource resource) const {
  return busy_[static_cast<std::size_t>(resource)].until(simulation_.now());
}

// ---- compute ----

Op SimulatedMachine::project(OpContext context, TokenRange range, const Deps& deps) {
  auto op = make_op<LaneWork>(OpKind::project, context, record::Operation::project, record::Resource::gpu_compute);
  op->lane = &gpu_;
  const Nanoseconds launch = range.first == 0 ? options_.path->launch_overhead_per_layer : Nanoseconds{0};
  const bool begins = context.layer_idx == 0 && range.first == 0;
  op->duration =
      gpu_noise_.apply(launch + model_.project(range.count) + (begins ? model_.begin(range.count) : Nanoseconds{0}));
  charge_driver(*op, 0);
  if (!options_.stream_weights) {
    issue(op, deps);
    return op;
  }
  Deps all = deps;
  if (range.first == 0) {
    all.add(stream_weights(context, options_.geometry->layer_weight_bytes()));
    last_projection_[context.request] = op;
  }
  issue(op, all);
  return op;
}

/// Queries, own keys and the digest go to host memory, and the GPU waits.
Nanoseconds SimulatedMachine::score_on_host(const Request& request, const ScoreSpec& spec) const {
  const ModelGeometry& geometry = *options_.geometry;
  const LinkProfile& link = options_.profile->link;
  const std::uint64_t own = request.own_tokens, stored = request.stored_tokens;
  const std::uint64_t rows = key_digest_rows(spec.digest, spec.unit_tokens, stored);
  const int heads = geometry.num_query_heads;
  const Bytes queries{own *
                      static_cast<std::uint64_t>(heads * geometry.head_dim * geometry.activation_element_bytes())};
  const Bytes digest = key_digest_bytes(geometry, spec.digest, spec.unit_tokens, stored);
  const Bytes moved = digest + queries + own * geometry.kv_tensor_bytes_per_token_layer();
  // Twice on a GPU, for maximum and sums; once here, where logits of one row are kept.
  const double flops = costs_.score(own, rows, heads, geometry.num_kv_heads).flops / 2;
  return link.copy_latency * 3 + transfer_time(moved, link.copy_bandwidth) +
         nanoseconds_from_seconds(flops / options_.path->host_scoring_rate.value);
}

std::shared_ptr<const Selection> SimulatedMachine::chosen(const Score& scored, const SelectionRule& rule) const {
  if (!scored.spec.only_for_selection) return std::make_shared<const Selection>(select_units(scored.scores, rule));
  if (options_.selections != nullptr) return options_.selections->choose(scored.question(rule));
  return std::make_shared<const Selection>(choose(scored.question(rule)));
}

ScoreOp SimulatedMachine::score(OpContext context, const Request& request, const ScoreSpec& spec, const Deps& deps) {
  auto op = make_op<Score>(OpKind::score, context, record::Operation::score, record::Resource::scoring);
  op->request = &request;
  op->spec = spec;
  const ModelGeometry& geometry = *options_.geometry;
  const int num_groups = options_.importance->num_groups(spec.grouping);
  const bool probes = spec.grouping == traces::HeadGrouping::probe_heads;
  const int query_heads = probes ? num_groups : geometry.num_query_heads;
  const int kv_heads =
      probes ? geometry.num_probed_kv_heads(options_.store_layout->auxiliary().probe_heads) : geometry.num_kv_heads;
  const std::uint64_t rows = key_digest_rows(spec.digest, spec.unit_tokens, request.stored_tokens);
  Nanoseconds duration =
      spec.runs_on_host ? score_on_host(request, spec) : model_.score(request.own_tokens, rows, query_heads, kv_heads);
  if (spec.runs_on_host) op->in_stream = false;
  if (spec.repeats_projection) duration += model_.project(request.own_tokens);
  op->duration = gpu_noise_.apply(duration);
  charge_driver(*op, 0);
  issue(op, deps);
  return op;
}

SelectOp SimulatedMachine::select(OpContext context, const ScoreOp& scores, const SelectionRule& rule) {
  auto op = make_op<Select>(OpKind::select, context, record::Operation::select, record::Resource::scoring);
  op->scores = scores;
  op->rule = rule;
  const auto& scored = static_cast<const Score&>(*scores);
  const std::uint64_t units = scored.request->stored_tokens / scored.spec.unit_tokens;
  const auto num_groups = static_cast<std::uint64_t>(options_.importance->num_groups(scored.spec.grouping));
  op->kernel = gpu_noise_.apply(model_.select(units * num_groups, rule.mode));
  const SoftwarePath& path = *options_.path;
  op->to_host = options_.profile->host.selection_cost + path.identify_cost_per_call + path.stage_synchronise +
                rule.host_time + transfer_time(path.score_to_host, options_.profile->link.copy_bandwidth);
  charge_driver(*op, 0);
  issue(op, Op(scores));
  return op;
}

namespace {

/// Whose addresses attention is given: blocks of K and of V.
std::uint64_t num_pieces_of(const layout::StoreLayout* layout, std::uint32_t k_tokens, std::uint32_t v_tokens) {
  if (layout == nullptr) return 0;
  const std::uint32_t block = layout->kv_layout().block_tokens;
  return divide_rounding_up(k_tokens, block) + divide_rounding_up(v_tokens, block);
}

}  // namespace

Op SimulatedMachine::attend(OpContext context, const Request& request, TokenRange range, const KvView& view,
                            const Deps& deps) {
  auto op = make_op<LaneWork>(OpKind::attend, context, record::Operation::attend, record::Resource::gpu_compute);
  op->lane = &gpu_;
  const std::uint32_t k_tokens = view.full_length ? view.prefix_tokens : view.kept_k_tokens;
  const std::uint32_t v_tokens = view.full_length ? view.prefix_tokens : view.kept_v_tokens;
  const Nanoseconds linear = model_.gemm(costs_.attend_linear(range.count));
  const Nanoseconds attention = model_.attention(costs_.attend_attention(range.count, range.first, k_tokens, v_tokens));
  op->activity = attention > linear ? Activity::attention : Activity::gemm;
  op->duration = gpu_noise_.apply(model_.attend({.queries = range.count,
                                                 .own_before = range.first,
                                                 .k_tokens = k_tokens,
                                                 .v_tokens = v_tokens,
                                                 .walk = attention_walk(view)}));
  if (range.first + range.count == request.own_tokens) observer_.on_attend(request, context.layer_idx, view);
  charge_driver(*op, num_pieces_of(options_.store_layout, k_tokens, v_tokens));
  issue(op, deps);
  return op;
}

Op SimulatedMachine::first_token(OpContext context, const Deps& deps) {
  auto op =
      make_op<LaneWork>(OpKind::first_token, context, record::Operation::first_token, record::Resource::gpu_compute);
  op->lane = &gpu_;
  op->duration = gpu_noise_.apply(model_.first_token()) + options_.profile->host.first_token_cost;
  last_projection_.erase(context.request);
  charge_driver(*op, 0);
  issue(op, deps);
  return op;
}

// ---- decoding ----

void SimulatedMachine::decode(std::uint32_t request, std::uint64_t context_tokens, std::uint64_t num_steps) {
  if (num_steps == 0) return;
  const bool idle = decoding_.empty();
  decoding_.push_back({.request = request, .context_tokens = context_tokens, .num_steps = num_steps});
  if (idle) begin_decode_step();
}

Nanoseconds SimulatedMachine::decode_step_time() const {
  const std::uint64_t batch = decoding_.size();
  OperationCost attention;
  for (const Decoding& one : decoding_) {
    const OperationCost cost = costs_.attend_attention(1, one.context_tokens, 0, 0);
    attention.flops += cost.flops;
    attention.bytes_moved += cost.bytes_moved;
  }
  const Nanoseconds layer = model_.overhead() * 2 + model_.gemm(costs_.project(batch)) +
                            model_.gemm(costs_.attend_linear(batch)) + model_.attention(attention);
  return layer * options_.geometry->num_layers + model_.overhead() + model_.gemm(costs_.first_token());
}

void SimulatedMachine::begin_decode_step() {
  ++num_decode_steps_;
  decoding_in_step_ = decoding_.size();
  auto op = make_op<DecodeStep>(OpKind::attend, {.request = decoding_.front().request}, record::Operation::decode,
                                record::Resource::gpu_compute);
  op->lane = &gpu_;
  op->duration = gpu_noise_.apply(decode_step_time());
  issue(op, {});
}

void SimulatedMachine::end_decode_step() {
  for (std::size_t i = 0; i < decoding_in_step_; ++i) {
    ++decoding_[i].context_tokens;
    --decoding_[i].num_steps;
  }
  std::erase_if(decoding_, [](const Decoding& one) { return one.num_steps == 0; });
  if (!decoding_.empty()) begin_decode_step();
}

// ---- host ----

Nanoseconds SimulatedMachine::host_time(HostTask task) const {
  const HostProfile& host = options_.profile->host;
  const auto count = static_cast<std::int64_t>(task.count);
  switch (task.kind) {
    case HostTaskKind::framework:
      return options_.path->compute_overhead_per_request;
    case HostTaskKind::tokenise:
      return host.tokenise_per_token * count;
    case HostTaskKind::look_up:
      return host.look_up_per_block * count;
    case HostTaskKind::cache_update:
      return host.cache_update_per_entry * count;
    case HostTaskKind::wait:
      return Nanoseconds{count};
  }
  return Nanoseconds{0};
}

Op SimulatedMachine::host(OpContext context, HostTask task, const Deps& deps) {
  if (task.kind == HostTaskKind::wait) {
    auto wait = make_op<Wait>(OpKind::host, context, record::Operation::wait, record::Resource::host);
    wait->duration = host_time(task);
    charge_driver(*wait, 0);
    issue(wait, deps);
    return wait;
  }
  static constexpr record::Operation kOperations[] = {record::Operation::framework, record::Operation::tokenise,
                                                      record::Operation::look_up, record::Operation::cache_update,
                                                      record::Operation::wait};
  auto op = make_op<LaneWork>(OpKind::host, context, kOperations[static_cast<std::size_t>(task.kind)],
                              record::Resource::host);
  op->lane = &host_thread_;
  op->duration = host_time(task);
  charge_driver(*op, 0);
  issue(op, deps);
  return op;
}

Nanoseconds SimulatedMachine::recompute_time(std::uint32_t prompt_tokens) const {
  OperationModel model = model_;  // a question, not an operation of the run: it does not count
  constexpr std::uint32_t kBlock = 2048;
  Nanoseconds layer{0};
  for (std::uint32_t first = 0; first < prompt_tokens; first += kBlock) {
    const std::uint32_t count = std::min(kBlock, prompt_tokens - first);
    layer += model.project(count) + model.attend({.queries = count, .own_before = first});
  }
  if (options_.stream_weights) {
    layer =
        std::max(layer, transfer_time(options_.geometry->layer_weight_bytes(), options_.profile->link.copy_bandwidth));
  }
  return layer * options_.geometry->num_layers + model.first_token();
}

}  // namespace reprefill::sim
