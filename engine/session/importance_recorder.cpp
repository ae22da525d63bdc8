#include "engine/session/importance_recorder.hpp"

#include <algorithm>
#include <cstring>

#include "engine/digest/key_digests.hpp"

namespace reprefill::engine {
namespace {

constexpr std::size_t kKeysChannel = 0, kProbeChannel = 1, kFirstDigestChannel = 2;

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
  for (const KeyDigest digest : options.digests) {
    // int4 has scores of tokens; they are kept as what it chooses by.
    header.channels.push_back({.name = enum_name(digest),
                               .num_heads = options.geometry.num_kv_heads,
                               .granularity_tokens = static_cast<int>(options.chunk_tokens)});
  }
  header.recorded_from = {.num_layers = options.geometry.num_layers,
                          .num_query_heads = options.geometry.num_query_heads,
                          .num_kv_heads = options.geometry.num_kv_heads};
  if (options.mode == RecordMode::as_run) header.recorded_under = options.recorded_under;
  return header;
}

void ImportanceRecorder::add_channels_of(const Json& system_params, Options& options) {
  if (!system_params.contains("scorer") || !system_params.contains("chunk_tokens")) return;
  options.chunk_tokens = system_params.at("chunk_tokens").get<std::uint32_t>();
  for (const auto& [name, digest] : EnumNames<KeyDigest>::names) {
    if (digest != KeyDigest::none && system_params.at("scorer") == name) options.digests = {digest};
  }
}

ImportanceRecorder::ImportanceRecorder(const std::filesystem::path& file, const Options& options)
    : options_(options), writer_(file, header_of(options)) {}

void ImportanceRecorder::add_selection(const pipeline::Request& request, int layer_idx, const pipeline::ScoreSpec& spec,
                                       const pipeline::Scores& scores, const pipeline::Selection& selection) {
  std::size_t channel = spec.grouping == traces::HeadGrouping::probe_heads ? kProbeChannel : kKeysChannel;
  if (spec.digest != KeyDigest::none) {
    const auto found = std::ranges::find(options_.digests, spec.digest);
    REPREFILL_CHECK(found != options_.digests.end(), "the trace has no channel for {}", enum_name(spec.digest));
    channel = kFirstDigestChannel + static_cast<std::size_t>(found - options_.digests.begin());
  }
  writer_.add(traces::RecordedSelection{.request = request.importance_id,
                                        .layer_idx = layer_idx,
                                        .channel_idx = channel,
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
  for (std::size_t i = 0; i < options_.digests.size(); ++i) add_digest(executor, sequence, request, layer_idx, keys, i);
}

void ImportanceRecorder::add_digest(Executor& executor, Sequence& sequence, const pipeline::Request& request,
                                    int layer_idx, const KeyView& keys, std::size_t digest_idx) {
  const KeyDigest digest = options_.digests[digest_idx];
  const DigestShape shape{.digest = digest,
                          .type = executor.kv_type(),
                          .num_kv_heads = options_.geometry.num_kv_heads,
                          .head_dim = options_.geometry.head_dim,
                          .chunk_tokens = options_.chunk_tokens};
  std::vector<std::shared_ptr<const std::byte>> uploads;
  std::vector<std::vector<std::byte>> digests;
  std::vector<KeyPage> pages;
  for (const KeyPage& page : keys.pages) {
    digests.emplace_back(digest_bytes(shape, page.num_tokens));
    make_digest(shape, {page.keys, page.num_tokens * token_bytes(shape)}, digests.back());
    uploads.push_back(executor.upload(digests.back()));
    pages.push_back({.keys = uploads.back().get(), .num_tokens = page.num_tokens});
  }
  const std::size_t num_chunks = keys.num_tokens / options_.chunk_tokens;
  traces::ImportanceRecord record{
      .request = request.importance_id,
      .layer_idx = layer_idx,
      .channel_idx = kFirstDigestChannel + digest_idx,
      .span_tokens = span_tokens(request),
      .scores = std::vector<float>(static_cast<std::size_t>(options_.geometry.num_kv_heads) * num_chunks)};
  executor.score(
      sequence, layer_idx, {.pages = pages, .num_tokens = keys.num_tokens, .num_heads = options_.geometry.num_kv_heads},
      {.grouping = traces::HeadGrouping::per_kv_head, .unit_tokens = options_.chunk_tokens, .digest = digest},
      record.scores);
  executor.synchronize();
  writer_.add(record);
}

}  // namespace reprefill::engine
