// Writes one segment, all layouts, layer by layer; it appears in the store at once or not at all.
#pragma once

#include <memory>
#include <vector>

#include "engine/store/layout_file.hpp"

namespace reprefill::engine {

/// A run of tokens that extends `parent`, or begins a prefix. A multiple of store_block_tokens.
struct NewSegment {
  std::optional<ParentLink> parent = std::nullopt;
  std::vector<std::int32_t> token_ids = {};
};

/// The files are written in a folder of a temporary name beside the final one, flushed, and the folder renamed last: a
/// process that is killed leaves a folder that no reader accepts. An exception, or destruction before `commit`, removes
/// it. Memory: about 8 MiB a layout, or one group of layers that lie together (layer_major: one layer; chunk_major: the
/// whole segment).
class SegmentWriter {
 public:
  /// `segments` is the store's folder of segments; the caller holds the store's lock. The manifest outlives the writer.
  SegmentWriter(const StoreManifest& manifest, std::filesystem::path segments, NewSegment segment,
                WriteOptions options);
  SegmentWriter(const SegmentWriter&) = delete;  // its files refer to its options
  SegmentWriter& operator=(const SegmentWriter&) = delete;
  ~SegmentWriter();

  const SegmentKey& key() const { return key_; }
  const NewSegment& segment() const { return segment_; }
  /// Layers in order, each once. Throws MachineError that names the file when it cannot be written.
  void write_layer(const LayerKv& kv);
  /// After the last layer. The segment is durable and visible when this returns.
  void commit();

  /// ".KEY.partial".
  static std::string partial_folder_name(const SegmentKey& key);

 private:
  const StoreManifest& manifest_;
  std::filesystem::path segments_;
  NewSegment segment_;
  WriteOptions options_;
  SegmentKey key_;
  std::filesystem::path partial_;  // empty once it has its final name
  std::vector<std::unique_ptr<LayoutFile>> files_;
  std::uint32_t num_layers_written_ = 0;
};

}  // namespace reprefill::engine
