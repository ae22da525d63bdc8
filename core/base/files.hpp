// Reading a file in one piece, and writing one so that nobody ever sees half of it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string_view>

namespace reprefill {

/// A file's bytes, followed by `padding` bytes that may be read and mean nothing.
struct FileContents {
  std::unique_ptr<char[]> bytes;
  std::size_t size = 0;
  std::string_view text() const { return {bytes.get(), size}; }
};

/// Throws ConfigError for a path that is missing, a directory or not readable, MachineError when reading fails.
FileContents read_whole_file(const std::filesystem::path& path, std::size_t padding);

/// A file's bytes in pieces, for inputs that need not fit into memory.
class FileReader {
 public:
  /// Throws as `read_whole_file` does.
  explicit FileReader(std::filesystem::path path);
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;
  ~FileReader();
  /// At least one byte unless the file ends here.
  std::size_t read(char* to, std::size_t capacity);

 private:
  std::filesystem::path path_;
  int descriptor_;
};

/// What `write_file_atomically` does, for text that comes in pieces: nobody sees the file before `commit`, and without
/// it nothing is left.
class AtomicFileWriter {
 public:
  explicit AtomicFileWriter(std::filesystem::path path);
  AtomicFileWriter(const AtomicFileWriter&) = delete;
  AtomicFileWriter& operator=(const AtomicFileWriter&) = delete;
  ~AtomicFileWriter();
  void append(std::string_view text);
  void commit();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Makes names that were created, renamed or removed in the folder durable. Throws as above.
void sync_folder(const std::filesystem::path& folder);

/// Writes to a temporary name beside `path`, fsyncs, renames. On failure `path` is as it was and nothing else is left.
/// Throws ConfigError where the path is at fault (missing folder, no permission, a directory), else MachineError.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// Whether there is such a path (or folder). No name throws, however long: one that cannot be is none.
bool path_exists(const std::filesystem::path& path) noexcept;
bool folder_exists(const std::filesystem::path& path) noexcept;

}  // namespace reprefill
