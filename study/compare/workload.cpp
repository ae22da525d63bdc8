#include "study/compare/workload.hpp"

#include "core/base/random.hpp"
#include "engine/session/prefix_builder.hpp"
#include "engine/store/system_layouts.hpp"

namespace reprefill::study {
namespace {

std::vector<std::int32_t> random_ids(std::uint64_t stream, std::size_t count, int vocab) {
  std::vector<std::int32_t> ids(count);
  for (std::size_t i = 0; i < count; ++i) {
    ids[i] = static_cast<std::int32_t>(combine64(stream, i) % static_cast<std::uint64_t>(vocab));
  }
  return ids;
}

std::uint64_t stream_of(const sim::Point& point, const char* what, std::uint64_t number) {
  return combine64(combine64(point.seed, point.replica), combine64(hash_name(what), number));
}

}  // namespace

std::vector<std::int32_t> prefix_ids(const sim::Point& point, std::uint32_t prefix) {
  // The length is part of the stream: prefixes of two lengths share no segment, as in the simulator's pool.
  const std::uint32_t length = point.workload.pool.prefix_tokens;
  return random_ids(combine64(stream_of(point, "compare/prefix", prefix), length), length, point.geometry.vocab);
}

CompareWorkload make_compare_workload(const sim::Point& point, std::size_t num_warmup, sim::SharedInputs& inputs) {
  const auto refuse = [&](const std::string& what) {
    throw ConfigError(
        fmt::format("{}: {}: compare serves the same requests on the engine one after the other", point.origin, what));
  };
  if (point.workload.is_trace) refuse("workload.kind: found trace; expected prefix_pool");
  if (point.workload.pool.arrivals != sim::Arrivals::closed) {
    refuse(fmt::format("workload.arrivals: found {}; expected closed", enum_name(point.workload.pool.arrivals)));
  }
  const auto plan = sim::make_request_plan(point, num_warmup, inputs, [](std::uint32_t) { return Nanoseconds{1}; });
  CompareWorkload workload{.prompts = {}, .num_warmup = num_warmup, .prefixes = {}};
  for (std::uint64_t i = 0; i < plan->num_requests(); ++i) {
    const sim::PlannedRequest planned = plan->planned(i);
    if (planned.prompt_tokens > static_cast<std::uint32_t>(point.geometry.max_position_embeddings)) {
      refuse(fmt::format("workload.prefix_tokens: a prompt has {} tokens, the model takes {}", planned.prompt_tokens,
                         point.geometry.max_position_embeddings));
    }
    workload.prefixes.insert(planned.prefix);
    engine::Prompt prompt{.name = std::to_string(i), .ids = prefix_ids(point, planned.prefix)};
    const std::vector<std::int32_t> suffix = random_ids(
        stream_of(point, "compare/suffix", i), planned.prompt_tokens - prompt.ids.size(), point.geometry.vocab);
    prompt.ids.insert(prompt.ids.end(), suffix.begin(), suffix.end());
    workload.prompts.push_back(std::move(prompt));
  }
  return workload;
}

std::vector<std::int32_t> calibration_suffix(const sim::Point& point, std::uint64_t prefix, std::uint32_t number) {
  const std::uint64_t stream = combine64(stream_of(point, "compare/calibration", prefix), number);
  return random_ids(stream, point.workload.pool.suffix_tokens, point.geometry.vocab);
}

engine::Store build_compare_store(engine::Model& model, std::span<const sim::Point> points,
                                  std::span<const CompareWorkload> workloads, const std::filesystem::path& folder,
                                  const std::function<void(std::size_t done, std::size_t all)>& on_prefix) {
  const ModelGeometry& geometry = model.checkpoint->geometry();
  engine::StoreGeometry stored = engine::StoreGeometry::of(geometry);
  stored.kv_type = model.executor->kv_type();
  engine::StoreManifest manifest{
      .model = {.name = geometry.name, .fingerprint = model.checkpoint->fingerprint(), .geometry = stored}};
  manifest.store_block_tokens = points.front().store_block_tokens;
  std::set<std::vector<std::int32_t>> prefixes;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const sim::Point& point = points[i];
    if (point.store_block_tokens != manifest.store_block_tokens) {
      throw ConfigError(
          fmt::format("{}: store_block_tokens: found {} and {}; compare builds one store, give it one value",
                      point.origin, manifest.store_block_tokens, point.store_block_tokens));
    }
    auto layout = engine::layout_of_system(point.system, point.system_params, point.path.kind, geometry);
    if (layout) layout->permutation = false;
    if (layout) manifest.layouts.push_back(*layout);
    for (const std::uint32_t prefix : workloads[i].prefixes) prefixes.insert(prefix_ids(point, prefix));
  }
  manifest.layouts = manifest.layouts.empty() ? engine::default_layouts(geometry)
                                              : engine::union_of_layouts(std::move(manifest.layouts));
  engine::StoreWriter writer(folder, manifest);
  std::size_t done = 0;
  for (const std::vector<std::int32_t>& ids : prefixes) {
    on_prefix(done++, prefixes.size());
    engine::build_prefix(*model.executor, writer, ids);
  }
  on_prefix(done, prefixes.size());
  return engine::Store::open(folder);
}

}  // namespace reprefill::study
