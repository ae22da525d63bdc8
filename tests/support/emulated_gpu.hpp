// A GPU on the CPU, for tests: streams run what is submitted at once, matrix products are loops. With the emulated
// kernels, executor and machine run without a device. Memory is filled with NaN when it is allocated; work on memory
// that was not allocated here, or copies that nothing waited for, are the sanitizers' to find.
#pragma once

#include "engine/gpu/gpu.hpp"

namespace reprefill::test_support {

/// `clock_rate`: how fast the device's clock is, in the host's seconds.
std::unique_ptr<engine::Gpu> make_emulated_gpu(Bytes memory = Bytes{std::uint64_t{8} << 30}, double clock_rate = 1);

}  // namespace reprefill::test_support
