#include "tests/support/emulated_gpu.hpp"
#include "tests/support/test_gpu.hpp"

namespace reprefill::test_support {

std::unique_ptr<engine::Gpu> make_test_gpu() { return make_emulated_gpu(); }
bool test_gpu_is_emulated() { return true; }

}  // namespace reprefill::test_support
