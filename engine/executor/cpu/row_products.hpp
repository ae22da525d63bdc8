// Products by OpenBLAS in which a row's result depends neither on its place nor on the rows beside it.
#pragma once

#include <cstddef>
#include <vector>

namespace reprefill::engine {

/// Rows of a tile are padded to a multiple of this.
inline constexpr int kRowStep = 16;

/// How the library must be asked. OpenBLAS 0.3.21 on x86-64: its kernels for AVX-512 compute every row alike. Those for
/// Haswell and Zen take what is left of a multiple of 12 rows, and the first and last eight outputs, through sums of
/// another order; with rows as columns of the product it is the first and last eight of them, so eight others go before
/// and behind.
enum class RowPlacement : unsigned char { rows, framed_columns };

/// What computes every row alike on this processor: found by trying, once. Call openblas_set_num_threads(1) before.
RowPlacement row_placement();

/// Most rows of a product: beyond, a frame is cut into parts that have edges of their own.
int most_rows(RowPlacement placement);

/// result[r][j] = sum over i of rows[r][i] * weights[j][i]: `num_rows` rows of `inputs` floats, `stride` apart;
/// `outputs` rows of weights; result [num_rows][outputs]. With RowPlacement::rows, `num_rows` is a multiple of
/// kRowStep.
struct RowProduct {
  const float* rows = nullptr;
  std::size_t stride = 0;
  int num_rows = 0;
  const float* weights = nullptr;
  int outputs = 0;
  int inputs = 0;
  float* result = nullptr;
};
/// `scratch` grows as needed.
void multiply_rows(const RowProduct& product, RowPlacement placement, std::vector<float>& scratch);

}  // namespace reprefill::engine
