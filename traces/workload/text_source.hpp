// Text files in pieces, packed or not: what a reader holds at a time is a line, however long the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reprefill::traces {

/// Bytes in pieces.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// At least one byte unless the source ends here.
  virtual std::size_t read(char* to, std::size_t capacity) = 0;
  /// No more than this is left; readers set aside no more memory than that.
  virtual std::size_t most_bytes_left() const { return std::numeric_limits<std::size_t>::max(); }
};

/// A file; one whose name ends in .gz is unpacked. Throws ConfigError where it cannot be read or is damaged.
std::unique_ptr<ByteSource> open_bytes(const std::filesystem::path& path);
/// A text in memory, which must outlive the source.
std::unique_ptr<ByteSource> bytes_of(std::string_view text);
/// Unpacks gzip, several members one after the other included. Throws ConfigError that starts with `origin` for damage,
/// a cut-off end, and what is not gzip.
std::unique_ptr<ByteSource> gunzip(std::unique_ptr<ByteSource> packed, std::string origin);

/// The name without .gz: what a file is, whether packed or not.
std::filesystem::path without_gz(const std::filesystem::path& path);

/// A longer line is a mistake in the file; the largest of published traces has some 100 KB.
inline constexpr std::size_t kMaxLineBytes = std::size_t{1} << 28;

/// Lines of a text, without their line ends. A UTF-8 byte order mark in front is skipped.
class LineReader {
 public:
  /// `padding` readable bytes follow every line. `origin` names the text in errors.
  LineReader(std::unique_ptr<ByteSource> bytes, std::string origin, std::size_t padding = 0);

  /// The next line, valid until the next call; nothing at the end. A text's last line need not end.
  std::optional<std::string_view> next();
  /// Of the line that `next` returned, from 1.
  std::uint32_t line_number() const { return line_number_; }
  /// False for a last line without a line end.
  bool line_has_end() const { return line_has_end_; }
  const std::string& origin() const { return origin_; }

 private:
  void fill();

  std::unique_ptr<ByteSource> bytes_;
  std::string origin_;
  std::size_t padding_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;  // of what has not been returned
  std::size_t end_ = 0;    // of what has been read
  std::uint32_t line_number_ = 0;
  bool line_has_end_ = true;
  bool source_ended_ = false;
};

/// A whole text of at most `max_bytes`, followed by `padding` zero bytes.
std::vector<char> read_all(ByteSource& bytes, std::string_view origin, std::size_t max_bytes, std::size_t padding);

}  // namespace reprefill::traces
