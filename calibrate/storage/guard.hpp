// Where storage may be measured: what would say nothing of a drive, or fill it, is refused before anything is written.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/meter/environment.hpp"
#include "core/base/units.hpp"
#include "engine/io/storage_kind.hpp"

namespace reprefill::calibrate {

struct StorageSite {
  std::filesystem::path folder;
  std::string file_system;
  BlockDevice device;
  Bytes free;                         // once leftovers of killed calibrations are removed
  Bytes span;                         // of the scratch file
  std::vector<std::string> warnings;  // the system disk, a span that a drive's cache may hold
};

/// Of a folder with `free` bytes: min(64 GiB, a quarter), in whole MiB. Smaller than this and a drive's mapping cache
/// answers for the drive.
Bytes default_span(Bytes free);

/// Throws ConfigError for a file system in memory or of another machine.
void require_drive(const std::filesystem::path& folder, const engine::StorageKind& kind);

/// Throws ConfigError for a folder that is not there, is no folder or may not be written to; a memory or network file
/// system; one that has no O_DIRECT; a span that does not leave a tenth of the free space, or smaller than 64 MiB.
StorageSite inspect_site(const std::filesystem::path& folder, std::optional<Bytes> span);

}  // namespace reprefill::calibrate
