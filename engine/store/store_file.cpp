#include "engine/store/store_file.hpp"

#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/store/segment_header.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;

std::string errno_text(int error_number) { return std::generic_category().message(error_number); }

/// A path that may not be touched is the user's to change; a disk that is full or broken is not.
[[noreturn]] void throw_errno(std::string_view call, const fs::path& path, int error_number = errno) {
  const std::string text = fmt::format("{}({}): {}", call, path.string(), errno_text(error_number));
  switch (error_number) {
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
      throw ConfigError(text);
    default:
      throw MachineError(text);
  }
}

void announce(const BeforeCall& before, std::string_view call, const fs::path& path) {
  if (before) before(call, path);
}

int open_file(const fs::path& path, int flags, DirectIo direct) {
  if (direct != DirectIo::off) {
    const int descriptor = ::open(path.c_str(), flags | O_DIRECT | O_CLOEXEC, 0600);
    if (descriptor >= 0) return descriptor;
    if (errno == EINVAL && direct == DirectIo::required) {
      throw MachineError(
          fmt::format("open({}): the file system has no O_DIRECT; put the store on a local disk, or "
                      "allow buffered reads",
                      path.string()));
    }
    if (errno != EINVAL) return descriptor;
    // Linux checks O_DIRECT after it has created the file.
    if ((flags & O_CREAT) != 0) ::unlink(path.c_str());
  }
  return ::open(path.c_str(), flags | O_CLOEXEC, 0600);
}

}  // namespace

AlignedBuffer::AlignedBuffer(std::size_t size) : size_(round_up_to_page(size)) {
  if (size_ == 0) return;
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, size_)));
  if (memory_ == nullptr) throw std::bad_alloc();
  std::memset(memory_.get(), 0, size_);
}

StoreFile StoreFile::open_to_read(const fs::path& path, DirectIo direct) {
  const int descriptor = open_file(path, O_RDONLY, direct);
  if (descriptor < 0 && errno == ENOENT) throw StoreDamage(fmt::format("{}: the file is missing", path.string()));
  if (descriptor < 0) throw_errno("open", path);
  return {descriptor, path};
}

StoreFile StoreFile::open_to_repair(const fs::path& path, const BeforeCall& before) {
  announce(before, "open", path);
  const int descriptor = open_file(path, O_RDWR, DirectIo::off);
  if (descriptor < 0) throw_errno("open", path);
  return {descriptor, path};
}

StoreFile StoreFile::create(const fs::path& path, DirectIo direct, const BeforeCall& before) {
  announce(before, "open", path);
  const int descriptor = open_file(path, O_RDWR | O_CREAT | O_EXCL, direct);
  if (descriptor < 0) throw_errno("open", path);
  return {descriptor, path};
}

StoreFile::StoreFile(StoreFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}

StoreFile& StoreFile::operator=(StoreFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  return *this;
}

StoreFile::~StoreFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::uint64_t StoreFile::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) throw_errno("fstat", path_);
  return static_cast<std::uint64_t>(status.st_size);
}

void StoreFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno("pread", path_);
    if (got == 0) {
      throw StoreDamage(
          fmt::format("{}: cut short: it ends at byte {}, {} more were expected", path_.string(), offset, out.size()));
    }
    offset += static_cast<std::uint64_t>(got);
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

void StoreFile::write(std::uint64_t offset, std::span<const std::byte> bytes, const BeforeCall& before) const {
  while (!bytes.empty()) {
    announce(before, "pwrite", path_);
    const ssize_t put = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw_errno("pwrite", path_);
    // Never endless: a device that takes nothing says why on the next call, or is out of space.
    if (put == 0) throw_errno("pwrite", path_, ENOSPC);
    offset += static_cast<std::uint64_t>(put);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void StoreFile::sync(const BeforeCall& before) const {
  announce(before, "fsync", path_);
  if (::fsync(descriptor_) != 0) throw_errno("fsync", path_);
}

void StoreFile::close() {
  if (descriptor_ >= 0 && ::close(std::exchange(descriptor_, -1)) != 0) throw_errno("close", path_);
}

void make_private_folder(const fs::path& path, const BeforeCall& before) {
  announce(before, "mkdir", path);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) throw_errno("mkdir", path);
}

void sync_folder(const fs::path& path, const BeforeCall& before) {
  announce(before, "fsync", path);
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw_errno("open", path);
  const int failure = ::fsync(descriptor) != 0 ? errno : 0;
  ::close(descriptor);
  // Some file systems cannot sync a folder and say EINVAL; the rename is atomic there all the same.
  if (failure != 0 && failure != EINVAL) throw_errno("fsync", path, failure);
}

void rename_path(const fs::path& from, const fs::path& to, const BeforeCall& before) {
  announce(before, "rename", to);
  if (::rename(from.c_str(), to.c_str()) != 0) throw_errno("rename", to);
}

void remove_path(const fs::path& path, const BeforeCall& before) {
  announce(before, "unlink", path);
  std::error_code error;
  fs::remove_all(path, error);
  if (error) throw_errno("unlink", path, error.value());
}

void write_private_file(const fs::path& path, std::string_view text, const BeforeCall& before) {
  const fs::path temporary = path.parent_path() / fmt::format(".{}.partial", path.filename().string());
  remove_path(temporary, before);
  try {
    StoreFile file = StoreFile::create(temporary, DirectIo::off, before);
    file.write(0, std::as_bytes(std::span(text)), before);
    file.sync(before);
    file.close();
    rename_path(temporary, path, before);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_folder(path.parent_path(), before);
}

StoreLock::StoreLock(const fs::path& store, const BeforeCall& before) {
  const fs::path path = store / ".lock";
  announce(before, "open", path);
  const int descriptor = open_file(path, O_RDWR | O_CREAT, DirectIo::off);
  if (descriptor < 0) throw_errno("open", path);
  file_ = StoreFile::open_to_read(path, DirectIo::off);
  ::close(descriptor);
  if (::flock(file_.descriptor(), LOCK_EX | LOCK_NB) == 0) return;
  if (errno != EWOULDBLOCK) throw_errno("flock", path);
  throw ConfigError(
      fmt::format("{}: another process writes to this store; wait until it has finished", store.string()));
}

}  // namespace reprefill::engine
