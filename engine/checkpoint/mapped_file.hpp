// A file's bytes in memory, read-only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace reprefill::engine {

/// Maps a regular file for reading; pages come when they are touched. Throws ConfigError for a path that is no readable
/// regular file, MachineError where mmap fails.
class MappedFile {
 public:
  explicit MappedFile(std::filesystem::path path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), size_}; }
  const std::filesystem::path& path() const { return path_; }
  /// The bytes will be needed soon, front to back.
  void read_ahead() const;

 private:
  std::filesystem::path path_;
  void* address_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace reprefill::engine
