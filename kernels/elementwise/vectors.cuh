// Eight bf16 at a time.
#pragma once

#include "kernels/base/primitives.cuh"

namespace reprefill::kernels {

inline constexpr std::uint32_t kVector = 8;  // bf16 in 16 bytes

struct Floats8 {
  float values[kVector];
};

__device__ __forceinline__ Floats8 unpack8(const device::Packed8& packed) {
  Floats8 out;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    out.values[2 * i] = device::low_to_float(packed.words[i]);
    out.values[2 * i + 1] = device::high_to_float(packed.words[i]);
  }
  return out;
}

/// Rounded to nearest even.
__device__ __forceinline__ device::Packed8 pack8(const Floats8& from) {
  device::Packed8 packed;
#pragma unroll
  for (int i = 0; i < 4; ++i) packed.words[i] = device::pack_bf16(from.values[2 * i], from.values[2 * i + 1]);
  return packed;
}

__device__ __forceinline__ Floats8 load8(const BFloat16* from) {
  return unpack8(*reinterpret_cast<const device::Packed8*>(from));
}
__device__ __forceinline__ void store8(BFloat16* to, const Floats8& from) {
  *reinterpret_cast<device::Packed8*>(to) = pack8(from);
}

}  // namespace reprefill::kernels
