#include "core/record/span.hpp"

#include <cstddef>

namespace reprefill::record {

const char* name_of(Operation operation) {
  static constexpr const char* kNames[] = {"read",     "read_keys", "write",        "copy",        "project",
                                           "score",    "select",    "attend",       "first_token", "framework",
                                           "tokenise", "look_up",   "cache_update", "wait",        "decode"};
  return kNames[static_cast<std::size_t>(operation)];
}

const char* name_of(Resource resource) {
  static constexpr const char* kNames[] = {"gpu_compute", "scoring",       "ssd_demand",      "ssd_prefetch",
                                           "ssd_write",   "link_h2d_copy", "link_h2d_gather", "link_d2h",
                                           "host_memory", "host"};
  return kNames[static_cast<std::size_t>(resource)];
}

}  // namespace reprefill::record
