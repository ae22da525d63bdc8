// The GPU that tests of the executor and the machine run on: emulated where the project builds, real in the programs
// that CUDA builds make of the same sources.
#pragma once

#include "engine/gpu/gpu.hpp"

namespace reprefill::test_support {

/// Null where a real one is wanted and there is none.
std::unique_ptr<engine::Gpu> make_test_gpu();
/// Device code runs some thousand times slower: fewer cases do.
bool test_gpu_is_emulated();

}  // namespace reprefill::test_support
