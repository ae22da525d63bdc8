#include "traces/importance/byte_io.hpp"

namespace reprefill::traces::detail {

void append_bytes(std::vector<std::byte>& bytes, const void* first, std::size_t num_bytes) {
  if (num_bytes == 0) return;
  const std::size_t at = bytes.size();
  bytes.resize(at + num_bytes);
  std::memcpy(bytes.data() + at, first, num_bytes);
}

}  // namespace reprefill::traces::detail
