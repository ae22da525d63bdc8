#include "engine/store/verify.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include "engine/store/layer_reader.hpp"
#include "engine/store/layout_file.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kReadBytes = 8 << 20;

layout::Extent extent_of(const SegmentHeader& header, const layout::StoreLayout& layout, int layer, PieceKind kind,
                         std::uint32_t index) {
  return layout.extent(PieceKey::make(SegmentId{0}, layer, kind, index), header.num_tokens);
}

/// Ranges that begin at the given places and reach to the next one.
void close_ranges(std::vector<NamedRange>& ranges, std::uint64_t end) {
  for (std::size_t i = ranges.size(); i-- > 0;) {
    ranges[i].bytes = end - ranges[i].offset;
    end = ranges[i].offset;
  }
}

void add_payload(const SegmentHeader& header, const layout::StoreLayout& layout, std::vector<NamedRange>& ranges) {
  const int num_layers = static_cast<int>(header.geometry.num_layers);
  const layout::KvLayout& kv = header.layout.kv;
  int group = kv.order == layout::KvOrder::layer_major ? 1 : num_layers;
  if (kv.order == layout::KvOrder::period_major) group = kv.period_layers;
  const bool separate = kv.order == layout::KvOrder::layer_major && kv.kv == layout::KvPlacement::apart;
  for (int layer = 0; layer < num_layers; layer += group) {
    const auto add = [&](std::string name, PieceKind kind) {
      ranges.push_back({.name = std::move(name), .offset = extent_of(header, layout, layer, kind, 0).offset});
    };
    if (separate) {
      add(fmt::format("payload, K of layer {}", layer), PieceKind::key);
      add(fmt::format("payload, V of layer {}", layer), PieceKind::value);
    } else if (group == 1) {
      add(fmt::format("payload, K and V of layer {}", layer), PieceKind::key);
    } else {
      add(fmt::format("payload, layers {} to {}", layer, std::min(num_layers, layer + group) - 1), PieceKind::key);
    }
  }
}

void add_auxiliary(const SegmentHeader& header, const layout::StoreLayout& layout, PieceKind kind,
                   std::vector<NamedRange>& ranges) {
  const bool identification = kind == PieceKind::identification_keys;
  for (int layer = 0; layer < static_cast<int>(header.geometry.num_layers); ++layer) {
    if (identification ? !layout.has_identification_keys(layer) : header.layout.probe_heads.empty()) continue;
    const SlabKind slab = identification ? layout.auxiliary().digest == KeyDigest::none ? SlabKind::identification_keys
                                                                                        : SlabKind::digests
                                         : SlabKind::probe_keys;
    ranges.push_back({.name = fmt::format("{} of layer {}", slab_kind_name(static_cast<std::uint32_t>(slab)), layer),
                      .offset = extent_of(header, layout, layer, kind, header.num_tokens).offset,
                      .kind = slab,
                      .layer_idx = layer});
  }
}

std::string range_text(const std::string& place, const std::string& name, std::uint64_t first, std::uint64_t end) {
  return fmt::format("{}: damaged {}, bytes {} to {}", place, name, first, end - 1);
}

const NamedRange& range_at(const std::vector<NamedRange>& ranges, std::uint64_t offset) {
  auto after = std::upper_bound(ranges.begin(), ranges.end(), offset,
                                [](std::uint64_t at, const NamedRange& range) { return at < range.offset; });
  REPREFILL_CHECK(after != ranges.begin(), "byte {} is before the data", offset);
  return *--after;
}

/// Goes through the pages of one file, and puts right what can be.
class FileCheck {
 public:
  FileCheck(const StoreFile& file, const PageVerifier& pages, VerifyReport& report, const BeforeCall& before)
      : file_(file),
        pages_(pages),
        header_(pages.header()),
        layout_(header_.store_layout()),
        ranges_(named_ranges(header_)),
        report_(report),
        before_(before) {}

