#include "calibrate/storage/scratch_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <span>

#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "engine/io/staging_arena.hpp"

namespace reprefill::calibrate {
namespace {

constexpr std::string_view kPrefix = ".reprefill-scratch-";
constexpr std::uint64_t kBlockBytes = 4 << 20;

/// 64 bits of every place in the file are different: counter-based, at memory speed.
void fill_random(std::span<std::byte> out, std::uint64_t offset) {
  for (std::size_t i = 0; i + 8 <= out.size(); i += 8) {
    const std::uint64_t value = mix64((offset + i) * 0x9e3779b97f4a7c15ull);
    std::memcpy(out.data() + i, &value, 8);
  }
}

/// Scratch files that nobody has locked: their owner was killed. They stay locked while `visit` looks at one.
void visit_leftovers(const std::filesystem::path& folder,
                     const std::function<void(const std::filesystem::path&, int file)>& visit) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (!entry.path().filename().string().starts_with(kPrefix) || !entry.is_regular_file()) continue;
    const int file = ::open(entry.path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) continue;
    if (::flock(file, LOCK_EX | LOCK_NB) == 0) visit(entry.path(), file);
    ::close(file);
  }
}

}  // namespace

ScratchFile::ScratchFile(const std::filesystem::path& folder, Bytes size,
                         const std::function<void(double)>& on_progress)
    : path_(folder / fmt::format("{}{}", kPrefix, ::getpid())), size_(size) {
  REPREFILL_CHECK(size.value > 0 && size.value % (1 << 20) == 0, "a scratch file of {} bytes", size.value);
  try {
    // The lock comes before the first byte: a leftover is a file that nobody has locked.
    lock_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock_ < 0) throw MachineError(fmt::format("open({}): {}", path_.string(), std::strerror(errno)));
    if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
      throw MachineError(fmt::format("flock({}): {}", path_.string(), std::strerror(errno)));
    }
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    if (descriptor_ < 0 && errno == EINVAL) {
      throw ConfigError(fmt::format("--storage: {}: its file system has no O_DIRECT", folder.string()));
    }
    if (descriptor_ < 0) throw MachineError(fmt::format("open({}): {}", path_.string(), std::strerror(errno)));
    fill(on_progress);
  } catch (...) {
    remove();
    throw;
  }
}

ScratchFile::~ScratchFile() { remove(); }

void ScratchFile::remove() noexcept {
  if (lock_ >= 0) ::unlink(path_.c_str());
  if (descriptor_ >= 0) ::close(descriptor_);
  if (lock_ >= 0) ::close(lock_);
}

void ScratchFile::fill(const std::function<void(double)>& on_progress) {
  engine::StagingArena arena(Bytes{kBlockBytes});
  const std::span<std::byte> block = arena.memory();
  using Clock = std::chrono::steady_clock;
  std::uint64_t tenth_bytes = 0;
  const std::uint64_t tenth = std::max<std::uint64_t>(1, size_.value / 10);
  std::chrono::nanoseconds writing{0};
  for (std::uint64_t offset = 0; offset < size_.value;) {
    const std::uint64_t length = std::min<std::uint64_t>(block.size(), size_.value - offset);
    fill_random(block.first(length), offset);
    const auto began = Clock::now();
    const ssize_t written = ::pwrite(descriptor_, block.data(), length, static_cast<off_t>(offset));
    writing += Clock::now() - began;
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0 || written % 4096 != 0) {
      throw MachineError(fmt::format("pwrite({}, {} bytes at {}): {}", path_.string(), length, offset,
                                     written < 0 ? std::strerror(errno) : "short write"));
    }
    offset += static_cast<std::uint64_t>(written);
    tenth_bytes += static_cast<std::uint64_t>(written);
    if (tenth_bytes >= tenth) {
      write_rates_.push_back(static_cast<double>(tenth_bytes) / std::chrono::duration<double>(writing).count());
      tenth_bytes = 0;
      writing = {};
    }
    if (on_progress) on_progress(static_cast<double>(offset) / static_cast<double>(size_.value));
  }
  if (::fsync(descriptor_) != 0) {
    throw MachineError(fmt::format("fsync({}): {}", path_.string(), std::strerror(errno)));
  }
}

double ScratchFile::cached_share() const {
  // A window at a time: the whole file need not fit the address space of a 32-bit process, nor its vector memory.
  constexpr std::uint64_t kWindow = std::uint64_t{1} << 30;
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::uint64_t cached = 0, total = 0;
  for (std::uint64_t offset = 0; offset < size_.value; offset += kWindow) {
    const std::uint64_t length = std::min(kWindow, size_.value - offset);
    void* mapped = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, lock_, static_cast<off_t>(offset));
    if (mapped == MAP_FAILED) throw MachineError(fmt::format("mmap({}): {}", path_.string(), std::strerror(errno)));
    std::vector<unsigned char> pages((length + page - 1) / page);
    const int result = ::mincore(mapped, length, pages.data());
    const int error = errno;
    ::munmap(mapped, length);
    if (result != 0) throw MachineError(fmt::format("mincore({}): {}", path_.string(), std::strerror(error)));
    cached += static_cast<std::uint64_t>(std::ranges::count_if(pages, [](unsigned char flags) { return flags & 1; }));
    total += pages.size();
  }
  return static_cast<double>(cached) / static_cast<double>(total);
}

std::vector<std::filesystem::path> remove_leftovers(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> removed;
  visit_leftovers(folder, [&](const std::filesystem::path& path, int) {
    if (::unlink(path.c_str()) == 0) removed.push_back(path);
  });
  return removed;
}

Bytes leftover_bytes(const std::filesystem::path& folder) {
  constexpr std::uint64_t kStatBlock = 512;
  Bytes sum{0};
  visit_leftovers(folder, [&](const std::filesystem::path&, int file) {
    struct stat status = {};
    if (::fstat(file, &status) == 0) sum.value += static_cast<std::uint64_t>(status.st_blocks) * kStatBlock;
  });
  return sum;
}

}  // namespace reprefill::calibrate
