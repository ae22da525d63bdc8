#include "engine/store/segment_writer.hpp"

namespace reprefill::engine {

SegmentWriter::SegmentWriter(const StoreManifest& manifest, std::filesystem::path segments, NewSegment segment,
                             WriteOptions options)
    : manifest_(manifest),
      segments_(std::move(segments)),
      segment_(std::move(segment)),
      options_(std::move(options)),
      key_(make_segment_key(manifest.model.fingerprint, segment_.parent, segment_.token_ids)) {
  const std::size_t num_tokens = segment_.token_ids.size();
  REPREFILL_CHECK(num_tokens > 0 && num_tokens % manifest.store_block_tokens == 0 && num_tokens <= kMaxSegmentTokens,
                  "a segment of {} tokens in blocks of {}", num_tokens, manifest.store_block_tokens);
  partial_ = segments_ / partial_folder_name(key_);
  remove_path(partial_, options_.before_call);
  make_private_folder(partial_, options_.before_call);
  try {
    for (const StoredLayout& layout : manifest_.layouts) {
      const SegmentHeader header =
          plan_header(manifest_, layout, key_, segment_.parent, static_cast<std::uint32_t>(num_tokens));
      files_.push_back(std::make_unique<LayoutFile>(header, partial_ / layout_file_name(layout), options_));
    }
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove_all(partial_, ignored);
    throw;
  }
}

SegmentWriter::~SegmentWriter() {
  if (partial_.empty()) return;
  std::error_code ignored;  // what cannot be removed now is recognised as left over
  std::filesystem::remove_all(partial_, ignored);
}

void SegmentWriter::write_layer(const LayerKv& kv) {
  const std::uint64_t bytes = segment_.token_ids.size() * manifest_.model.geometry.tensor_bytes_per_token().value;
  REPREFILL_CHECK(num_layers_written_ < manifest_.model.geometry.num_layers, "more layers than the model has");
  REPREFILL_CHECK(kv.keys.size() == bytes && kv.values.size() == bytes,
                  "layer {}: {} bytes of K and {} of V; expected {}", num_layers_written_, kv.keys.size(),
                  kv.values.size(), bytes);
  for (const auto& file : files_) file->write_layer(static_cast<int>(num_layers_written_), kv);
  ++num_layers_written_;
}

void SegmentWriter::commit() {
  REPREFILL_CHECK(num_layers_written_ == manifest_.model.geometry.num_layers, "{} of {} layers are written",
                  num_layers_written_, manifest_.model.geometry.num_layers);
  for (const auto& file : files_) file->finish(segment_.token_ids);
  sync_folder(partial_, options_.before_call);
  rename_path(partial_, segments_ / key_.to_hex(), options_.before_call);
  partial_.clear();
  sync_folder(segments_, options_.before_call);
}

std::string SegmentWriter::partial_folder_name(const SegmentKey& key) {
  return fmt::format(".{}.partial", key.to_hex());
}

}  // namespace reprefill::engine
