// Any bytes as the rows of a result: a clear error, or columns and JSON that cannot leave its <script> element.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/error.hpp"
#include "study/report/report_page.hpp"
#include "study/report/report_timeline.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace reprefill;
  try {
    study::ResultSet result{.folder = "fuzz"};
    result.rows = study::parse_rows({reinterpret_cast<const char*>(data), size}, "fuzz");
    study::fastest_points(result, 16);
    const std::string safe = study::script_safe(study::report_entry(result, Json::array(), {}));
    REPREFILL_CHECK(safe.find_first_of("<>&") == std::string::npos, "markup in {}", safe);
    REPREFILL_CHECK(Json::parse(safe)["num_rows"] == result.rows.size(), "{}", safe);
  } catch (const ConfigError&) {}
  return 0;
}
