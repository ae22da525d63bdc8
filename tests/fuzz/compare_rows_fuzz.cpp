// Any bytes as the rows of a comparison: a clear error, or rows that a page can show.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/error.hpp"
#include "study/report/compare_report.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace reprefill;
  try {
    const Json rows = study::parse_compare_rows({reinterpret_cast<const char*>(data), size}, "fuzz");
    for (const Json& row : rows) {
      REPREFILL_CHECK(row.at("ttft").at("real_ms").get<double>() >= 0, "{}", row.dump());
    }
  } catch (const ConfigError&) {}
  return 0;
}
