// Matrix products by cuBLASLt, with the algorithm that was fastest for a shape when it was first asked for.
#pragma once

#include <cublasLt.h>

#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "engine/gpu/gpu.hpp"

namespace reprefill::engine {

class MatrixProducts {
 public:
  MatrixProducts();
  ~MatrixProducts();
  MatrixProducts(const MatrixProducts&) = delete;
  MatrixProducts& operator=(const MatrixProducts&) = delete;

  void run(const MatrixProduct& product, cudaStream_t stream);
  /// Times cuBLASLt's candidates for this shape, on each of `weights` in turn, and keeps the fastest for products of
  /// up to this many rows (and more than the next smaller that was tuned). Blocks. Accumulates into nothing: `adds` is
  /// timed as it is, so `out` must be memory whose contents do not matter.
  void tune(const MatrixProduct& product, std::span<const BFloat16* const> weights, cudaStream_t stream);

 private:
  struct Description;
  /// Everything that a choice depends on but the rows.
  using Key = std::tuple<std::uint32_t, std::uint32_t, bool, bool>;
  struct Choice {
    std::uint32_t rows = 0;  // up to which it is used
    cublasLtMatmulAlgo_t algorithm{};
  };
  std::vector<cublasLtMatmulHeuristicResult_t> candidates(const Description& description, int count) const;
  void launch(const MatrixProduct& product, const Description& description, const cublasLtMatmulAlgo_t& algorithm,
              cudaStream_t stream);

  cublasLtHandle_t handle_ = nullptr;
  void* workspace_ = nullptr;
  std::mutex mutex_;
  std::map<Key, std::vector<Choice>> choices_;  // by rows, ascending
};

}  // namespace reprefill::engine
