#include "engine/session/appended_segments.hpp"

#include <algorithm>
#include <mutex>
#include <system_error>

namespace reprefill::engine {
namespace {

/// A segment's file, layer by layer. Its writer begins with the first one, on the thread that writes.
struct SegmentInProgress {
  NewSegment segment;
  std::unique_ptr<SegmentWriter> writer;
};

}  // namespace

std::filesystem::path appended_path(const std::filesystem::path& store) { return store / ".appended"; }

AppendedSegments::AppendedSegments(const Store& store, std::size_t layout_idx, WriteOptions options)
    : folder_(appended_path(store.folder())), options_(std::move(options)), index_(store.with_layout(layout_idx)) {
  lock_.emplace(store.folder(), options_.before_call);
  remove_path(folder_, options_.before_call);
  make_private_folder(folder_, options_.before_call);
}

AppendedSegments::~AppendedSegments() {
  std::error_code ignored;  // what cannot be removed now is recognised as left over
  std::filesystem::remove_all(folder_, ignored);
}

std::vector<SegmentSpan> AppendedSegments::match(std::span<const std::int32_t> token_ids) const {
  const std::shared_lock lock(mutex_);
  std::vector<SegmentSpan> path = index_.match(token_ids);
  const auto pending = std::ranges::find_if(path, [&](const SegmentSpan& span) { return !is_visible(span.segment); });
  path.erase(pending, path.end());
  return path;
}

std::uint64_t AppendedSegments::approximate_tokens(std::span<const SegmentSpan> prefix) const {
  std::uint64_t tokens = 0;
  for (const SegmentSpan& span : prefix) {
    const std::uint32_t segment = span.segment.value;
    if (segment < is_approximate_.size() && is_approximate_[segment]) tokens += span.num_tokens;
  }
  return tokens;
}

std::optional<NewKv> AppendedSegments::add(std::span<const std::int32_t> ids, pipeline::Request& request,
                                           const Rule& rule) {
  NewSegment missing = index_.missing_part(ids);
  if (missing.token_ids.empty()) return std::nullopt;
  const SegmentKey key = make_segment_key(index_.manifest().model.fingerprint, missing.parent, missing.token_ids);
  const SegmentId segment = [&] {
    const std::unique_lock lock(mutex_);
    const SegmentId added = index_.add(
        {.key = key, .parent = missing.parent, .token_ids = missing.token_ids, .folder = folder_ / key.to_hex()});
    is_pending_.resize(added.value + 1);
    is_pending_[added.value] = true;
    return added;
  }();
  const pipeline::NewKvOrigin origin = pipeline::origin_of_new_kv(request, rule.system_prunes, rule.append_kv);
  is_approximate_.resize(segment.value + 1);
  is_approximate_[segment.value] = origin.approximate;

  const auto num_tokens = static_cast<std::uint32_t>(missing.token_ids.size());
  const std::uint32_t block_tokens = index_.manifest().store_block_tokens;
  const std::uint32_t end = static_cast<std::uint32_t>(ids.size()) / block_tokens * block_tokens;
  const std::uint32_t recompute_tokens = origin.recomputed ? std::max(request.prompt_tokens, end) : 0;
  request.append =
      pipeline::AppendPlan{.segment = segment, .num_tokens = num_tokens, .recompute_tokens = recompute_tokens};

  NewKv kv{.first_position = end - num_tokens,
           .num_tokens = num_tokens,
           .ids = {ids.begin(), ids.begin() + recompute_tokens},
           .store_layer = nullptr,
           .last_write_issued = [this, segment] {
             const std::unique_lock lock(mutex_);
             is_pending_[segment.value] = false;
           }};
  kv.store_layer = [this, progress = std::make_shared<SegmentInProgress>(SegmentInProgress{std::move(missing), {}})](
                       int layer_idx, std::span<const std::byte> keys, std::span<const std::byte> values) {
    const StoreManifest& manifest = index_.manifest();
    if (layer_idx == 0) {
      progress->writer = std::make_unique<SegmentWriter>(manifest, folder_, std::move(progress->segment), options_);
    }
    progress->writer->write_layer({.keys = keys, .values = values});
    if (static_cast<std::uint32_t>(layer_idx) + 1 < manifest.model.geometry.num_layers) return;
    progress->writer->commit();
    progress->writer = nullptr;
  };
  return kv;
}

}  // namespace reprefill::engine
