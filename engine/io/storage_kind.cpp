#include "engine/io/storage_kind.hpp"

#include <sys/vfs.h>

#include <cerrno>
#include <cstring>

#include "core/base/error.hpp"

namespace reprefill::engine {

StorageKind storage_kind(const std::filesystem::path& path) {
  struct statfs status {};
  if (::statfs(path.c_str(), &status) != 0) {
    throw MachineError(fmt::format("{}: statfs: {}", path.string(), std::strerror(errno)));
  }
  struct Known {
    long type;  // <linux/magic.h> and the file systems' own headers
    const char* name;
    bool is_memory, is_remote;
  };
  static constexpr Known kKnown[] = {
      {0xEF53, "ext4 or ext3", false, false}, {0x58465342, "xfs", false, false},
      {0x9123683E, "btrfs", false, false},    {0xF2F52010, "f2fs", false, false},
      {0x2FC12FC1, "zfs", false, false},      {0x794C7630, "overlayfs", false, false},
      {0x01021994, "tmpfs", true, false},     {0x858458F6, "ramfs", true, false},
      {0x958458F6, "hugetlbfs", true, false}, {0x6969, "nfs", false, true},
      {0xFF534D42, "cifs", false, true},      {0x01021997, "9p", false, true},
      {0x65735546, "fuse", false, true},      {0x0BD00BD0, "lustre", false, true},
  };
  const auto type = static_cast<long>(static_cast<unsigned int>(status.f_type));
  for (const Known& known : kKnown) {
    if (known.type == type) return {known.name, known.is_memory, known.is_remote};
  }
  return {fmt::format("type {:#x}", type), false, false};
}

}  // namespace reprefill::engine
