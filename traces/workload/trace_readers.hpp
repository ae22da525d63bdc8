// Detail of trace_format: one reader a format, each fed with texts and asked for the trace at the end.
#pragma once

#include <memory>
#include <string>

#include "traces/workload/text_source.hpp"
#include "traces/workload/trace_format.hpp"

namespace reprefill::traces::detail {

class TraceReader {
 public:
  virtual ~TraceReader() = default;
  /// One file's text. `origin` is its name in errors and must stay until `finish`.
  virtual void add(std::unique_ptr<ByteSource> bytes, const std::string& origin) = 0;
  /// Throws ConfigError where there was no request in all.
  virtual RequestTrace finish(const std::string& origin) = 0;
};

std::unique_ptr<TraceReader> make_agentic_reader(const AgenticOptions& options);
std::unique_ptr<TraceReader> make_bailian_reader();
std::unique_ptr<TraceReader> make_azure_reader(std::uint32_t block_tokens);
std::unique_ptr<TraceReader> make_lmcache_reader();

/// Seconds that fit into nanoseconds with room to add: 127 years.
inline constexpr double kMaxTraceSeconds = 4e9;

}  // namespace reprefill::traces::detail
