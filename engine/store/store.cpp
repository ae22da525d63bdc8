#include "engine/store/store.hpp"

#include <algorithm>

namespace reprefill::engine {
namespace {

void check_model(const StoreManifest& manifest, const StoreModel& model, const std::filesystem::path& folder) {
  if (manifest.model.geometry != model.geometry) {
    throw ConfigError(fmt::format("{}: holds KV of {}: {}; the model {} has {}", folder.string(), manifest.model.name,
                                  manifest.model.geometry.to_string(), model.name, model.geometry.to_string()));
  }
  if (manifest.model.fingerprint != model.fingerprint) {
    throw ConfigError(
        fmt::format("{}: holds KV of {} with fingerprint {:016x}; the model {} has {:016x}: KV of other "
                    "weights is of no use, build a store of its own",
                    folder.string(), manifest.model.name, manifest.model.fingerprint, model.name, model.fingerprint));
  }
}

[[noreturn]] void throw_problem(const StoreScan& scan) {
  const StoreProblem& first = scan.problems.front();
  std::string text = first.what;
  if (scan.problems.size() > 1) text += fmt::format(" (and {} more problems)", scan.problems.size() - 1);
  const std::string remove = first.segment ? first.segment->to_hex() : "KEY";
  throw StoreDamage(
      fmt::format("{}; `reprefill store verify --store {}` lists all damage, `reprefill store remove "
                  "--store {} --recursive {}` removes a segment",
                  text, scan.folder.string(), scan.folder.string(), remove));
}

}  // namespace

Store Store::open(const std::filesystem::path& folder, const StoreModel* model) {
  StoreScan scan = scan_store(folder);
  if (model != nullptr) check_model(scan.manifest, *model, folder);
  if (!scan.problems.empty()) throw_problem(scan);
  return Store(std::move(scan));
}

Store::Store(StoreScan scan)
    : folder_(std::move(scan.folder)), manifest_(std::move(scan.manifest)), tree_(manifest_.store_block_tokens) {
  for (StoredSegment& segment : scan.segments) add(std::move(segment));
}

Store Store::with_layout(std::size_t layout_idx) const {
  Store copy = *this;
  copy.manifest_.layouts = {manifest_.layouts.at(layout_idx)};
  return copy;
}

const StoredSegment& Store::segment(SegmentId id) const {
  REPREFILL_CHECK(id.value < segments_.size(), "segment {} of {}", id.value, segments_.size());
  return segments_[id.value];
}

std::optional<SegmentId> Store::find(const SegmentKey& key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<std::uint64_t> Store::block_ids(std::span<const std::int32_t> token_ids) const {
  const std::size_t block_tokens = manifest_.store_block_tokens;
  std::vector<std::uint64_t> blocks(token_ids.size() / block_tokens);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    blocks[i] = checksum64(std::as_bytes(token_ids.subspan(i * block_tokens, block_tokens)));
  }
  return blocks;
}

/// The tree compares hashes of blocks; what it finds is compared token by token, so that a collision costs a hit and
/// never gives a wrong token.
cache::Match Store::match_blocks(std::span<const std::int32_t> token_ids) const {
  cache::Match match = tree_.match(block_ids(token_ids));
  std::uint32_t compared = 0;
  for (std::size_t i = 0; i < match.path.size(); ++i) {
    SegmentSpan& span = match.path[i];
    const std::span<const std::int32_t> stored(segments_[span.segment.value].token_ids);
    const std::span<const std::int32_t> wanted = token_ids.subspan(compared, span.num_tokens);
    const auto differs = std::mismatch(wanted.begin(), wanted.end(), stored.begin()).first;
    const auto equal = static_cast<std::uint32_t>(differs - wanted.begin());
    compared += equal / manifest_.store_block_tokens * manifest_.store_block_tokens;
    if (equal == span.num_tokens) continue;
    span.num_tokens = equal / manifest_.store_block_tokens * manifest_.store_block_tokens;
    match.path.resize(span.num_tokens > 0 ? i + 1 : i);
    break;
  }
  match.num_tokens = compared;
  match.num_blocks = compared / manifest_.store_block_tokens;
  return match;
}

std::vector<SegmentSpan> Store::match(std::span<const std::int32_t> token_ids) const {
  return match_blocks(token_ids).path;
}

NewSegment Store::missing_part(std::span<const std::int32_t> token_ids) const {
  const cache::Match match = match_blocks(token_ids);
  NewSegment missing;
  if (!match.path.empty()) {
    const SegmentSpan& end = match.path.back();
    missing.parent = ParentLink{segments_[end.segment.value].key, end.num_tokens};
  }
  const std::size_t whole = token_ids.size() / manifest_.store_block_tokens * manifest_.store_block_tokens;
  const std::span<const std::int32_t> rest = token_ids.subspan(match.num_tokens, whole - match.num_tokens);
  missing.token_ids.assign(rest.begin(), rest.end());
  return missing;
}

std::vector<std::int32_t> Store::prefix_ids(const std::optional<ParentLink>& end) const {
  std::vector<std::int32_t> ids;
  if (!end) return ids;
  const std::optional<SegmentId> id = find(end->key);
  REPREFILL_CHECK(id && end->num_tokens <= segment(*id).num_tokens(), "parent {} of {} tokens is not in the store",
                  end->key.to_hex(), end->num_tokens);
  std::vector<SegmentSpan> path = tree_.path_of(*id);
  path.back().num_tokens = end->num_tokens;
  for (const SegmentSpan& span : path) {
    const std::vector<std::int32_t>& stored = segments_[span.segment.value].token_ids;
    ids.insert(ids.end(), stored.begin(), stored.begin() + span.num_tokens);
  }
  return ids;
}

SegmentId Store::add(StoredSegment segment) {
  std::vector<std::int32_t> ids = prefix_ids(segment.parent);
  const std::size_t num_before = ids.size();
  ids.insert(ids.end(), segment.token_ids.begin(), segment.token_ids.end());
  const std::vector<std::uint64_t> blocks = block_ids(ids);
  const cache::Match match = tree_.match(blocks);
  const bool at_parent = match.num_tokens == num_before &&
                         (!segment.parent || segments_[match.path.back().segment.value].key == segment.parent->key);
  if (!at_parent) {
    throw StoreDamage(
        fmt::format("{}: its tokens are stored already, by segment {}: one of them came from another "
                    "store; remove it",
                    segment_folder(folder_, segment.key).string(),
                    match.path.empty() ? "?" : segments_[match.path.back().segment.value].key.to_hex()));
  }
  const SegmentId id = tree_.insert(match, std::span(blocks).subspan(num_before / manifest_.store_block_tokens));
  REPREFILL_CHECK(id.value == segments_.size(), "segment numbers are dense");
  by_key_.emplace(segment.key, id);
  segments_.push_back(std::move(segment));
  return id;
}

std::size_t Store::layout_for(const StoredLayout& needed) const {
  const std::vector<StoredLayout>& layouts = manifest_.layouts;
  const auto exact = std::find(layouts.begin(), layouts.end(), needed);
  const auto found =
      exact != layouts.end()
          ? exact
          : std::find_if(layouts.begin(), layouts.end(), [&](const StoredLayout& has) { return covers(has, needed); });
  if (found != layouts.end()) return static_cast<std::size_t>(found - layouts.begin());
  std::string has, wanted = layout_name(needed);
  for (const StoredLayout& layout : layouts) {
    has += (has.empty() ? "" : ", ") + layout_name(layout);
    if (!layout.permutation) wanted += "," + layout_name(layout);
  }
  if (needed.permutation) {
    throw ConfigError(
        fmt::format("{}: layouts: found {}; expected {}, which reorder.io offline reads: `reprefill store reorder "
                    "--store {} ...` writes it",
                    manifest_path(folder_).string(), has, layout_name(needed), folder_.string()));
  }
  throw ConfigError(
      fmt::format("{}: has no layout {} (it has {}): `reprefill store build --store NEW_FOLDER --layouts "
                  "{} ...` writes it",
                  folder_.string(), layout_name(needed), has, wanted));
}

std::filesystem::path Store::file_path(SegmentId id, std::size_t layout_idx) const {
  const StoredSegment& found = segment(id);
  const StoredLayout& layout = manifest_.layouts.at(layout_idx);
  return found.folder.empty() ? segment_file(folder_, found.key, layout) : found.folder / layout_file_name(layout);
}

StoreFile Store::open_file(SegmentId id, std::size_t layout_idx, DirectIo direct) const {
  return StoreFile::open_to_read(file_path(id, layout_idx), direct);
}

}  // namespace reprefill::engine
