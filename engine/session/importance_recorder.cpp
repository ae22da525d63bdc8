#include "engine/session/importance_recorder.hpp"

#include <algorithm>
#include <cstring>

namespace reprefill::engine {
namespace {

constexpr std::size_t kKeysChannel = 0, kProbeChannel = 1;

std::vector<std::uint32_t> span_tokens(const pipeline::Request& request) {
  std::vector<std::uint32_t> tokens;
  for (const SegmentSpan& span : request.stored_prefix) tokens.push_back(span.num_tokens);
  return tokens;
}

/// Pages of the KV heads that the probed query heads read, and the memory they look into.
struct ProbedKeys {
  std::vector<std::byte> bytes;
  std::vector<KeyPage> pages;
  KeyView view;
};

ProbedKeys probed_keys(const KeyView& keys, const ModelGeometry& geometry, std::span<const int> probe_heads,
                       KvType type) {
  std::vector<int> kv_heads;
  for (const int head : probe_heads) kv_heads.push_back(head / geometry.group_size());
  std::sort(kv_heads.begin(), kv_heads.end());
  kv_heads.erase(std::unique(kv_heads.begin(), kv_heads.end()), kv_heads.end());
  const std::size_t head_bytes = static_cast<std::size_t>(geometry.head_dim) * bytes_per_element(type);
  ProbedKeys result;
  result.bytes.resize(keys.num_tokens * kv_heads.size() * head_bytes);
  std::byte* out = result.bytes.data();
  for (const KeyPage& page : keys.pages) {
    result.pages.push_back({.keys = out, .num_tokens = page.num_tokens});
    for (std::size_t token = 0; token < page.num_tokens; ++token) {
      for (const int head : kv_heads) {
        const std::size_t from =
            token * static_cast<std::size_t>(geometry.num_kv_heads) + static_cast<std::size_t>(head);
        std::memcpy(out, page.keys + from * head_bytes, head_bytes);
        out += head_bytes;
      }
    }
  }
  result.view = {.pages = result.pages, .num_tokens = keys.num_tokens, .num_heads = static_cast<int>(kv_heads.size())};
  return result;
}

}  // namespace

traces::ImportanceTraceHeader ImportanceRecorder::header_of(const Options& options) {
  std::string probe_name = "probe:";
  for (const int head : options.probe_heads)
    probe_name += fmt::format("{}{}", probe_name.back() == ':' ? "" : ",", head);
  traces::ImportanceTraceHeader header;
  header.channels = {{.name = "keys", .num_heads = options.geometry.num_kv_heads},
                     {.name = probe_name, .num_heads = static_cast<int>(options.probe_heads.size())}};
  header.recorded_from = {.num_layers = options.geometry.num_layers,
                          .num_query_heads = options.geometry.num_query_heads,
                          .num_kv_heads = options.geometry.num_kv_heads};
  if (options.mode == RecordMode::as_run) header.recorded_under = options.recorded_under;
  return header;
}

ImportanceRecorder::ImportanceRecorder(const std::filesystem::path& file, const Options& options)
    : options_(options), writer_(file, header_of(options)) {}

void ImportanceRecorder::add_selection(const pipeline::Request& request, int layer_idx, const pipeline::ScoreSpec& spec,
                                       const pipeline::Scores& scores, const pipeline::Selection& selection) {
  const bool probes = spec.grouping == traces::HeadGrouping::probe_heads;
  writer_.add(traces::RecordedSelection{.request = request.importance_id,
                                        .layer_idx = layer_idx,
                                        .channel_idx = probes ? kProbeChannel : kKeysChannel,
                                        .grouping = spec.grouping,
                                        .unit_tokens = static_cast<int>(spec.unit_tokens),
                                        .num_groups = scores.num_groups,
                                        .scores = scores.values,
                                        .chosen = selection.groups,
                                        .is_everything = selection.is_everything,
                                        .similarity = selection.similarity});
}

void ImportanceRecorder::add_layer(Executor& executor, Sequence& sequence, const pipeline::Request& request,
                                   int layer_idx, const KeyView& keys) {
  const auto add = [&](std::size_t channel, traces::HeadGrouping grouping, const KeyView& view, std::size_t heads) {
    traces::ImportanceRecord record{.request = request.importance_id,
                                    .layer_idx = layer_idx,
                                    .channel_idx = channel,
                                    .span_tokens = span_tokens(request),
                                    .scores = std::vector<float>(heads * view.num_tokens)};
    std::vector<std::shared_ptr<const std::byte>> uploads;
    std::vector<KeyPage> pages;
    const std::size_t token_bytes =
        static_cast<std::size_t>(view.num_heads * options_.geometry.head_dim) * bytes_per_element(executor.kv_type());
    for (const KeyPage& page : view.pages) {
      uploads.push_back(executor.upload({page.keys, page.num_tokens * token_bytes}));
      pages.push_back({.keys = uploads.back().get(), .num_tokens = page.num_tokens});
    }
    executor.score(sequence, layer_idx, {.pages = pages, .num_tokens = view.num_tokens, .num_heads = view.num_heads},
                   {.grouping = grouping, .probe_heads = options_.probe_heads}, record.scores);
    executor.synchronize();
    writer_.add(record);
  };
  add(kKeysChannel, traces::HeadGrouping::per_kv_head, keys, static_cast<std::size_t>(options_.geometry.num_kv_heads));
  const ProbedKeys probed = probed_keys(keys, options_.geometry, options_.probe_heads, executor.kv_type());
  add(kProbeChannel, traces::HeadGrouping::probe_heads, probed.view, options_.probe_heads.size());
}

}  // namespace reprefill::engine
