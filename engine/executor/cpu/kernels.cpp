#include "engine/executor/cpu/kernels.hpp"

#include <array>

#include "engine/executor/cpu/kernels_variants.hpp"

namespace reprefill::engine {
namespace {

bool runs_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

bool runs_avx2() {
#if defined(__x86_64__)
  // F16C came before AVX2 on every processor that has both; clang 16 cannot be asked for it.
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

}  // namespace

const Kernels* supported_kernels(std::size_t index) {
  std::array<const Kernels*, 4> found = {};
  std::size_t count = 0;
#if defined(__x86_64__)
  if (runs_avx512() && runs_avx2()) found[count++] = &avx512_kernels();
  if (runs_avx2()) found[count++] = &avx2_kernels();
#endif
  found[count++] = &portable_kernels();
  return index < count ? found[index] : nullptr;
}

const Kernels& best_kernels() { return *supported_kernels(0); }

}  // namespace reprefill::engine