  void run(Repair repair) {
    find_bad_pages();
    for (const NamedRange& range : ranges_) {
      const std::size_t first = (range.offset - kHeaderBytes) / kPageBytes;
      const std::size_t end = first + range.bytes / kPageBytes;
      if (bad_.lower_bound(first) == bad_.lower_bound(end)) continue;
      const bool repaired = repair == Repair::yes && range.layer_idx >= 0 && repair_range(range);
      report_runs(range, first, end, repaired);
    }
  }

 private:
  void find_bad_pages() {
    const std::uint64_t end = header_.token_ids.offset;
    AlignedBuffer buffer(std::min<std::uint64_t>(kReadBytes, end - kHeaderBytes));
    for (std::uint64_t at = kHeaderBytes; at < end; at += kReadBytes) {
      const std::span<std::byte> bytes = buffer.bytes().first(std::min<std::uint64_t>(kReadBytes, end - at));
      file_.read(at, bytes);
      for (std::size_t i = 0; i < bytes.size(); i += kPageBytes) {
        const std::size_t page = (at + i - kHeaderBytes) / kPageBytes;
        if (!pages_.is_sound(page, bytes.subspan(i, kPageBytes))) bad_.insert(page);
      }
      report_.bytes_read += Bytes{bytes.size()};
    }
  }

  /// One line for each run of bad pages.
  void report_runs(const NamedRange& range, std::size_t first, std::size_t end, bool repaired) {
    for (auto at = bad_.lower_bound(first); at != bad_.end() && *at < end;) {
      const std::size_t run_start = *at;
      std::size_t run_end = run_start;
      while (at != bad_.end() && *at == run_end && run_end < end) ++at, ++run_end;
      report_.damage.push_back({file_.path(),
                                range_text(file_.path().string(), range.name, kHeaderBytes + run_start * kPageBytes,
                                           kHeaderBytes + run_end * kPageBytes),
                                repaired});
    }
  }

  /// All keys of a layer from the payload; nullopt where one of their pages, or their order, is damaged too.
  std::optional<std::vector<std::byte>> read_keys(int layer) const {
    try {
      const LayerReader reader(file_, pages_);
      std::vector<std::byte> keys(reader.bytes_per_layer());
      reader.read(layer, PieceKind::key, keys);
      return keys;
    } catch (const StoreDamage&) {
      return std::nullopt;
    }
  }

  bool repair_range(const NamedRange& range) const {
    const std::optional<std::vector<std::byte>> keys = read_keys(range.layer_idx);
    if (!keys) return false;
    AlignedBuffer slab(range.bytes);
    if (range.kind != SlabKind::probe_keys) {
      const auto bytes =
          extent_of(header_, layout_, range.layer_idx, PieceKind::identification_keys, header_.num_tokens).bytes;
      fill_identification_slab(header_, *keys, slab.bytes().first(bytes.value));
    } else {
      gather_probe_keys(header_.geometry, header_.layout.probe_heads, *keys, slab.data());
    }
    const std::size_t first_page = (range.offset - kHeaderBytes) / kPageBytes;
    for (std::size_t at = 0; at < slab.size(); at += kPageBytes) {
      if (!pages_.is_sound(first_page + at / kPageBytes, slab.bytes().subspan(at, kPageBytes))) return false;
    }
    // A kill in between leaves the slab damaged as before: its checksums are not touched.
    const StoreFile file = StoreFile::open_to_repair(file_.path(), before_);
    file.write(range.offset, slab.bytes(), before_);
    file.sync(before_);
    return true;
  }

  const StoreFile& file_;
  const PageVerifier& pages_;
  const SegmentHeader& header_;
  layout::StoreLayout layout_;
  std::vector<NamedRange> ranges_;
  VerifyReport& report_;
  const BeforeCall& before_;
  std::set<std::size_t> bad_;  // page numbers
};

