#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "traces/importance/byte_io.hpp"
#include "traces/importance/importance_trace.hpp"
#include "traces/importance/score_coding.hpp"

namespace reprefill::traces {

/// A file that appears under its name complete or not at all.
class ImportanceTraceWriter::File {
 public:
  explicit File(std::filesystem::path path)
      : path_(std::move(path)), temporary_(fmt::format("{}.tmp-{}", path_.string(), ::getpid())) {
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd_ < 0) fail("open", temporary_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
    if (!is_finished_) ::unlink(temporary_.c_str());
  }

  void append(const void* data, std::size_t num_bytes) {
    const auto* first = static_cast<const char*>(data);
    buffer_.insert(buffer_.end(), first, first + num_bytes);
    if (buffer_.size() >= kBufferBytes) flush();
  }

  void finish() {
    flush();
    if (::fsync(fd_) != 0) fail("fsync", temporary_);
    if (::close(std::exchange(fd_, -1)) != 0) fail("close", temporary_);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("rename", path_.string());
    is_finished_ = true;
    sync_folder();
  }

 private:
  static constexpr std::size_t kBufferBytes = 1 << 20;

  [[noreturn]] static void fail(std::string_view call, const std::string& name) {
    throw MachineError(fmt::format("{}: {}: {}", name, call, std::strerror(errno)));
  }
  void flush() {
    for (std::size_t done = 0; done < buffer_.size();) {
      const ssize_t written = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail("write", temporary_);
      done += static_cast<std::size_t>(written);
    }
    buffer_.clear();
  }
  /// The rename itself must survive a crash.
  void sync_folder() const {
    const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
    const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) fail("open", folder.string());
    const bool synced = ::fsync(fd) == 0;
    ::close(fd);
    if (!synced) fail("fsync", folder.string());
  }

  std::filesystem::path path_;
  std::string temporary_;
  int fd_ = -1;
  bool is_finished_ = false;
  std::vector<char> buffer_;
};

namespace {

using detail::append;
using detail::append_all;

void check_scores(std::span<const float> scores) {
  for (const float score : scores) {
    REPREFILL_CHECK(score >= 0 && std::isfinite(score), "score {} of an importance trace", score);
  }
}

std::size_t count_runs(std::span<const std::uint32_t> span_tokens, int granularity_tokens) {
  std::size_t runs = 0;
  for (const std::uint32_t tokens : span_tokens) {
    runs += (std::size_t{tokens} + static_cast<std::size_t>(granularity_tokens) - 1) /
            static_cast<std::size_t>(granularity_tokens);
  }
  return runs;
}

void encode_head(std::span<const float> scores, ScoreEncoding encoding, std::vector<std::byte>& scales,
                 std::vector<std::byte>& codes) {
  if (encoding == ScoreEncoding::fp16) {
    const float scale = detail::half_scale(scores);
    append(scales, scale);
    append(scales, 0.0f);
    std::vector<std::uint16_t> halves;
    for (const float score : scores) halves.push_back(detail::half_from_float(score / scale));
    append_all(codes, std::span<const std::uint16_t>(halves));
  } else {
    const detail::LogScale scale = detail::log_scale(scores);
    append(scales, scale.low);
    append(scales, scale.step);
    for (const float score : scores) codes.push_back(static_cast<std::byte>(detail::log_code(score, scale)));
  }
}

}  // namespace

ImportanceTraceWriter::ImportanceTraceWriter(const std::filesystem::path& path, const ImportanceTraceHeader& header)
    : header_(header), file_(std::make_unique<File>(path)) {
  file_->append(detail::kTraceMagic.data(), detail::kTraceMagic.size());
  const std::uint32_t version_and_zero[2] = {detail::kTraceVersion, 0};
  file_->append(version_and_zero, sizeof(version_and_zero));
  const std::string json = detail::header_to_json(header).dump();
  std::vector<std::byte> payload;
  append_all(payload, std::span<const char>(json));
  // What cannot be read back must not be written.
  detail::parse_header({.kind = detail::header_record, .payload = payload, .place = path.string()});
  write_record(detail::header_record, payload);
}

ImportanceTraceWriter::~ImportanceTraceWriter() = default;
ImportanceTraceWriter::ImportanceTraceWriter(ImportanceTraceWriter&&) noexcept = default;

