// What was done, where and when: emitted at the machine's boundary with the same names on every machine (design 4).
#pragma once

#include <cstdint>

#include "core/base/units.hpp"

namespace reprefill::record {

enum class Operation : std::uint8_t {
  read,
  read_keys,
  write,
  copy,
  project,
  score,
  select,
  attend,
  first_token,
  framework,
  tokenise,
  look_up,
  cache_update,
  wait,
  decode
};
const char* name_of(Operation operation);

enum class Resource : std::uint8_t {
  gpu_compute,
  scoring,  // score and select: on the GPU, but a class of their own
  ssd_demand,
  ssd_prefetch,
  ssd_write,
  link_h2d_copy,    // copy engine
  link_h2d_gather,  // gather kernel
  link_d2h,
  host_memory,  // staging to the host tier
  host
};
inline constexpr int kNumResources = 10;
const char* name_of(Resource resource);

struct Span {
  Operation operation = Operation::read;
  Resource resource = Resource::host;
  std::uint32_t request = 0;
  std::int32_t layer_idx = -1;  // -1: belongs to no layer
  Bytes bytes = {};
  Nanoseconds issued{0};
  Nanoseconds ready{0};  // dependencies done
  Nanoseconds start{0};  // the device began
  Nanoseconds end{0};
  bool queued_behind_other = false;  // between ready and start another request's operation held the device
};

}  // namespace reprefill::record
