#include "engine/store/store_scan.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "core/base/files.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void mismatch(const StoreFile& file, const std::string& what) {
  throw StoreDamage(fmt::format("{}: {}", file.path().string(), what));
}

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

bool is_hidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

/// Reads every layout of one segment; throws for the first that is not sound.
StoredSegment read_segment(const StoreScan& scan, const SegmentKey& key) {
  StoredSegment segment{.key = key};
  for (const StoredLayout& layout : scan.manifest.layouts) {
    const StoreFile file = StoreFile::open_to_read(segment_file(scan.folder, key, layout), DirectIo::off);
    const SegmentHeader header = read_header(file, scan.manifest, layout, key);
    // The key is a hash of these, and every layout's header holds the same key: one copy of the ids is enough here.
    if (segment.token_ids.empty()) {
      segment.parent = header.parent;
      segment.token_ids = read_token_ids(file, header);
      if (make_segment_key(scan.manifest.model.fingerprint, segment.parent, segment.token_ids) != key) {
        mismatch(file, "its token ids or its parent do not give its key");
      }
    }
    if (header.parent != segment.parent || header.num_tokens != segment.num_tokens()) {
      mismatch(file, "its parent or length differs from the segment's other layouts");
    }
  }
  return segment;
}

/// A reordered copy appears in store.json once every segment has it.
bool is_unnamed_reordering(const StoreManifest& manifest, const std::string& name) {
  return std::any_of(manifest.layouts.begin(), manifest.layouts.end(), [&](StoredLayout layout) {
    layout.permutation = true;
    return layout_file_name(layout) == name;
  });
}

void look_for_strangers(StoreScan& scan, const fs::path& folder, const SegmentKey& key) {
  for (const fs::path& path : sorted_entries(folder)) {
    const std::string name = path.filename().string();
    if (is_hidden(path)) {
      scan.leftovers.push_back(path);
      continue;
    }
    const auto& layouts = scan.manifest.layouts;
    const bool known = std::any_of(layouts.begin(), layouts.end(),
                                   [&](const StoredLayout& layout) { return layout_file_name(layout) == name; });
    if (!known && is_unnamed_reordering(scan.manifest, name)) {
      scan.leftovers.push_back(path);
    } else if (!known) {
      scan.problems.push_back({path, fmt::format("{}: is not a layout that store.json names", path.string()), key});
    }
  }
}

/// Keeps the segments whose chain of parents is complete, in order of depth and key.
void order_by_depth(StoreScan& scan, std::map<SegmentKey, StoredSegment>& found) {
  std::map<SegmentKey, std::uint32_t> stored_tokens;
  while (true) {
    std::vector<SegmentKey> level;
    for (const auto& [key, segment] : found) {
      if (!segment.parent) {
        level.push_back(key);
        continue;
      }
      const auto parent = stored_tokens.find(segment.parent->key);
      if (parent != stored_tokens.end() && segment.parent->num_tokens <= parent->second) level.push_back(key);
    }
    if (level.empty()) break;
    for (const SegmentKey& key : level) {
      auto node = found.extract(key);
      stored_tokens[key] = node.mapped().num_tokens();
      scan.segments.push_back(std::move(node.mapped()));
    }
  }
  for (const auto& [key, segment] : found) {
    const fs::path path = segment_folder(scan.folder, key);
    scan.problems.push_back({path,
                             fmt::format("{}: extends {} tokens of segment {}, which is missing, damaged or shorter",
                                         path.string(), segment.parent->num_tokens, segment.parent->key.to_hex()),
                             key});
  }
}

}  // namespace

fs::path segment_folder(const fs::path& store, const SegmentKey& key) { return segments_path(store) / key.to_hex(); }

fs::path segment_file(const fs::path& store, const SegmentKey& key, const StoredLayout& layout) {
  return segment_folder(store, key) / layout_file_name(layout);
}

