// Any bytes are either a table whose tensors lie inside the file, apart from each other and of the size that shape and
// dtype give, or an error that names the file.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/error.hpp"
#include "engine/checkpoint/safetensors.hpp"

using namespace reprefill;
using namespace reprefill::engine;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  try {
    const TensorTable table = parse_safetensors(file, "fuzz.safetensors");
    std::size_t total = 0;
    for (const auto& [name, entry] : table) {
      REPREFILL_CHECK(entry.data.empty() || (entry.data.data() >= file.data() &&
                                             entry.data.data() + entry.data.size() <= file.data() + file.size()),
                      "{} lies outside the file", name);
      total += entry.data.size();
      if (const std::size_t element = dtype_bytes(entry.dtype); element > 0) {
        std::size_t count = 1;
        for (const std::int64_t extent : entry.shape) count *= static_cast<std::size_t>(extent);
        REPREFILL_CHECK(count * element == entry.data.size(), "{} has {} bytes for {} elements", name,
                        entry.data.size(), count);
      }
    }
    REPREFILL_CHECK(total <= file.size(), "{} bytes of tensors in a file of {}", total, file.size());
  } catch (const ConfigError& error) {
    REPREFILL_CHECK(std::string_view(error.what()).find("fuzz.safetensors") != std::string_view::npos,
                    "no file in '{}'", error.what());
  }
  return 0;
}
