#include "calibrate/storage/guard.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "calibrate/storage/scratch_file.hpp"
#include "core/base/error.hpp"

namespace reprefill::calibrate {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kSmallestSpan = 64 * kMiB;

void require_writable_folder(const std::filesystem::path& folder) {
  if (!std::filesystem::is_directory(folder)) {
    throw ConfigError(
        fmt::format("--storage: found {}; expected an existing folder on the drive to be measured", folder.string()));
  }
  if (::access(folder.c_str(), W_OK) != 0) {
    throw ConfigError(fmt::format("--storage: {}: may not be written to: {}", folder.string(), std::strerror(errno)));
  }
}

/// An unnamed file: nothing is left behind, whatever happens.
void require_direct_io(const std::filesystem::path& folder) {
  const int file = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) return;  // no unnamed files here: creating the scratch file with O_DIRECT will tell
  const std::string name = fmt::format("/proc/self/fd/{}", file);
  const int direct = ::open(name.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  const int error = errno;
  if (direct >= 0) ::close(direct);
  ::close(file);
  if (direct < 0 && error == EINVAL) {
    throw ConfigError(
        fmt::format("--storage: {}: its file system has no O_DIRECT: reads would measure the page cache; name a folder "
                    "on ext4, xfs "
                    "or btrfs",
                    folder.string()));
  }
}

std::string text_of(Bytes bytes) {
  return bytes.value >= 10 * kGiB ? fmt::format("{} GiB", bytes.value / kGiB)
                                  : fmt::format("{} MiB", bytes.value / kMiB);
}

Bytes check_span(const std::filesystem::path& folder, Bytes free, std::optional<Bytes> wanted) {
  const Bytes span = wanted ? Bytes{wanted->value / kMiB * kMiB} : default_span(free);
  if (wanted && span.value < kSmallestSpan) {
    throw ConfigError(
        fmt::format("--span: found {} bytes; expected at least {}", wanted->value, text_of(Bytes{kSmallestSpan})));
  }
  if (span.value < kSmallestSpan || span.value > free.value / 10 * 9) {
    throw ConfigError(fmt::format(
        "--storage: {}: {} are free; a scratch file of {} would not leave a tenth of them. Free some space, or set a "
        "smaller --span (at least {})",
        folder.string(), text_of(free), text_of(Bytes{std::max(span.value, kSmallestSpan)}),
        text_of(Bytes{kSmallestSpan})));
  }
  return span;
}

}  // namespace

Bytes default_span(Bytes free) { return Bytes{std::min(64 * kGiB, free.value / 4) / kMiB * kMiB}; }

void require_drive(const std::filesystem::path& folder, const engine::StorageKind& kind) {
  if (!kind.is_memory && !kind.is_remote) return;
  throw ConfigError(
      fmt::format("--storage: {} is on {}, a {} file system: expected a folder on a drive of this machine",
                  folder.string(), kind.file_system, kind.is_memory ? "memory" : "network"));
}

StorageSite inspect_site(const std::filesystem::path& folder, std::optional<Bytes> span) {
  require_writable_folder(folder);
  const engine::StorageKind kind = engine::storage_kind(folder);
  require_drive(folder, kind);
  require_direct_io(folder);
  StorageSite site{.folder = folder,
                   .file_system = kind.file_system,
                   .device = find_block_device(folder),
                   // A run removes leftovers of killed ones before it writes anything; a plan leaves them alone.
                   .free = Bytes{std::filesystem::space(folder).available} + leftover_bytes(folder),
                   .span = {},
                   .warnings = {}};
  site.span = check_span(folder, site.free, span);
  if (site.device.is_system_disk) {
    site.warnings.push_back(
        fmt::format("{} is on the disk of the operating system: other programs use it too, and spreads will be wider",
                    folder.string()));
  }
  if (site.span.value < 8 * kGiB) {
    site.warnings.push_back(fmt::format(
        "a span of {} measures the drive's mapping cache too: a store is larger, and reads of it may be slower",
        text_of(site.span)));
  }
  return site;
}

}  // namespace reprefill::calibrate
