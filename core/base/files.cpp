#include "core/base/files.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/error.hpp"

namespace reprefill {
namespace {

bool is_fault_of_path(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP:
    case ENAMETOOLONG:
      return true;
    default:
      return false;
  }
}

[[noreturn]] void throw_errno(const char* call, const std::filesystem::path& path, const char* expected) {
  const int error_number = errno;
  const std::string reason = std::generic_category().message(error_number);
  if (is_fault_of_path(error_number)) {
    throw ConfigError(fmt::format("{}: {}; expected {}", path.string(), reason, expected));
  }
  throw MachineError(fmt::format("{}({}): {}", call, path.string(), reason));
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int number) : number_(number) {}
  FileDescriptor(FileDescriptor&& other) noexcept : number_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  ~FileDescriptor() { close(); }

  int number() const { return number_; }
  bool is_open() const { return number_ >= 0; }
  int release() { return std::exchange(number_, -1); }
  int close() { return number_ >= 0 ? ::close(std::exchange(number_, -1)) : 0; }

 private:
  int number_;
};

constexpr const char* kReadableFile = "the name of a readable file";
constexpr const char* kWritablePlace = "the name of a file in an existing folder that may be written to";

/// Removes the temporary file unless it has got its final name.
class TemporaryName {
 public:
  explicit TemporaryName(std::filesystem::path path) : path_(std::move(path)) {}
  TemporaryName(const TemporaryName&) = delete;
  TemporaryName& operator=(const TemporaryName&) = delete;
  ~TemporaryName() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  const std::filesystem::path& path() const { return path_; }
  void rename_to(const std::filesystem::path& target) {
    if (std::rename(path_.c_str(), target.c_str()) != 0) throw_errno("rename", target, kWritablePlace);
    path_.clear();
  }

 private:
  std::filesystem::path path_;
};

FileDescriptor open_to_read(const std::filesystem::path& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) throw_errno("open", path, kReadableFile);
  if (folder_exists(path)) {
    throw ConfigError(fmt::format("{}: is a directory; expected {}", path.string(), kReadableFile));
  }
  return file;
}

std::size_t read_some(int descriptor, char* to, std::size_t capacity, const std::filesystem::path& path) {
  while (true) {
    const ssize_t got = ::read(descriptor, to, capacity);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno("read", path, kReadableFile);
    return static_cast<std::size_t>(got);
  }
}

void write_all(const FileDescriptor& file, std::string_view text, const std::filesystem::path& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(file.number(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_errno("write", path, kWritablePlace);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

void sync_folder(const std::filesystem::path& folder) {
  FileDescriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor.is_open()) throw_errno("open", folder, "a folder");
  // Some filesystems cannot sync a folder and say EINVAL; names change atomically there all the same.
  if (::fsync(descriptor.number()) != 0 && errno != EINVAL) throw_errno("fsync", folder, "a folder");
}

FileReader::FileReader(std::filesystem::path path)
    : path_(std::move(path)), descriptor_(open_to_read(path_).release()) {}

FileReader::~FileReader() { ::close(descriptor_); }

std::size_t FileReader::read(char* to, std::size_t capacity) { return read_some(descriptor_, to, capacity, path_); }

FileContents read_whole_file(const std::filesystem::path& path, std::size_t padding) {
  const FileDescriptor file = open_to_read(path);
  struct stat status {};
  if (::fstat(file.number(), &status) != 0) throw_errno("fstat", path, kReadableFile);
  // A pipe has no size; one byte more than a file's size lets the last read find the end without growing.
  std::size_t capacity = std::max<std::size_t>(static_cast<std::size_t>(status.st_size) + 1, 1 << 16);
  FileContents contents{.bytes = std::make_unique_for_overwrite<char[]>(capacity + padding)};
  while (true) {
    if (contents.size == capacity) {
      auto larger = std::make_unique_for_overwrite<char[]>(2 * capacity + padding);
      std::memcpy(larger.get(), contents.bytes.get(), contents.size);
      contents.bytes = std::move(larger);
      capacity *= 2;
    }
    const std::size_t got =
        read_some(file.number(), contents.bytes.get() + contents.size, capacity - contents.size, path);
    if (got == 0) break;
    contents.size += got;
  }
  // Read by simdjson past the end but without meaning; zeroed so that memory checkers agree.
  std::memset(contents.bytes.get() + contents.size, 0, padding);
  return contents;
}

struct AtomicFileWriter::Impl {
  explicit Impl(std::filesystem::path target)
      : path(std::move(target)),
        folder(path.has_parent_path() ? path.parent_path() : std::filesystem::path(".")),
        name(folder / fmt::format(".{}.{}.tmp", path.filename().string(), static_cast<long>(::getpid()))),
        file(create()) {}

  FileDescriptor create() const {
    if (folder_exists(path)) {
      throw ConfigError(fmt::format("{}: is a directory; expected {}", path.string(), kWritablePlace));
    }
    // Left over by a process of the same number that was killed; nobody else uses this name.
    ::unlink(name.path().c_str());
    FileDescriptor created(::open(name.path().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!created.is_open()) throw_errno("open", path, kWritablePlace);
    return created;
  }

  std::filesystem::path path;
  std::filesystem::path folder;
  TemporaryName name;
  FileDescriptor file;
};

AtomicFileWriter::AtomicFileWriter(std::filesystem::path path) : impl_(std::make_unique<Impl>(std::move(path))) {}
AtomicFileWriter::~AtomicFileWriter() = default;

void AtomicFileWriter::append(std::string_view text) { write_all(impl_->file, text, impl_->path); }

void AtomicFileWriter::commit() {
  if (::fsync(impl_->file.number()) != 0) throw_errno("fsync", impl_->path, kWritablePlace);
  if (impl_->file.close() != 0) throw_errno("close", impl_->path, kWritablePlace);
  impl_->name.rename_to(impl_->path);
  sync_folder(impl_->folder);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  AtomicFileWriter writer(path);
  writer.append(text);
  writer.commit();
}

bool path_exists(const std::filesystem::path& path) noexcept {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

bool folder_exists(const std::filesystem::path& path) noexcept {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

}  // namespace reprefill
