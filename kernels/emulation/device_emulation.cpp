// The warp-wide matrix instructions, as PTX ISA 8.0 sections 9.7.14.5 (mma.m16n8k16, ldmatrix) place their elements.
#include "kernels/emulation/device_emulation.hpp"

namespace reprefill::kernels::device {
namespace {

float half(std::uint32_t pair, int index) { return __uint_as_float(index == 0 ? pair << 16 : pair & 0xffff0000u); }

struct MatrixLoad {
  std::uint32_t* out;
  const void* row;
};

std::uint16_t element(void* const* operands, int matrix, int row, int column) {
  const void* address = static_cast<const MatrixLoad*>(operands[matrix * 8 + row])->row;
  REPREFILL_CHECK(std::bit_cast<std::uintptr_t>(address) % 16 == 0, "ldmatrix needs rows aligned to 16 bytes");
  std::uint16_t bits;
  std::memcpy(&bits, static_cast<const std::byte*>(address) + column * 2, sizeof bits);
  return bits;
}

template <bool kTransposed>
void run_matrix_load(void* const* operands) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      std::uint32_t word = 0;
      for (int i = 0; i < 2; ++i) {
        const int outer = lane / 4, inner = (lane % 4) * 2 + i;
        const std::uint32_t bits =
            kTransposed ? element(operands, matrix, inner, outer) : element(operands, matrix, outer, inner);
        word |= bits << (16 * i);
      }
      static_cast<MatrixLoad*>(operands[lane])->out[matrix] = word;
    }
  }
}

struct MultiplyAdd {
  float* c;
  const std::uint32_t* a;
  std::uint32_t b[2];
};

void run_multiply_add(void* const* operands) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& self = *static_cast<const MultiplyAdd*>(operands[lane]);
    const int group = lane / 4, pair = (lane % 4) * 2;
    for (int i = 0; i < 2; ++i) {
      a[group][pair + i] = half(self.a[0], i);
      a[group + 8][pair + i] = half(self.a[1], i);
      a[group][pair + 8 + i] = half(self.a[2], i);
      a[group + 8][pair + 8 + i] = half(self.a[3], i);
      b[pair + i][group] = half(self.b[0], i);
      b[pair + 8 + i][group] = half(self.b[1], i);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    float* c = static_cast<const MultiplyAdd*>(operands[lane])->c;
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + (i / 2) * 8, column = (lane % 4) * 2 + i % 2;
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      c[i] += sum;
    }
  }
}

}  // namespace

void load_matrices(std::uint32_t (&out)[4], const void* row) {
  MatrixLoad operand{out, row};
  emulation::warp_collective(&operand, &run_matrix_load<false>);
}
void load_matrices_transposed(std::uint32_t (&out)[4], const void* row) {
  MatrixLoad operand{out, row};
  emulation::warp_collective(&operand, &run_matrix_load<true>);
}
void multiply_add(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  MultiplyAdd operand{c, a, {b0, b1}};
  emulation::warp_collective(&operand, &run_multiply_add);
}

}  // namespace reprefill::kernels::device
