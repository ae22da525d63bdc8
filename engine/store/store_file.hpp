// The few system calls of a store: files of mode 0600, folders of mode 0700, every failure named.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace reprefill::engine {

enum class DirectIo : std::uint8_t { off, if_possible, required };

/// Called before each call that changes the file system, with its name and path; tests kill the process or throw there.
using BeforeCall = std::function<void(std::string_view call, const std::filesystem::path& path)>;

/// 4 KiB-aligned memory, as O_DIRECT wants it; zero at first.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t size);
  std::byte* data() const { return memory_.get(); }
  std::size_t size() const { return size_; }
  std::span<std::byte> bytes() const { return {memory_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t size_ = 0;
};

/// An open file; closed at the end.
class StoreFile {
 public:
  StoreFile() = default;
  /// Throws StoreDamage where the file is missing, MachineError where the call fails. `required` throws where the file
  /// system refuses O_DIRECT.
  static StoreFile open_to_read(const std::filesystem::path& path, DirectIo direct);
  static StoreFile open_to_repair(const std::filesystem::path& path, const BeforeCall& before);
  /// A new file of mode 0600.
  static StoreFile create(const std::filesystem::path& path, DirectIo direct, const BeforeCall& before);
  StoreFile(StoreFile&& other) noexcept;
  StoreFile& operator=(StoreFile&& other) noexcept;
  ~StoreFile();

  int descriptor() const { return descriptor_; }
  const std::filesystem::path& path() const { return path_; }
  std::uint64_t size() const;
  /// Fills `out`, or throws MachineError (StoreDamage where the file ends before).
  void read(std::uint64_t offset, std::span<std::byte> out) const;
  void write(std::uint64_t offset, std::span<const std::byte> bytes, const BeforeCall& before) const;
  void sync(const BeforeCall& before) const;
  /// Reports what a late write error has to say; the destructor cannot.
  void close();

 private:
  StoreFile(int descriptor, std::filesystem::path path) : descriptor_(descriptor), path_(std::move(path)) {}
  int descriptor_ = -1;
  std::filesystem::path path_;
};

void make_private_folder(const std::filesystem::path& path, const BeforeCall& before);
void sync_folder(const std::filesystem::path& path, const BeforeCall& before);
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to, const BeforeCall& before);
/// Removes a file, or a folder with what is in it; a path that does not exist is fine.
void remove_path(const std::filesystem::path& path, const BeforeCall& before);
/// Temporary name, fsync, rename, fsync of the folder.
void write_private_file(const std::filesystem::path& path, std::string_view text, const BeforeCall& before);

/// One writer at a time. Held until the end; a process that is killed gives it back.
class StoreLock {
 public:
  /// Throws ConfigError while another process writes.
  explicit StoreLock(const std::filesystem::path& store, const BeforeCall& before);

 private:
  StoreFile file_;
};

}  // namespace reprefill::engine