void ImportanceTraceWriter::add(const ImportanceRecord& record) {
  REPREFILL_CHECK(record.channel_idx < header_.channels.size(), "channel {} of {}", record.channel_idx,
                  header_.channels.size());
  const ImportanceChannel& channel = header_.channels[record.channel_idx];
  const std::size_t num_runs = count_runs(record.span_tokens, channel.granularity_tokens);
  const auto num_heads = static_cast<std::size_t>(channel.num_heads);
  REPREFILL_CHECK(record.scores.size() == num_heads * num_runs, "{} scores for {} heads of {} runs",
                  record.scores.size(), num_heads, num_runs);
  check_scores(record.scores);

  std::vector<std::byte> payload, scales, codes;
  append(payload, record.request);
  append(payload, static_cast<std::uint32_t>(record.layer_idx));
  append(payload, static_cast<std::uint32_t>(record.channel_idx));
  append(payload, static_cast<std::uint32_t>(record.span_tokens.size()));
  append(payload, static_cast<std::uint32_t>(num_heads));
  append(payload, std::uint64_t{num_runs});
  append_all(payload, std::span<const std::uint32_t>(record.span_tokens));
  if (record.span_tokens.size() % 2 == 1) append(payload, std::uint32_t{0});
  for (std::size_t head = 0; head < num_heads; ++head) {
    encode_head(std::span(record.scores).subspan(head * num_runs, num_runs), channel.encoding, scales, codes);
  }
  append_all(payload, std::span<const std::byte>(scales));
  append_all(payload, std::span<const std::byte>(codes));
  write_record(detail::scores_record, payload);
}

void ImportanceTraceWriter::add(const RecordedSelection& selection) {
  REPREFILL_CHECK(selection.channel_idx < header_.channels.size(), "channel {} of {}", selection.channel_idx,
                  header_.channels.size());
  REPREFILL_CHECK(
      selection.num_groups > 0 && selection.scores.size() % static_cast<std::size_t>(selection.num_groups) == 0,
      "{} scores for {} groups", selection.scores.size(), selection.num_groups);
  check_scores(selection.scores);
  std::vector<std::byte> payload;
  append(payload, selection.request);
  append(payload, static_cast<std::uint32_t>(selection.layer_idx));
  append(payload, static_cast<std::uint32_t>(selection.channel_idx));
  append(payload, static_cast<std::uint32_t>(selection.grouping));
  append(payload, static_cast<std::uint32_t>(selection.unit_tokens));
  append(payload, static_cast<std::uint32_t>(selection.num_groups));
  append(payload, static_cast<std::uint32_t>(selection.chosen.size()));
  append(payload, std::uint64_t{selection.scores.size() / static_cast<std::size_t>(selection.num_groups)});
  append(payload, std::uint32_t{selection.is_everything});
  append(payload, std::uint32_t{0});
  append(payload, selection.similarity);
  append_all(payload, std::span<const float>(selection.scores));
  for (const std::vector<std::uint32_t>& list : selection.chosen) {
    append(payload, static_cast<std::uint32_t>(list.size()));
    append_all(payload, std::span<const std::uint32_t>(list));
  }
  // Indices out of order or range are refused here rather than when the trace is replayed.
  detail::parse_selection({.kind = detail::selection_record, .payload = payload, .place = "selection"}, header_);
  write_record(detail::selection_record, payload);
}

void ImportanceTraceWriter::finish() {
  std::vector<std::byte> payload;
  append(payload, num_records_);
  write_record(detail::end_record, payload);
  file_->finish();
}

void ImportanceTraceWriter::write_record(std::uint32_t kind, const std::vector<std::byte>& payload) {
  std::vector<std::byte> head;
  append(head, kind);
  append(head, std::uint32_t{0});
  append(head, std::uint64_t{payload.size()});
  append(head, detail::record_checksum(kind, payload, num_records_));
  file_->append(head.data(), head.size());
  file_->append(payload.data(), payload.size());
  constexpr char kZeros[8] = {};
  file_->append(kZeros, (8 - payload.size() % 8) % 8);
  ++num_records_;
}

}  // namespace reprefill::traces
