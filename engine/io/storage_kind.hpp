// What a path lies on: some file systems accept O_DIRECT and read from memory all the same.
#pragma once

#include <filesystem>
#include <string>

namespace reprefill::engine {

struct StorageKind {
  std::string file_system;  // "ext4 or ext3", "tmpfs", "type 0x1234"
  bool is_memory = false;   // reads never reach a device
  bool is_remote = false;   // network file systems: a device, but not this machine's
};

/// Throws MachineError where statfs fails.
StorageKind storage_kind(const std::filesystem::path& path);

}  // namespace reprefill::engine
