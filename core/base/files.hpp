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

/// Makes names that were created, renamed or removed in the folder durable. Throws as above.
void sync_folder(const std::filesystem::path& folder);

/// Writes to a temporary name beside `path`, fsyncs, renames. On failure `path` is as it was and nothing else is left.
/// Throws ConfigError where the path is at fault (missing folder, no permission, a directory), else MachineError.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace reprefill
