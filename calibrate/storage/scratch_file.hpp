// The file that storage is measured on: random bytes, removed at the end, also when the program was killed.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "core/base/units.hpp"

namespace reprefill::calibrate {

/// Locked while it lives. Drives compress and deduplicate: its bytes are random, and no two blocks are alike.
class ScratchFile {
 public:
  /// Creates and fills it. `on_progress` is told the share in (0, 1] that is written; it may throw, and then nothing is
  /// left. Throws MachineError where writing fails (a full disk among them), ConfigError without O_DIRECT.
  ScratchFile(const std::filesystem::path& folder, Bytes size, const std::function<void(double)>& on_progress);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  Bytes size() const { return size_; }
  /// Opened with O_DIRECT for reading and writing.
  int descriptor() const { return descriptor_; }
  /// Of filling it, bytes/s by tenths of the file: a write cache that runs full shows.
  const std::vector<double>& write_rates() const { return write_rates_; }
  /// Share of its pages that are in the page cache.
  double cached_share() const;

 private:
  void fill(const std::function<void(double)>& on_progress);
  void remove() noexcept;

  std::filesystem::path path_;
  Bytes size_;
  int descriptor_ = -1;
  int lock_ = -1;
  std::vector<double> write_rates_;
};

/// Removes scratch files whose program has ended without doing so. What a running program holds stays. Returns what was
/// removed.
std::vector<std::filesystem::path> remove_leftovers(const std::filesystem::path& folder);
/// What they take of the drive, and removing them gives back.
Bytes leftover_bytes(const std::filesystem::path& folder);

}  // namespace reprefill::calibrate
