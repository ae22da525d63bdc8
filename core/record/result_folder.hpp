// The folder of a sweep's results (design 6): rows survive a crash, and nothing that looks whole is ever half.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/base/json.hpp"

namespace reprefill::record {

/// Holds the folder's lock. Rows go to `journal.jsonl` in order of completion, each with a checksum and flushed to the
/// disk; `finish` writes the files in point order under their final names.
class ResultFolder {
 public:
  enum class Mode {
    fresh,    // the folder must hold no results
    replace,  // results in it are removed
    resume    // rows in its journal are kept; the inputs must be the same
  };

  /// Throws ConfigError (in use, results there already, other inputs), MachineError (disk).
  ResultFolder(std::filesystem::path path, const Json& resolved, Mode mode);
  ~ResultFolder() = default;
  ResultFolder(const ResultFolder&) = delete;
  ResultFolder& operator=(const ResultFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// A row of the journal; null if the point is not done.
  const Json* row(std::size_t point) const;
  /// Thread-safe. Returns once the row is on the disk. After a MachineError the journal is as it was before the call,
  /// or takes no more rows: nothing is ever written behind half a line.
  void append_row(std::size_t point, const std::string& inputs_hash, const Json& row);
  /// results.jsonl, results.csv, summary.json, run.json.
  void finish(const std::vector<Json>& rows, const Json& summary, const Json& run);

 private:
  /// Closed with its owner, also when the constructor throws: a refused folder must not stay locked.
  struct Descriptor {
    int number = -1;
    Descriptor() = default;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor();
  };

  void lock();
  void remove_results();
  void refuse_results() const;
  void write_line(const std::string& line);
  void load_journal();
  void compare_inputs(const Json& resolved) const;

  std::filesystem::path path_;
  Descriptor lock_;
  Descriptor journal_;
  bool torn_ = false;  // a row could be neither written nor taken back
  mutable std::mutex mutex_;
  std::map<std::size_t, Json> done_;
};

/// The key path of the first difference, with both values; "" if there is none.
std::string first_difference(const Json& a, const Json& b);
/// Nested keys joined with '.', columns in order of first appearance, RFC 4180 quoting.
std::string to_csv(const std::vector<Json>& rows);

}  // namespace reprefill::record
