// Small importance traces for tests.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "traces/importance/importance_trace.hpp"

namespace reprefill::traces {

/// A folder of this test alone, removed at its end.
class ScratchFolder {
 public:
  ScratchFolder() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::path(::testing::TempDir()) /
            fmt::format("reprefill-{}-{}-{}", info->test_suite_name(), info->name(), ::getpid());
    std::filesystem::create_directories(path_);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::vector<std::byte> read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

inline ImportanceTraceHeader small_header(int layers_per_period = 8) {
  return {
      .channels = {{.name = "keys", .num_heads = 2, .granularity_tokens = 16, .encoding = ScoreEncoding::fp16},
                   {.name = "probe:0,1,2", .num_heads = 3, .granularity_tokens = 1, .encoding = ScoreEncoding::log8}},
      .layers_per_period = layers_per_period,
      .recorded_under = std::nullopt};
}

/// Request 4, layer 0, 64 + 40 tokens: KV head h has mass (h + 1) * (run + 1) in each of 7 runs.
inline ImportanceRecord small_keys_record() {
  ImportanceRecord record{.request = 4, .layer_idx = 0, .channel_idx = 0, .span_tokens = {64, 40}, .scores = {}};
  for (int head = 1; head <= 2; ++head) {
    for (int run = 1; run <= 7; ++run) record.scores.push_back(static_cast<float>(head * run));
  }
  return record;
}

inline RecordedSelection small_selection() {
  return {.request = 4,
          .layer_idx = 3,
          .channel_idx = 0,
          .grouping = HeadGrouping::all_heads,
          .unit_tokens = 16,
          .num_groups = 1,
          .scores = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f},
          .chosen = {{5, 6}},
          .is_everything = false,
          .similarity = 1};
}

inline std::vector<std::byte> small_trace(const ScratchFolder& folder) {
  const auto path = folder / "small.rimp";
  ImportanceTraceWriter writer(path, small_header());
  writer.add(small_keys_record());
  writer.add(small_selection());
  ImportanceRecord probes{.request = 4, .layer_idx = 0, .channel_idx = 1, .span_tokens = {5}, .scores = {}};
  for (int i = 0; i < 15; ++i) probes.scores.push_back(static_cast<float>(i));
  writer.add(probes);
  writer.finish();
  return read_bytes(path);
}

}  // namespace reprefill::traces
