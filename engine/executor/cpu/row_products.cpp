#include "engine/executor/cpu/row_products.hpp"

#include <algorithm>
#include <cstring>

#include <cblas.h>

#include "core/base/random.hpp"

namespace reprefill::engine {
namespace {

constexpr int kMargin = 8;        // rows before and behind those of a frame
constexpr int kFramedRows = 240;  // with the margins less than the 320 columns that a part has on Haswell
constexpr int kMostRows = 1024;   // sgemm packs both operands, large tiles repay it

void multiply_as_rows(const RowProduct& p) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p.num_rows, p.outputs, p.inputs, 1.0f, p.rows,
              static_cast<int>(p.stride), p.weights, p.inputs, 0.0f, p.result, p.outputs);
}

void multiply_framed(const RowProduct& p, std::vector<float>& scratch) {
  const int columns = (p.num_rows + 2 * kMargin + kRowStep - 1) / kRowStep * kRowStep;
  const auto inputs = static_cast<std::size_t>(p.inputs), outputs = static_cast<std::size_t>(p.outputs);
  const auto width = static_cast<std::size_t>(columns), count = static_cast<std::size_t>(p.num_rows);
  const std::size_t frame_size = width * inputs;
  if (scratch.size() < frame_size + outputs * width) scratch.resize(frame_size + outputs * width);
  float* const frame = scratch.data();
  float* const product = frame + frame_size;
  std::fill_n(frame, kMargin * inputs, 0.0f);
  for (std::size_t row = 0; row < count; ++row) {
    std::memcpy(frame + (kMargin + row) * inputs, p.rows + row * p.stride, inputs * sizeof(float));
  }
  std::fill(frame + (kMargin + count) * inputs, frame + frame_size, 0.0f);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, p.outputs, columns, p.inputs, 1.0f, p.weights, p.inputs, frame,
              p.inputs, 0.0f, product, columns);
  for (std::size_t row = 0; row < count; ++row) {
    for (std::size_t output = 0; output < outputs; ++output) {
      p.result[row * outputs + output] = product[output * width + kMargin + row];
    }
  }
}

/// Rows taken from the middle of many give what they give among them.
bool computes_rows_alike(RowPlacement placement) {
  constexpr int kRows = 160, kInputs = 64, kOutputs = 256;  // 64 rows are beyond the small-matrix path
  RandomStream random(1, 0, "row_products");
  std::vector<float> rows(std::size_t{kRows} * kInputs), weights(std::size_t{kOutputs} * kInputs), scratch;
  for (float& value : rows) value = static_cast<float>(random.normal(0, 1));
  for (float& value : weights) value = static_cast<float>(random.normal(0, 1));
  const auto multiply = [&](int first, int count) {
    std::vector<float> result(static_cast<std::size_t>(count) * kOutputs);
    multiply_rows({.rows = rows.data() + first * kInputs,
                   .stride = kInputs,
                   .num_rows = count,
                   .weights = weights.data(),
                   .outputs = kOutputs,
                   .inputs = kInputs,
                   .result = result.data()},
                  placement, scratch);
    return result;
  };
  const std::vector<float> all = multiply(0, kRows);
  for (const int count : {64, 80, 96}) {
    for (const int first : {0, 1, 7, 16, 37}) {
      const std::vector<float> some = multiply(first, count);
      if (!std::equal(some.begin(), some.end(), all.begin() + first * kOutputs)) return false;
    }
  }
  return true;
}

}  // namespace

RowPlacement row_placement() {
  static const RowPlacement placement =
      computes_rows_alike(RowPlacement::rows) ? RowPlacement::rows : RowPlacement::framed_columns;
  return placement;
}

int most_rows(RowPlacement placement) { return placement == RowPlacement::rows ? kMostRows : kFramedRows; }

void multiply_rows(const RowProduct& product, RowPlacement placement, std::vector<float>& scratch) {
  if (placement == RowPlacement::rows) {
    multiply_as_rows(product);
  } else {
    multiply_framed(product, scratch);
  }
}

}  // namespace reprefill::engine
