// The inner loops of the CPU executor, compiled once for each instruction set and chosen when the program starts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace reprefill::engine {

/// Keys of one tile of attention; every tile has this many columns, so that a row's arithmetic does not depend on its
/// neighbours.
inline constexpr int kTileKeys = 128;
/// Columns of a value tile are padded to a multiple of this.
inline constexpr int kColumnStep = 64;
/// Keys that are transposed together.
inline constexpr int kKeyGroup = 16;

/// Element types in memory as the kernels see them.
enum class Stored : std::uint8_t { bf16, fp16, fp32 };

/// Softmax of a row so far: the maximum and the sum of exp(logit - maximum).
struct RowState {
  float maximum;
  float sum;
};

/// Everything here is single-threaded, allocates nothing, takes unaligned pointers and works in fp32. For one
/// instruction set each function is a fixed sequence of operations per output: bit-identical from run to run.
struct Kernels {
  const char* name;

  /// out[i] = source[i] as fp32, exactly.
  void (*widen)(Stored type, const std::byte* source, std::size_t count, float* out);

  /// sum(row[i] * x[i]): one output of a linear layer, the weights read as they are stored.
  float (*dot)(Stored type, const std::byte* row, const float* x, std::size_t count);

  /// c[r][j] = (accumulate ? c[r][j] : 0) + sum over i in [0, inner), ascending, of a[r][i] * b[i][j]; j < columns, a
  /// multiple of kColumnStep. Each element is a chain of its own: rows do not depend on how many there are.
  void (*multiply)(const float* a, std::size_t a_stride, int rows, const float* b, std::size_t b_stride, int inner,
                   float* c, std::size_t c_stride, int columns, bool accumulate);

  /// logits[kTileKeys] -> exp(logits - maximum), with state carried over from earlier tiles. Returns what earlier
  /// outputs must be multiplied by. -inf gives exactly 0, NaN stays NaN and reaches `sum`.
  float (*softmax_tile)(float* logits, RowState& state);

  /// out[j] += exp(logits[j] - maximum) * scale for a tile. -inf gives 0.
  void (*add_probabilities)(const float* logits, float maximum, float scale, float* out);

  /// out[dim][kTileKeys] at column `first`: kKeyGroup keys, each `dim` elements, transposed and widened.
  void (*transpose_keys)(Stored type, const std::byte* const* keys, int dim, float* out);

  /// out[i] = a[i] + b[i]; out may be b.
  void (*add)(const float* a, const float* b, std::size_t count, float* out);

  /// data[i] *= factor.
  void (*scale)(float* data, std::size_t count, float factor);

  /// out = x * weight / sqrt(mean(x^2) + eps).
  void (*rms_norm)(const float* x, const float* weight, std::size_t count, float eps, float* out);

  /// gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i].
  void (*swiglu)(float* gate, const float* up, std::size_t count);
};

/// The best for this machine; the same object every time.
const Kernels& best_kernels();

/// For tests: all that this machine can run, best first. `index` beyond the last gives null.
const Kernels* supported_kernels(std::size_t index);

}  // namespace reprefill::engine
