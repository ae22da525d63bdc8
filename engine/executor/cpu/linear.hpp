// Linear layers: many rows through the BLAS, one row straight from the weights as they are stored.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "core/base/units.hpp"
#include "engine/checkpoint/checkpoint.hpp"
#include "engine/executor/cpu/kernels.hpp"
#include "engine/executor/cpu/worker_pool.hpp"

namespace reprefill::engine {

Stored stored_type(ElementType type);

/// A weight matrix [outputs][inputs], as published or widened.
class LinearWeights {
 public:
  LinearWeights() = default;
  explicit LinearWeights(const WeightView& view) : view_(view) {}

  const WeightView& view() const { return view_; }
  int outputs() const { return static_cast<int>(view_.rows); }
  int inputs() const { return static_cast<int>(view_.columns); }
  Bytes widened_bytes() const;
  /// fp32 weights are used where they lie; others may be kept widened.
  bool needs_widening() const;

  /// Allow a widened copy; it is made at the first use.
  void grant_cache() { cache_granted_ = true; }
  bool cache_granted() const { return cache_granted_; }

 private:
  friend class LinearLayers;
  WeightView view_;
  bool cache_granted_ = false;
  std::unique_ptr<float[]> widened_;
};

/// Rows of activations whose buffer has room for the rows that tiles are padded with (`LinearLayers::padded_rows`).
struct Rows {
  const float* data = nullptr;
  std::size_t stride = 0;
  int count = 0;
};

enum class Store : std::uint8_t { assign, add };

/// out[r][j] = sum over i of rows[r][i] * weights[j][i], + bias[j] where there is one; or, without bias, added to what
/// is there.
struct LinearJob {
  LinearWeights* weights = nullptr;
  const float* bias = nullptr;
  float* out = nullptr;
  std::size_t out_stride = 0;
  Store store = Store::assign;
};

/// Multiplies by tiles, each by one single-threaded sgemm, in panels of outputs that depend on the weights alone. A
/// row's result does not depend on the other rows of its tile, so neither the number of threads nor blocks of tokens
/// nor whether weights are cached changes a bit (tested by linear_test): row_products.hpp asks OpenBLAS for that, and
/// tiles are padded beyond the path for small matrices that it takes up to 100^3 multiply-adds.
class LinearLayers {
 public:
  LinearLayers(WorkerPool& pool, const Kernels& kernels);

  /// Jobs share the input rows (query, key and value; gate and up).
  void multiply(Rows rows, std::span<const LinearJob> jobs);

  /// One row; each output is one dot product over the weights as stored: half the bytes of widened ones, which is what
  /// decoding waits for. Rounds differently from `multiply`.
  void multiply_row(const float* row, std::span<const LinearJob> jobs);

  /// Rows that a buffer of activations for `count` tokens must have; those beyond `count` may hold anything.
  static int padded_rows(int count);

 private:
  struct Tile;
  std::vector<Tile> tiles(Rows rows, std::span<const LinearJob> jobs) const;
  void run_tile(const Tile& tile, Rows rows, int thread_idx);
  const float* panel_weights(const Tile& tile, int thread_idx);
  void fill_caches(std::span<const LinearJob> jobs);

  WorkerPool& pool_;
  const Kernels& kernels_;
  std::vector<std::vector<float>> results_;  // per thread: a tile before it is stored
  std::vector<std::vector<float>> frames_;   // per thread: what multiply_rows needs
  std::vector<std::vector<float>> widened_;  // per thread: a panel of weights
};

}  // namespace reprefill::engine
