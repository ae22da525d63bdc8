#include "traces/workload/trace_format.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "traces/workload/mooncake.hpp"
#include "traces/workload/trace_readers.hpp"

namespace reprefill::traces {
namespace {

std::unique_ptr<detail::TraceReader> make_reader(const TraceReadOptions& options) {
  switch (options.format) {
    case TraceFormat::agentic:
      return detail::make_agentic_reader(options.agentic);
    case TraceFormat::bailian:
      return detail::make_bailian_reader();
    case TraceFormat::azure:
      return detail::make_azure_reader(options.block_tokens.value_or(kMooncakeBlockTokens));
    case TraceFormat::lmcache:
      return detail::make_lmcache_reader();
    case TraceFormat::mooncake:
      break;
  }
  REPREFILL_CHECK(false, "format {} has no reader of this kind", static_cast<int>(options.format));
  return nullptr;
}

/// What names of a format's files end in, for formats that come as folders of many.
const char* extension_in_folder(TraceFormat format) {
  if (format == TraceFormat::agentic) return ".json";
  return format == TraceFormat::lmcache ? ".jsonl" : nullptr;
}

/// The files that a path stands for, in order of name.
std::vector<std::filesystem::path> files_of(const std::filesystem::path& path, TraceFormat format) {
  const char* extension = extension_in_folder(format);
  if (!folder_exists(path) || extension == nullptr) return {path};
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (without_gz(entry.path()).extension() == extension) files.push_back(entry.path());
  }
  if (files.empty()) {
    throw ConfigError(
        fmt::format("{}: found no {} file in this folder; expected at least one", path.string(), extension));
  }
  std::sort(files.begin(), files.end());
  return files;
}

MooncakeOptions mooncake_options(const TraceReadOptions& options) {
  return {.block_tokens = options.block_tokens.value_or(kMooncakeBlockTokens)};
}

}  // namespace

RequestTrace read_trace(const std::filesystem::path& path, const TraceReadOptions& options) {
  if (options.format == TraceFormat::mooncake) return read_mooncake_jsonl(path, mooncake_options(options));
  const std::unique_ptr<detail::TraceReader> reader = make_reader(options);
  for (const std::filesystem::path& file : files_of(path, options.format)) reader->add(open_bytes(file), file.string());
  return reader->finish(path.string());
}

RequestTrace parse_trace(std::string_view text, std::string_view origin, const TraceReadOptions& options) {
  if (options.format == TraceFormat::mooncake) return parse_mooncake_jsonl(text, origin, mooncake_options(options));
  const std::unique_ptr<detail::TraceReader> reader = make_reader(options);
  reader->add(bytes_of(text), std::string(origin));
  return reader->finish(std::string(origin));
}

}  // namespace reprefill::traces
