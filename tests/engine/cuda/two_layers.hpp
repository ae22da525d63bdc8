// The smallest model that the kernels take, and systems by name.
#pragma once

#include "tests/engine/session/session_fixture.hpp"

namespace reprefill::engine::test_support {

inline reprefill::test_support::TinyCheckpoint two_layers() {
  return {.num_layers = 2,
          .hidden = 64,
          .num_query_heads = 4,
          .num_kv_heads = 1,
          .head_dim = 64,
          .intermediate = 64,
          .vocab = 300};
}

inline Variant variant_of(const char* system) { return {.name = system, .system = system, .params = Json::object()}; }

}  // namespace reprefill::engine::test_support
