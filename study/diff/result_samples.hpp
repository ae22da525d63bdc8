// Numbers of a result folder that can be paired with those of another one.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.hpp"

namespace reprefill::study {

/// One number, and what it may be paired with.
struct ResultSample {
  std::string pair;  // "replica 0", "request 12", "replica 0 request 12"
  double value = 0;
};

/// One point: a system on one setting of the axes.
struct ResultPoint {
  std::string label;
  Json axes = Json::object();  // without those that collapsed for this system
  std::vector<ResultSample> samples = {};
};

enum class PairBy : std::uint8_t { automatic, request, point };

struct ResultSamples {
  std::string kind;  // "sweep", "compare"
  int schema_version = 0;
  PairBy pair_by = PairBy::point;
  std::vector<ResultPoint> points;  // in the file's order
};

struct SampleOptions {
  std::string metric = "";             // path of a number in a row, such as "ttft.p95_ttft_ms"; empty: the TTFT
  PairBy pair_by = PairBy::automatic;  // automatic: by request where all rows have requests
};

/// Reads FOLDER/results.jsonl of `sweep` or `compare`. Throws ConfigError naming file, line and key: an unfinished
/// folder, rows of several schemas, no such number.
ResultSamples read_result_samples(const std::filesystem::path& folder, const SampleOptions& options);
/// The same for the text of results.jsonl.
ResultSamples parse_result_samples(std::string_view text, const std::string& origin, const SampleOptions& options);

}  // namespace reprefill::study