/// Token by token: what the permutation says where K and V of a reordered copy are, against the plain copy.
void compare_with_plain(const StoreScan& scan, const SegmentKey& key, const StoredLayout& reordered,
                        VerifyReport& report) {
  StoredLayout plain = reordered;
  plain.permutation = false;
  const fs::path paths[] = {segment_file(scan.folder, key, reordered), segment_file(scan.folder, key, plain)};
  try {
    const StoreFile files[] = {StoreFile::open_to_read(paths[0], DirectIo::if_possible),
                               StoreFile::open_to_read(paths[1], DirectIo::if_possible)};
    const PageVerifier pages[] = {PageVerifier::load(files[0], scan.manifest, reordered, key),
                                  PageVerifier::load(files[1], scan.manifest, plain, key)};
    const LayerReader readers[] = {{files[0], pages[0]}, {files[1], pages[1]}};
    std::vector<std::byte> tokens(readers[0].bytes_per_layer()), expected(readers[1].bytes_per_layer());
    for (int layer = 0; layer < static_cast<int>(scan.manifest.model.geometry.num_layers); ++layer) {
      for (const PieceKind kind : {PieceKind::key, PieceKind::value}) {
        readers[0].read(layer, kind, tokens);
        readers[1].read(layer, kind, expected);
        report.bytes_read += Bytes{tokens.size() + expected.size()};
        if (tokens == expected) continue;
        report.damage.push_back(
            {paths[0], fmt::format("{}: {} of layer {}, taken by the permutation, is not {}'s: `reprefill store "
                                   "reorder` writes it again",
                                   paths[0].string(), kind == PieceKind::key ? "K" : "V", layer, paths[1].string())});
      }
    }
  } catch (const MachineError&) {
    return;  // damage of either file, which has been reported
  }
}

/// Files in the order of verification: of sound segments, then of those with problems, as far as they exist.
std::vector<std::pair<SegmentKey, StoredLayout>> files_of(const StoreScan& scan) {
  std::set<SegmentKey> keys;
  for (const StoredSegment& segment : scan.segments) keys.insert(segment.key);
  for (const StoreProblem& problem : scan.problems) {
    if (problem.segment) keys.insert(*problem.segment);
  }
  std::vector<std::pair<SegmentKey, StoredLayout>> files;
  for (const SegmentKey& key : keys) {
    for (const StoredLayout& layout : scan.manifest.layouts) {
      if (fs::exists(segment_file(scan.folder, key, layout))) files.emplace_back(key, layout);
    }
  }
  return files;
}

}  // namespace

std::vector<NamedRange> named_ranges(const SegmentHeader& header) {
  const layout::StoreLayout layout = header.store_layout();
  std::vector<NamedRange> ranges;
  add_payload(header, layout, ranges);
  add_auxiliary(header, layout, PieceKind::identification_keys, ranges);
  add_auxiliary(header, layout, PieceKind::probe_keys, ranges);
  if (header.layout.permutation) {
    ranges.push_back({.name = "permutation",
                      .offset = layout.permutation_extent(header.num_tokens).offset,
                      .kind = SlabKind::permutation});
  }
  for (const SlabRecord& slab : header.slabs) {
    if (slab.extent.offset < layout.file_bytes(header.num_tokens).value) continue;
    ranges.push_back({.name = fmt::format("slab {} (kind {})", slab_kind_name(slab.kind), slab.kind),
                      .offset = slab.extent.offset,
                      .kind = static_cast<SlabKind>(slab.kind)});
  }
  close_ranges(ranges, header.token_ids.offset);
  return ranges;
}

PageVerifier PageVerifier::load(const StoreFile& file, const StoreManifest& manifest, const StoredLayout& layout,
                                const SegmentKey& key) {
  PageVerifier verifier;
  verifier.place_ = file.path().string();
  verifier.header_ = read_header(file, manifest, layout, key);
  const SegmentHeader& header = verifier.header_;
  AlignedBuffer table(header.page_checksums.bytes.value);
  file.read(header.page_checksums.offset, table.bytes());
  if (checksum64(table.bytes()) != header.page_checksums_checksum) {
    throw StoreDamage(range_text(verifier.place_, "table of checksums", header.page_checksums.offset,
                                 header.page_checksums.offset + header.page_checksums.bytes.value));
  }
  verifier.pages_.resize(header.num_pages());
  std::memcpy(verifier.pages_.data(), table.data(), verifier.pages_.size() * sizeof(std::uint64_t));
  return verifier;
}

