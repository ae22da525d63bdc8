// Where tests find data that is too large for the repository. Absent data is a skipped test, never a passed one:
//
//   const auto folder = find_trace_folder();
//   if (!folder) GTEST_SKIP() << kNoTraceFolder;
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>

namespace reprefill::test_support {

inline constexpr std::string_view kNoTraceFolder =
    "no published traces: set REPREFILL_TRACES or put them in ../shared/traces";
inline constexpr std::string_view kNoQwenFolder =
    "no Qwen2.5 files: set REPREFILL_QWEN or put them in ../shared/qwen2.5";

/// The root of the source tree: this file's place, or the working directory where builds map file names away.
inline std::filesystem::path source_folder() {
  const std::filesystem::path root = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
  return std::filesystem::exists(root / "CMakeLists.txt") ? root : std::filesystem::current_path();
}

/// The folder that an environment variable names (if it is set, nothing else counts), else a folder of ../shared.
inline std::optional<std::filesystem::path> find_shared_folder(const char* variable, std::string_view name) {
  const char* named = std::getenv(variable);
  const std::filesystem::path folder =
      named != nullptr ? std::filesystem::path(named) : source_folder().parent_path() / "shared" / name;
  return std::filesystem::is_directory(folder) ? std::optional(folder) : std::nullopt;
}

inline std::optional<std::filesystem::path> find_trace_folder() {
  return find_shared_folder("REPREFILL_TRACES", "traces");
}

inline std::optional<std::filesystem::path> find_qwen_folder() {
  return find_shared_folder("REPREFILL_QWEN", "qwen2.5");
}

}  // namespace reprefill::test_support
