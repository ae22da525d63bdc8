// A hint: what the kernel after this one reads first.
#pragma once

#include <cstdint>

namespace reprefill::kernels {

/// Bytes that a kernel asks the L2 cache to fetch while it does its own work, so that memory is not idle where the
/// kernel waits for latencies. Results do not depend on it. From compute capability 9.0 on; before, nothing is fetched.
struct NextReads {
  const void* data = nullptr;  // aligned to 16 bytes
  std::uint64_t bytes = 0;     // a multiple of 16; 0: nothing
};

}  // namespace reprefill::kernels