StoreManifest read_manifest(const fs::path& store) {
  const fs::path path = manifest_path(store);
  if (!fs::exists(path)) {
    throw ConfigError(
        fmt::format("{}: is not a store: it has no store.json; `reprefill store build` makes one", store.string()));
  }
  return parse_manifest(read_whole_file(path, 0).text(), path.string());
}

SegmentHeader read_header(const StoreFile& file, const StoreManifest& manifest, const StoredLayout& layout,
                          const SegmentKey& key) {
  AlignedBuffer block(kHeaderBytes);
  file.read(0, block.bytes());
  SegmentHeader header = parse_header(block.bytes(), file.path().string());
  if (header.model_fingerprint != manifest.model.fingerprint) {
    throw ConfigError(fmt::format("{}: holds KV of a model with fingerprint {:016x}; the store is of {} ({:016x})",
                                  file.path().string(), header.model_fingerprint, manifest.model.name,
                                  manifest.model.fingerprint));
  }
  if (header.geometry != manifest.model.geometry) {
    mismatch(file, fmt::format("is of {}; the store of {}", header.geometry.to_string(),
                               manifest.model.geometry.to_string()));
  }
  if (header.layout != layout || header.store_block_tokens != manifest.store_block_tokens) {
    mismatch(file, fmt::format("holds {} in blocks of {} tokens; its name and store.json say {} and {}",
                               layout_name(header.layout), header.store_block_tokens, layout_name(layout),
                               manifest.store_block_tokens));
  }
  if (header.key != key) mismatch(file, fmt::format("is of segment {}, not of its folder's", header.key.to_hex()));
  if (const std::uint64_t size = file.size(); size != header.file_bytes.value) {
    mismatch(file, fmt::format("has {} bytes; its header says {}", size, header.file_bytes.value));
  }
  return header;
}

std::vector<std::int32_t> read_token_ids(const StoreFile& file, const SegmentHeader& header) {
  AlignedBuffer bytes(header.token_ids.bytes.value);
  file.read(header.token_ids.offset, bytes.bytes());
  if (checksum64(bytes.bytes()) != header.token_ids_checksum) {
    mismatch(file, fmt::format("damaged token ids, bytes {} to {}", header.token_ids.offset,
                               header.token_ids.offset + header.token_ids.bytes.value - 1));
  }
  std::vector<std::int32_t> ids(header.num_tokens);
  std::memcpy(ids.data(), bytes.data(), ids.size() * sizeof(std::int32_t));
  return ids;
}

StoreScan scan_store(const fs::path& folder) {
  StoreScan scan{.folder = folder,
                 .manifest = read_manifest(folder),
                 .segments = {},
                 .problems = {},
                 .parents = {},
                 .leftovers = {}};
  for (const fs::path& path : sorted_entries(folder)) {
    if (is_hidden(path) && path.filename() != ".lock") scan.leftovers.push_back(path);
  }
  const fs::path segments = segments_path(folder);
  if (!fs::is_directory(segments)) {
    scan.problems.push_back({segments, fmt::format("{}: the folder is missing", segments.string())});
    return scan;
  }
  std::map<SegmentKey, StoredSegment> found;
  for (const fs::path& path : sorted_entries(segments)) {
    if (is_hidden(path)) {
      scan.leftovers.push_back(path);
      continue;
    }
    const std::optional<SegmentKey> key = SegmentKey::from_hex(path.filename().string());
    if (!key || !fs::is_directory(path)) {
      scan.problems.push_back({path, fmt::format("{}: is not a segment's folder", path.string())});
      continue;
    }
    look_for_strangers(scan, path, *key);
    try {
      StoredSegment segment = read_segment(scan, *key);
      if (segment.parent) scan.parents.emplace(*key, segment.parent->key);
      found.emplace(*key, std::move(segment));
    } catch (const std::runtime_error& error) {  // MachineError of the file, or ConfigError of a newer version
      scan.problems.push_back({path, error.what(), *key});
    }
  }
  order_by_depth(scan, found);
  return scan;
}

}  // namespace reprefill::engine