void PageVerifier::check(std::uint64_t offset, std::span<const std::byte> bytes) const {
  REPREFILL_CHECK(offset >= kHeaderBytes && offset % kPageBytes == 0 && bytes.size() % kPageBytes == 0 &&
                      offset + bytes.size() <= header_.token_ids.offset,
                  "{} bytes at {} are no whole pages of the data", bytes.size(), offset);
  for (std::size_t at = 0; at < bytes.size(); at += kPageBytes) {
    if (is_sound((offset + at - kHeaderBytes) / kPageBytes, bytes.subspan(at, kPageBytes))) continue;
    const std::uint64_t page = offset + at;
    throw StoreDamage(range_text(place_, range_at(named_ranges(header_), page).name, page, page + kPageBytes));
  }
}

void PageVerifier::check_slab_records() const {
  for (const SlabRecord& slab : header_.slabs) {
    const std::span<const std::uint64_t> pages = std::span(pages_).subspan(
        (slab.extent.offset - kHeaderBytes) / kPageBytes, slab.extent.bytes.value / kPageBytes);
    if (checksum64(std::as_bytes(pages)) != slab.checksum) {
      throw StoreDamage(fmt::format("{}: the checksum of slab {} does not fit its pages' checksums", place_,
                                    slab_kind_name(slab.kind)));
    }
  }
}

void verify_file(const fs::path& path, const StoreManifest& manifest, const StoredLayout& layout, const SegmentKey& key,
                 Repair repair, VerifyReport& report, const BeforeCall& before, DirectIo direct) {
  ++report.num_files;
  try {
    const StoreFile file = StoreFile::open_to_read(path, direct);
    const PageVerifier pages = PageVerifier::load(file, manifest, layout, key);
    report.bytes_read += Bytes{kHeaderBytes} + pages.header().token_ids.bytes + pages.header().page_checksums.bytes;
    pages.check_slab_records();
    const std::size_t num_found = report.damage.size();
    FileCheck(file, pages, report, before).run(repair);
    read_token_ids(file, pages.header());
    if (layout.permutation && report.damage.size() == num_found) read_token_orders(file, pages.header());
  } catch (const StoreDamage& damage) {
    report.damage.push_back({path, damage.what()});
  } catch (const ConfigError& newer) {  // a newer version, or another model's file
    report.damage.push_back({path, newer.what()});
  }
}

VerifyReport verify_store(const StoreScan& scan, Repair repair, const std::function<void(std::size_t)>& done,
                          const BeforeCall& before) {
  std::optional<StoreLock> lock;
  if (repair == Repair::yes) lock.emplace(scan.folder, before);
  VerifyReport report;
  std::size_t file_idx = 0;
  for (const auto& [key, layout] : files_of(scan)) {
    const std::size_t num_found = report.damage.size();
    verify_file(segment_file(scan.folder, key, layout), scan.manifest, layout, key, repair, report, before);
    if (layout.permutation && report.damage.size() == num_found) compare_with_plain(scan, key, layout, report);
    if (done) done(file_idx);
    ++file_idx;
  }
  // Headers' own damage is found again above; missing files, parents and strangers only by the scan.
  for (const StoreProblem& problem : scan.problems) {
    const bool known = std::any_of(report.damage.begin(), report.damage.end(),
                                   [&](const Damage& damage) { return damage.what == problem.what; });
    if (!known) report.damage.push_back({problem.path, problem.what});
  }
  return report;
}

std::vector<double> verify_costs(const StoreScan& scan) {
  std::vector<double> costs;
  for (const auto& [key, layout] : files_of(scan)) {
    costs.push_back(static_cast<double>(fs::file_size(segment_file(scan.folder, key, layout))));
  }
  return costs;
}

}  // namespace reprefill::engine
