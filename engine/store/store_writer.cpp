#include "engine/store/store_writer.hpp"

#include <algorithm>
#include <set>

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;

std::string names_of(const std::vector<StoredLayout>& layouts) {
  std::string names;
  for (const StoredLayout& layout : layouts) names += (names.empty() ? "" : ",") + layout_name(layout);
  return names;
}

/// A folder that a killed writer has begun is as good as an empty one.
void require_empty(const fs::path& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool ours = name == ".lock" || name == ".store.json.partial" || name == "lost+found" ||
                      (name == "segments" && entry.is_directory() && fs::is_empty(entry.path()));
    if (!ours) {
      throw ConfigError(fmt::format(
          "{}: holds {} but no store.json; expected a store, or a folder that is new or empty", folder.string(), name));
    }
  }
}

void make_folder(const fs::path& folder, const BeforeCall& before) {
  if (fs::exists(folder) && !fs::is_directory(folder)) {
    throw ConfigError(fmt::format("{}: is not a folder", folder.string()));
  }
  if (fs::exists(folder)) return;
  const fs::path parent = fs::absolute(folder).lexically_normal().parent_path();
  if (!fs::is_directory(parent)) {
    throw ConfigError(fmt::format("{}: the folder {} does not exist", folder.string(), parent.string()));
  }
  make_private_folder(folder, before);
}

void check_wanted(const StoreManifest& has, const StoreManifest& wanted, const fs::path& folder) {
  if (has.model.geometry != wanted.model.geometry || has.model.fingerprint != wanted.model.fingerprint) {
    throw ConfigError(fmt::format("{}: holds KV of {} ({:016x}; {}); found {} ({:016x}; {}): name another folder",
                                  folder.string(), has.model.name, has.model.fingerprint,
                                  has.model.geometry.to_string(), wanted.model.name, wanted.model.fingerprint,
                                  wanted.model.geometry.to_string()));
  }
  // `store reorder` adds copies that no writer asks for.
  std::vector<StoredLayout> built = has.layouts;
  std::erase_if(built, [&](const StoredLayout& layout) {
    return layout.permutation && std::ranges::find(wanted.layouts, layout) == wanted.layouts.end();
  });
  if (built != wanted.layouts || has.store_block_tokens != wanted.store_block_tokens) {
    throw ConfigError(
        fmt::format("{}: has layouts {} in blocks of {} tokens; found {} in blocks of {}: use the same, or "
                    "another folder",
                    folder.string(), names_of(has.layouts), has.store_block_tokens, names_of(wanted.layouts),
                    wanted.store_block_tokens));
  }
}

/// What was never written in another order has none.
void check_new(const StoreManifest& wanted, const fs::path& folder) {
  for (const StoredLayout& layout : wanted.layouts) {
    if (!layout.permutation) continue;
    throw ConfigError(
        fmt::format("{}: layouts: found {}, as reorder.io offline reads; expected layouts in the tokens' own order: a "
                    "new store has no other, `reprefill store reorder` adds it",
                    folder.string(), layout_name(layout)));
  }
}

std::vector<fs::path> remove_leftovers(const StoreScan& scan, const BeforeCall& before) {
  for (const fs::path& path : scan.leftovers) remove_path(path, before);
  return scan.leftovers;
}

}  // namespace

StoreWriter::StoreWriter(fs::path folder, const StoreManifest& wanted, WriteOptions options)
    : folder_(std::move(folder)), options_(std::move(options)) {
  if (!fs::exists(manifest_path(folder_))) check_new(wanted, folder_);
  check_manifest(wanted, folder_.string());
  const BeforeCall& before = options_.before_call;
  make_folder(folder_, before);
  const bool is_new = !fs::exists(manifest_path(folder_));
  if (is_new) require_empty(folder_);
  lock_.emplace(folder_, before);
  if (fs::exists(manifest_path(folder_))) {
    check_wanted(read_manifest(folder_), wanted, folder_);
  } else {
    make_private_folder(segments_path(folder_), before);
    write_private_file(manifest_path(folder_), write_manifest(wanted), before);
  }
  removed_leftovers_ = remove_leftovers(scan_store(folder_), before);
  store_.emplace(Store::open(folder_));
}

