// Finding, naming and repairing damage: of single reads (`--verify-reads`) and of whole stores (`store verify`).
#pragma once

#include <functional>

#include "engine/store/store_scan.hpp"

namespace reprefill::engine {

/// A part of a segment's file that a user can be told about.
struct NamedRange {
  std::string name;  // "payload, K of layer 3"
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  SlabKind kind = SlabKind::payload;
  int layer_idx = -1;  // of identification and probe keys
};

/// Everything between header and token ids, in order.
std::vector<NamedRange> named_ranges(const SegmentHeader& header);

/// Compares what was read with the checksums of its pages. Thread-safe. 8 bytes of memory per 4 KiB of file.
class PageVerifier {
 public:
  /// Reads the header and the table of checksums. Throws StoreDamage.
  static PageVerifier load(const StoreFile& file, const StoreManifest& manifest, const StoredLayout& layout,
                           const SegmentKey& key);

  const SegmentHeader& header() const { return header_; }
  /// Whole pages, as direct reads bring them. Throws StoreDamage that names file, slab and byte range.
  void check(std::uint64_t offset, std::span<const std::byte> bytes) const;
  bool is_sound(std::size_t page_idx, std::span<const std::byte> page) const {
    return checksum64(page) == pages_[page_idx];
  }
  /// Pages of a slab whose own checksum does not fit its pages' checksums.
  void check_slab_records() const;

 private:
  std::string place_;
  SegmentHeader header_;
  std::vector<std::uint64_t> pages_;
};

struct Damage {
  std::filesystem::path file;
  std::string what;  // with file, slab and byte range
  bool repaired = false;
};

struct VerifyReport {
  std::size_t num_files = 0;
  Bytes bytes_read;
  std::vector<Damage> damage;
  bool is_sound() const {
    for (const Damage& found : damage) {
      if (!found.repaired) return false;
    }
    return true;
  }
};

enum class Repair : std::uint8_t { no, yes };

/// All checksums of one file. Auxiliary keys are copies of keys in the payload: with Repair::yes they are computed
/// again and written where they were; the result must have the checksum of before. Damaged payload is only named.
/// A permutation must be one. Direct reads, where the file system has them: what the device holds counts, not what
/// memory remembers.
void verify_file(const std::filesystem::path& path, const StoreManifest& manifest, const StoredLayout& layout,
                 const SegmentKey& key, Repair repair, VerifyReport& report, const BeforeCall& before = {},
                 DirectIo direct = DirectIo::if_possible);

/// Every segment of a scan, and its problems. A reordered copy holds every token's bytes of the plain one. `done` after
/// each file. Repair::yes takes the store's lock.
VerifyReport verify_store(const StoreScan& scan, Repair repair,
                          const std::function<void(std::size_t file_idx)>& done = {}, const BeforeCall& before = {});
/// Sizes of the files that verify_store goes through, in its order.
std::vector<double> verify_costs(const StoreScan& scan);

}  // namespace reprefill::engine
