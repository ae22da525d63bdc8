#include "traces/workload/text_source.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include <zlib.h>

#include "core/base/error.hpp"
#include "core/base/files.hpp"

namespace reprefill::traces {
namespace {

constexpr std::string_view kUtf8ByteOrderMark = "\xEF\xBB\xBF";
constexpr std::size_t kPieceBytes = std::size_t{1} << 18;

/// A byte more than is left, so that the end is seen without a larger buffer.
std::size_t piece_bytes(const ByteSource& bytes) {
  return bytes.most_bytes_left() < kPieceBytes ? bytes.most_bytes_left() + 1 : kPieceBytes;
}

class FileBytes final : public ByteSource {
 public:
  explicit FileBytes(const std::filesystem::path& path) : file_(path) {}
  std::size_t read(char* to, std::size_t capacity) override { return file_.read(to, capacity); }

 private:
  FileReader file_;
};

class TextBytes final : public ByteSource {
 public:
  explicit TextBytes(std::string_view text) : left_(text) {}
  std::size_t read(char* to, std::size_t capacity) override {
    const std::size_t size = std::min(capacity, left_.size());
    std::copy_n(left_.begin(), size, to);
    left_.remove_prefix(size);
    return size;
  }
  std::size_t most_bytes_left() const override { return left_.size(); }

 private:
  std::string_view left_;
};

class GzipBytes final : public ByteSource {
 public:
  GzipBytes(std::unique_ptr<ByteSource> packed, std::string origin)
      : packed_(std::move(packed)), origin_(std::move(origin)), input_(piece_bytes(*packed_)) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) throw MachineError("inflateInit2: out of memory");
  }
  GzipBytes(const GzipBytes&) = delete;
  GzipBytes& operator=(const GzipBytes&) = delete;
  ~GzipBytes() override { inflateEnd(&stream_); }

  std::size_t read(char* to, std::size_t capacity) override {
    const auto room = static_cast<uInt>(std::min<std::size_t>(capacity, std::numeric_limits<uInt>::max()));
    stream_.next_out = reinterpret_cast<Bytef*>(to);
    stream_.avail_out = room;
    while (stream_.avail_out == room) {
      if (stream_.avail_in == 0 && !fetch()) {
        // A member that has begun must end; an empty file is no gzip either.
        if (!between_members_ || num_members_ == 0) fail("ends before the packed data do: cut off?");
        return 0;
      }
      if (between_members_) start_member();
      const int status = inflate(&stream_, Z_NO_FLUSH);
      if (status == Z_STREAM_END) {
        between_members_ = true;
      } else if (status == Z_MEM_ERROR) {
        throw MachineError(fmt::format("inflate({}): out of memory", origin_));
      } else if (status != Z_OK) {
        fail(num_members_ == 1 && stream_.total_out == 0 ? "is not gzip, or damaged" : "is damaged");
      }
    }
    return room - stream_.avail_out;
  }

 private:
  bool fetch() {
    const std::size_t size = packed_->read(input_.data(), input_.size());
    stream_.next_in = reinterpret_cast<Bytef*>(input_.data());
    stream_.avail_in = static_cast<uInt>(size);
    return size > 0;
  }

  void start_member() {
    if (num_members_ > 0) inflateReset(&stream_);
    ++num_members_;
    between_members_ = false;
  }

  [[noreturn]] void fail(std::string_view found) const {
    throw ConfigError(fmt::format("{}: found a file that {}; expected whole gzip data", origin_, found));
  }

  std::unique_ptr<ByteSource> packed_;
  std::string origin_;
  std::vector<char> input_;
  z_stream stream_{};
  std::uint64_t num_members_ = 0;
  bool between_members_ = true;
};

}  // namespace

std::unique_ptr<ByteSource> bytes_of(std::string_view text) { return std::make_unique<TextBytes>(text); }

std::unique_ptr<ByteSource> gunzip(std::unique_ptr<ByteSource> packed, std::string origin) {
  return std::make_unique<GzipBytes>(std::move(packed), std::move(origin));
}

std::unique_ptr<ByteSource> open_bytes(const std::filesystem::path& path) {
  auto file = std::make_unique<FileBytes>(path);
  if (path.extension() != ".gz") return file;
  return gunzip(std::move(file), path.string());
}

std::filesystem::path without_gz(const std::filesystem::path& path) {
  return path.extension() == ".gz" ? std::filesystem::path(path).replace_extension() : path;
}

LineReader::LineReader(std::unique_ptr<ByteSource> bytes, std::string origin, std::size_t padding)
    : bytes_(std::move(bytes)), origin_(std::move(origin)), padding_(padding), buffer_(piece_bytes(*bytes_) + padding) {
  while (end_ < kUtf8ByteOrderMark.size() && !source_ended_) fill();
  if (std::string_view(buffer_.data(), end_).starts_with(kUtf8ByteOrderMark)) begin_ = kUtf8ByteOrderMark.size();
}

/// Reads on behind what is there; what has been returned makes room first.
void LineReader::fill() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ > kMaxLineBytes) {
    throw ConfigError(fmt::format("{}:{}: found a line of more than {} bytes; expected at most that many", origin_,
                                  line_number_ + 1, kMaxLineBytes));
  }
  if (end_ + padding_ == buffer_.size()) buffer_.resize(2 * buffer_.size());
  const std::size_t got = bytes_->read(buffer_.data() + end_, buffer_.size() - padding_ - end_);
  source_ended_ = got == 0;
  end_ += got;
}

std::optional<std::string_view> LineReader::next() {
  std::size_t searched = begin_;
  while (true) {
    const void* found = std::memchr(buffer_.data() + searched, '\n', end_ - searched);
    if (found == nullptr && !source_ended_) {
      const std::size_t pending = end_ - begin_;
      fill();
      searched = begin_ + pending;
      continue;
    }
    line_has_end_ = found != nullptr;
    if (!line_has_end_ && begin_ == end_) return std::nullopt;
    if (line_number_ == std::numeric_limits<std::uint32_t>::max()) {
      throw ConfigError(fmt::format("{}: found more than {} lines; expected at most that many", origin_, line_number_));
    }
    ++line_number_;
    const std::size_t line_end =
        line_has_end_ ? static_cast<std::size_t>(static_cast<const char*>(found) - buffer_.data()) : end_;
    const std::string_view line(buffer_.data() + begin_, line_end - begin_);
    begin_ = line_has_end_ ? line_end + 1 : end_;
    return line;
  }
}

std::vector<char> read_all(ByteSource& bytes, std::string_view origin, std::size_t max_bytes, std::size_t padding) {
  constexpr std::size_t kFirstBytes = std::size_t{1} << 14;  // grows from there
  std::vector<char> text(std::min(piece_bytes(bytes), kFirstBytes) + padding);
  std::size_t size = 0;
  while (true) {
    if (size > max_bytes) {
      throw ConfigError(fmt::format("{}: found more than {} bytes; expected at most that many", origin, max_bytes));
    }
    if (size + padding == text.size()) text.resize(2 * text.size());
    const std::size_t got = bytes.read(text.data() + size, text.size() - padding - size);
    if (got == 0) break;
    size += got;
  }
  text.resize(size + padding);
  std::fill(text.begin() + static_cast<std::ptrdiff_t>(size), text.end(), '\0');
  return text;
}

}  // namespace reprefill::traces