std::optional<SegmentId> StoreWriter::add_prefix(std::span<const std::int32_t> token_ids,
                                                 const std::function<KvSource(const NewSegment&)>& source) {
  NewSegment missing = store_->missing_part(token_ids);
  if (missing.token_ids.empty()) return std::nullopt;
  const KvSource layer_kv = source(missing);
  SegmentWriter writer = begin(std::move(missing));
  for (std::uint32_t layer = 0; layer < store_->manifest().model.geometry.num_layers; ++layer) {
    writer.write_layer(layer_kv(static_cast<int>(layer)));
  }
  return finish(writer);
}

SegmentWriter StoreWriter::begin(NewSegment segment) const {
  return SegmentWriter(store_->manifest(), segments_path(folder_), std::move(segment), options_);
}

SegmentId StoreWriter::finish(SegmentWriter& writer) {
  writer.commit();
  const std::lock_guard guard(index_mutex_);
  return store_->add({.key = writer.key(), .parent = writer.segment().parent, .token_ids = writer.segment().token_ids});
}

Bytes segment_bytes(const StoreManifest& manifest, std::uint32_t num_tokens) {
  Bytes total;
  for (const StoredLayout& layout : manifest.layouts) {
    total += plan_header(manifest, layout, SegmentKey{}, std::nullopt, num_tokens).file_bytes;
  }
  return total;
}

namespace {

/// The folders that remove_segments knows, and who hangs on whom.
class Removal {
 public:
  explicit Removal(const StoreScan& scan) {
    for (const StoredSegment& segment : scan.segments) known_.insert(segment.key);
    for (const StoreProblem& problem : scan.problems) {
      if (problem.segment) known_.insert(*problem.segment);
    }
    for (const auto& [child, parent] : scan.parents) children_[parent].push_back(child);
  }

  const std::set<SegmentKey>& known() const { return known_; }

  SegmentKey find(const std::string& digits) const {
    std::vector<SegmentKey> found;
    for (const SegmentKey& key : known_) {
      if (key.to_hex().starts_with(digits)) found.push_back(key);
    }
    if (found.size() == 1 && digits.size() >= 4) return found.front();
    const char* problem = found.empty() ? "no segment's key begins so" : "several segments' keys begin so";
    if (digits.size() < 4) problem = "too short";
    throw ConfigError(
        fmt::format("store remove: key {}: {}; expected at least 4 digits of one that `reprefill store "
                    "list` shows",
                    digits, problem));
  }

  void mark(const SegmentKey& key) {
    for (const SegmentKey& child : children_of(key)) mark(child);
    if (marked_.insert(key).second) order_.push_back(key);
  }

  void require_no_children(const std::set<SegmentKey>& chosen) const {
    for (const SegmentKey& key : order_) {
      if (chosen.contains(key)) continue;
      throw ConfigError(
          fmt::format("store remove: segment {} extends one that is to be removed: add --recursive", key.to_hex()));
    }
  }

  const std::vector<SegmentKey>& order() const { return order_; }

 private:
  std::vector<SegmentKey> children_of(const SegmentKey& key) const {
    const auto found = children_.find(key);
    return found == children_.end() ? std::vector<SegmentKey>{} : found->second;
  }

  std::set<SegmentKey> known_, marked_;
  std::map<SegmentKey, std::vector<SegmentKey>> children_;
  std::vector<SegmentKey> order_;  // children first: a kill in between leaves no segment without its parent
};

}  // namespace

std::vector<SegmentKey> remove_segments(const fs::path& folder, const std::vector<std::string>& keys,
                                        Recursive recursive, const BeforeCall& before) {
  read_manifest(folder);  // nothing is touched in a folder that is no store
  const StoreLock lock(folder, before);
  const StoreScan scan = scan_store(folder);
  Removal removal(scan);
  std::set<SegmentKey> chosen;
  for (const std::string& digits : keys) chosen.insert(removal.find(digits));
  if (keys.empty()) chosen = removal.known();
  for (const SegmentKey& key : chosen) removal.mark(key);
  if (recursive == Recursive::no) removal.require_no_children(chosen);

  remove_leftovers(scan, before);
  for (const SegmentKey& key : removal.order()) {
    const fs::path hidden = segments_path(folder) / fmt::format(".{}.removed", key.to_hex());
    rename_path(segment_folder(folder, key), hidden, before);
    remove_path(hidden, before);
  }
  sync_folder(segments_path(folder), before);
  return removal.order();
}

}  // namespace reprefill::engine
