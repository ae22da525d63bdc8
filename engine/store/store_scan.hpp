// What lies in a store's folder, sound or not: for opening, listing, verifying and removing.
#pragma once

#include <map>

#include "engine/store/segment_header.hpp"
#include "engine/store/store_file.hpp"

namespace reprefill::engine {

/// A segment whose headers and token ids, in every layout, are sound.
struct StoredSegment {
  SegmentKey key;
  std::optional<ParentLink> parent = std::nullopt;
  std::vector<std::int32_t> token_ids = {};
  std::filesystem::path folder = {};  // of its files, where they are not among the store's own

  std::uint32_t num_tokens() const { return static_cast<std::uint32_t>(token_ids.size()); }
};

/// Something that should not be there, or should. `segment` where the folder's name is a key.
struct StoreProblem {
  std::filesystem::path path;
  std::string what;  // with the path in it
  std::optional<SegmentKey> segment = std::nullopt;
};

struct StoreScan {
  std::filesystem::path folder;
  StoreManifest manifest;
  std::vector<StoredSegment> segments =
      {};                                   // parents first, and then by depth and key: the same order on every machine
  std::vector<StoreProblem> problems = {};  // by path
  std::map<SegmentKey, SegmentKey> parents =
      {};  // of every segment with sound headers, also where the parent is missing
  std::vector<std::filesystem::path> leftovers = {};  // of writers that were killed; the next writer removes them
};

StoreManifest read_manifest(const std::filesystem::path& store);

/// Reads store.json, every header and the token ids. Throws only where there is no store or its description is not
/// readable; everything else is a problem in the result. Whoever extends a segment with a problem has one too.
StoreScan scan_store(const std::filesystem::path& folder);

/// Reads the header and checks it against the store and against the file's name and size.
SegmentHeader read_header(const StoreFile& file, const StoreManifest& manifest, const StoredLayout& layout,
                          const SegmentKey& key);
std::vector<std::int32_t> read_token_ids(const StoreFile& file, const SegmentHeader& header);

std::filesystem::path segment_folder(const std::filesystem::path& store, const SegmentKey& key);
std::filesystem::path segment_file(const std::filesystem::path& store, const SegmentKey& key,
                                   const StoredLayout& layout);

}  // namespace reprefill::engine
