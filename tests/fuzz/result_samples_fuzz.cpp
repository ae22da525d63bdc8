// Any bytes as the rows of a result folder: a clear error or numbers to pair, never a crash.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/error.hpp"
#include "study/diff/diff.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace reprefill::study;
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const ResultSamples samples = parse_result_samples(text, "fuzz", {});
    diff_results(samples, samples, {});
  } catch (const reprefill::ConfigError&) {}
  return 0;
}
