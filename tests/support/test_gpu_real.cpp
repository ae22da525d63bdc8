#include <cstdio>

#include "core/base/error.hpp"
#include "tests/support/test_gpu.hpp"

namespace reprefill::test_support {

std::unique_ptr<engine::Gpu> make_test_gpu() {
  try {
    return engine::open_gpu(0);
  } catch (const MachineError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return nullptr;
  }
}

bool test_gpu_is_emulated() { return false; }

}  // namespace reprefill::test_support
