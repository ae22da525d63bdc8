#include "core/record/result_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/base/files.hpp"

namespace reprefill::record {
namespace {

constexpr const char* kJournal = "journal.jsonl";
constexpr const char* kResolved = "resolved.json";
constexpr const char* kResultFiles[] = {"journal.jsonl", "resolved.json", "results.jsonl", "results.csv",
                                        "summary.json",  "run.json",      "timeline.json"};

std::string checksum_of(std::size_t point, const std::string& row_text) {
  const std::string text = fmt::format("{}|{}", point, row_text);
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

std::string text_of_errno() { return std::strerror(errno); }

std::string abbreviated(const Json& value) {
  const std::string text = value.dump();
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

struct JournalLine {
  std::size_t point;
  Json row;
};

/// Nullopt: the line is not whole or its checksum is wrong.
std::optional<JournalLine> read_line(const std::string& line) {
  Json json;
  try {
    json = parse_json(line, kJournal);  // not Json::parse: copying what is nested a million deep overflows the stack
  } catch (const ConfigError&) {
    return std::nullopt;
  }
  if (!json.is_object() || !json.contains("point") || !json.contains("checksum") || !json.contains("row"))
    return std::nullopt;
  if (!json["point"].is_number_unsigned() || !json["checksum"].is_string()) return std::nullopt;
  JournalLine result{json["point"].get<std::size_t>(), json["row"]};
  if (json["checksum"] != checksum_of(result.point, result.row.dump())) return std::nullopt;
  return result;
}

}  // namespace

ResultFolder::ResultFolder(std::filesystem::path path, const Json& resolved, Mode mode) : path_(std::move(path)) {
  std::error_code error;
  std::filesystem::create_directories(path_, error);
  if (error || !std::filesystem::is_directory(path_)) {
    throw ConfigError(fmt::format("{}: cannot be made a result folder: {}", path_.string(),
                                  error ? error.message() : "it is not a folder"));
  }
  lock();
  if (mode == Mode::replace) remove_results();
  const bool goes_on = mode == Mode::resume && std::filesystem::exists(path_ / kJournal);
  if (!goes_on) refuse_results();
  if (goes_on) {
    compare_inputs(resolved);
    load_journal();
  } else {
    write_file_atomically(path_ / kResolved, resolved.dump(2) + "\n");
  }
  journal_.number = ::open((path_ / kJournal).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (journal_.number < 0)
    throw MachineError(fmt::format("{}: cannot be opened: {}", (path_ / kJournal).string(), text_of_errno()));
  sync_folder(path_);  // a row is only as durable as the name of its file
}

ResultFolder::Descriptor::~Descriptor() {
  if (number >= 0) ::close(number);
}

void ResultFolder::lock() {
  const std::filesystem::path file = path_ / ".lock";
  lock_.number = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_.number < 0) throw ConfigError(fmt::format("{}: cannot be written to: {}", path_.string(), text_of_errno()));
  if (::flock(lock_.number, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) throw MachineError(fmt::format("flock({}): {}", file.string(), text_of_errno()));
    const FileContents holder = read_whole_file(file, 0);
    throw ConfigError(fmt::format("{}: is in use by another sweep{}; wait for it or name another folder with --out",
                                  path_.string(), holder.size > 0 ? fmt::format(" (pid {})", holder.text()) : ""));
  }
  // For that message only: the lock is what counts, so a full disk may leave the number out.
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(lock_.number, 0) != 0 || ::pwrite(lock_.number, pid.data(), pid.size(), 0) < 0) return;
}

void ResultFolder::remove_results() {
  for (const char* name : kResultFiles) std::filesystem::remove(path_ / name);
}

/// resolved.json alone is no result: it is written before the journal is begun.
void ResultFolder::refuse_results() const {
  const bool has_journal = std::filesystem::exists(path_ / kJournal);
  for (const char* name : kResultFiles) {
    if (std::string_view(name) == kResolved || !std::filesystem::exists(path_ / name)) continue;
    throw ConfigError(fmt::format("{}: has results already ({}): {}--force replaces them, --out names another folder",
                                  path_.string(), name, has_journal ? "--resume goes on with them, " : ""));
  }
}

void ResultFolder::compare_inputs(const Json& resolved) const {
  const Json before = read_json_file(path_ / kResolved);
  const std::string difference = first_difference(before, Json::parse(resolved.dump()));
  if (difference.empty()) return;
  throw ConfigError(fmt::format("{}: --resume needs the same inputs, but {}", path_.string(), difference));
}

/// A torn last line is what a crash leaves: it is cut off. Damage before it is refused.
void ResultFolder::load_journal() {
  const std::filesystem::path file = path_ / kJournal;
  const FileContents contents = read_whole_file(file, 0);
  const std::string_view text = contents.text();
  std::size_t begin = 0, number = 1;
  for (; begin < text.size(); ++number) {
    const std::size_t end = text.find('\n', begin);
    const bool whole = end != std::string_view::npos;
    const std::optional<JournalLine> line = read_line(std::string(text.substr(begin, whole ? end - begin : end)));
    if (!line || !whole) {
      const bool last = !whole || end + 1 == text.size();
      if (!last) {
        throw ConfigError(fmt::format("{}: line {} is damaged; --force starts again", file.string(), number));
      }
      break;
    }
    done_[line->point] = line->row;
    begin = end + 1;
  }
  if (begin < text.size()) std::filesystem::resize_file(file, begin);
}

const Json* ResultFolder::row(std::size_t point) const {
  const std::lock_guard guard(mutex_);
  const auto found = done_.find(point);
  return found == done_.end() ? nullptr : &found->second;
}

void ResultFolder::append_row(std::size_t point, const std::string& inputs_hash, const Json& row) {
  const std::string text = row.dump();
  const std::string line = fmt::format("{{\"point\":{},\"inputs\":\"{}\",\"checksum\":\"{}\",\"row\":{}}}\n", point,
                                       inputs_hash, checksum_of(point, text), text);
  const std::lock_guard guard(mutex_);
  write_line(line);
  done_[point] = row;
}

void ResultFolder::write_line(const std::string& line) {
  const std::string file = (path_ / kJournal).string();
  if (torn_) throw MachineError(fmt::format("{}: an earlier row could not be written whole", file));
  struct stat before {};
  if (::fstat(journal_.number, &before) != 0) throw MachineError(fmt::format("fstat({}): {}", file, text_of_errno()));
  const auto take_back = [&](const char* call) {
    const std::string reason = text_of_errno();
    torn_ = ::ftruncate(journal_.number, before.st_size) != 0;
    throw MachineError(fmt::format("{}({}): {}", call, file, reason));
  };
  for (std::size_t written = 0; written < line.size();) {
    const ssize_t count = ::write(journal_.number, line.data() + written, line.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) take_back("write");
    written += static_cast<std::size_t>(count);
  }
  if (::fdatasync(journal_.number) != 0) take_back("fdatasync");
}

void ResultFolder::finish(const std::vector<Json>& rows, const Json& summary, const Json& run) {
  std::string lines;
  for (const Json& row : rows) lines += row.dump() + "\n";
  write_file_atomically(path_ / "results.jsonl", lines);
  write_file_atomically(path_ / "results.csv", to_csv(rows));
  write_file_atomically(path_ / "summary.json", summary.dump(2) + "\n");
  write_file_atomically(path_ / "run.json", run.dump(2) + "\n");
}

std::string first_difference(const Json& a, const Json& b) {
  const Json changes = Json::diff(a, b);
  if (changes.empty()) return "";
  std::string pointer = changes.front().at("path").get<std::string>();
  // What a list gained has the path "/list/-" in a patch: the place behind its end.
  if (pointer.ends_with("/-") && changes.front().at("op") == "add") {
    const std::string list = pointer.substr(0, pointer.size() - 2);
    const Json& before = a.at(Json::json_pointer(list));
    if (before.is_array()) pointer = fmt::format("{}/{}", list, before.size());
  }
  const Json::json_pointer path(pointer);
  const auto value_in = [&](const Json& json) {
    return json.contains(path) ? abbreviated(json.at(path)) : std::string("absent");
  };
  return fmt::format("{} was {} and is {}", pointer, value_in(a), value_in(b));
}

std::string to_csv(const std::vector<Json>& rows) {
  std::vector<std::string> columns;
  std::map<std::string, std::size_t> position;
  std::vector<std::map<std::size_t, std::string>> cells;
  const auto quoted = [](const Json& value) {
    std::string text = value.is_null() ? "" : value.is_string() ? value.get<std::string>() : value.dump();
    if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
    std::string escaped = "\"";
    for (const char c : text) escaped += c == '"' ? std::string("\"\"") : std::string(1, c);
    return escaped + "\"";
  };
  const std::function<void(const Json&, const std::string&)> flatten = [&](const Json& value, const std::string& name) {
    if (value.is_object() && !value.empty()) {
      for (const auto& [key, inner] : value.items()) flatten(inner, name.empty() ? key : name + "." + key);
      return;
    }
    const auto [found, is_new] = position.emplace(name, columns.size());
    if (is_new) columns.push_back(name);
    cells.back()[found->second] = quoted(value);
  };
  for (const Json& row : rows) {
    cells.emplace_back();
    flatten(row, "");
  }
  std::string csv;
  for (std::size_t i = 0; i < columns.size(); ++i) csv.append(i > 0 ? "," : "").append(quoted(columns[i]));
  csv += "\n";
  for (const auto& row : cells) {
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (i > 0) csv += ",";
      if (const auto cell = row.find(i); cell != row.end()) csv += cell->second;
    }
    csv += "\n";
  }
  return csv;
}

}  // namespace reprefill::record
