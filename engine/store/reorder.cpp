#include "engine/store/reorder.hpp"

#include <algorithm>

#include "engine/store/layer_reader.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;

std::vector<StoredLayout> without(std::vector<StoredLayout> layouts, const StoredLayout& layout) {
  std::erase(layouts, layout);
  return layouts;
}

/// In order of name, as store.json has them.
std::vector<StoredLayout> with(std::vector<StoredLayout> layouts, const StoredLayout& layout) {
  layouts = without(std::move(layouts), layout);
  const auto after = std::find_if(layouts.begin(), layouts.end(),
                                  [&](const StoredLayout& other) { return layout_name(other) > layout_name(layout); });
  layouts.insert(after, layout);
  return layouts;
}

class Rewriting {
 public:
  Rewriting(const Store& store, const StoredLayout& plain, const ReorderOptions& options)
      : store_(store), plain_(plain), options_(options) {
    report_.layout = plain;
    report_.layout.permutation = true;
    manifest_ = store.manifest();
    manifest_.layouts = with(manifest_.layouts, report_.layout);
    check_manifest(manifest_, manifest_path(store.folder()).string());
  }
  Rewriting(const Rewriting&) = delete;
  Rewriting& operator=(const Rewriting&) = delete;
  ~Rewriting() {
    std::error_code ignored;  // what cannot be removed now is recognised as left over
    for (const fs::path& path : partial_) fs::remove(path, ignored);
  }

  void write_partial(SegmentId segment, TokenOrders orders) {
    const StoredSegment& stored = store_.segment(segment);
    const StoreFile file =
        StoreFile::open_to_read(segment_file(store_.folder(), stored.key, plain_), options_.write.direct);
    const PageVerifier pages = PageVerifier::load(file, store_.manifest(), plain_, stored.key);
    const LayerReader reader(file, pages);
    SegmentHeader header = plan_header(manifest_, report_.layout, stored.key, stored.parent, stored.num_tokens());
    header.calibration_requests = options_.calibration_requests;
    const fs::path path = partial_path(segment);
    remove_path(path, options_.write.before_call);
    partial_.push_back(path);
    LayoutFile out(header, path, options_.write, std::move(orders));
    std::vector<std::byte> keys(reader.bytes_per_layer()), values(reader.bytes_per_layer());
    for (int layer = 0; layer < static_cast<int>(header.geometry.num_layers); ++layer) {
      reader.read(layer, PieceKind::key, keys);
      reader.read(layer, PieceKind::value, values);
      out.write_layer(layer, {.keys = keys, .values = values});
      report_.read += Bytes{keys.size() + values.size()};
    }
    out.finish(stored.token_ids);
    report_.written += header.file_bytes;
    ++report_.num_segments;
  }

  /// While files of two orders have the name, store.json does not have it.
  ReorderReport publish() {
    const BeforeCall& before = options_.write.before_call;
    const std::vector<StoredLayout>& has = store_.manifest().layouts;
    if (std::ranges::find(has, report_.layout) != has.end()) {
      StoreManifest hidden = store_.manifest();
      hidden.layouts = without(hidden.layouts, report_.layout);
      write_private_file(manifest_path(store_.folder()), write_manifest(hidden), before);
    }
    for (std::uint32_t i = 0; i < store_.num_segments(); ++i) {
      const SegmentId segment{i};
      const SegmentKey& key = store_.segment(segment).key;
      rename_path(partial_path(segment), segment_file(store_.folder(), key, report_.layout), before);
      sync_folder(segment_folder(store_.folder(), key), before);
    }
    write_private_file(manifest_path(store_.folder()), write_manifest(manifest_), before);
    return report_;
  }

 private:
  fs::path partial_path(SegmentId segment) const {
    return segment_folder(store_.folder(), store_.segment(segment).key) /
           fmt::format(".{}.partial", layout_file_name(report_.layout));
  }

  const Store& store_;
  StoredLayout plain_;
  const ReorderOptions& options_;
  StoreManifest manifest_;  // with the reordered copy
  ReorderReport report_;
  std::vector<fs::path> partial_;
};

}  // namespace

StoredLayout layout_to_reorder(const StoreManifest& manifest, const std::string& name) {
  std::vector<StoredLayout> found;
  std::string names;
  for (const StoredLayout& layout : manifest.layouts) {
    if (layout.permutation || layout.probe_heads.empty()) continue;
    names += (names.empty() ? "" : ", ") + layout_name(layout);
    if (name.empty() || layout_name(layout) == name) found.push_back(layout);
  }
  if (found.size() == 1) return found.front();
  throw ConfigError(fmt::format("--layout: found {}; expected one of the store's layouts with probe keys: {}",
                                name.empty() ? "none" : name, names.empty() ? "it has none" : names));
}

ReorderReport reorder_store(const fs::path& folder, const ReorderOptions& options,
                            const std::function<OrderSource(const Store&)>& order_of) {
  REPREFILL_CHECK(options.calibration_requests > 0, "an order from no request");
  read_manifest(folder);  // nothing is touched in a folder that is no store
  const StoreLock lock(folder, options.write.before_call);
  for (const fs::path& leftover : scan_store(folder).leftovers) remove_path(leftover, options.write.before_call);
  const Store store = Store::open(folder);
  const OrderSource source = order_of(store);
  Rewriting rewriting(store, layout_to_reorder(store.manifest(), options.layout), options);
  for (std::uint32_t i = 0; i < store.num_segments(); ++i) {
    if (options.on_segment) options.on_segment(i, store.num_segments());
    rewriting.write_partial(SegmentId{i}, source(SegmentId{i}));
  }
  return rewriting.publish();
}

}  // namespace reprefill::engine
