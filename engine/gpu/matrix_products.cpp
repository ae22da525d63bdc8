#include "engine/gpu/matrix_products.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "kernels/base/cuda_check.hpp"
#include "kernels/base/kernel_error.hpp"

namespace reprefill::engine {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // what cuBLAS itself takes on Hopper
constexpr int kNumCandidates = 40;
constexpr std::size_t kTimedRuns = 6;

void check(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw kernels::CudaError(fmt::format("{}: {}", call, cublasLtGetStatusString(status)));
}

}  // namespace

/// cuBLASLt's view of a product: column-major, so that it computes out^T = weights * input^T.
struct MatrixProducts::Description {
  explicit Description(const MatrixProduct& product) {
    check(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed),
          "cublasLtMatmulDescSetAttribute");
    const std::uint64_t rows = product.rows, inputs = product.inputs, outputs = product.outputs;
    const cudaDataType out_type = product.out_is_fp32 ? CUDA_R_32F : CUDA_R_16BF;
    layout(&weights, CUDA_R_16BF, inputs, outputs);
    layout(&input, CUDA_R_16BF, inputs, rows);
    layout(&out, out_type, outputs, rows);
  }
  ~Description() {
    for (const cublasLtMatrixLayout_t matrix : {weights, input, out}) cublasLtMatrixLayoutDestroy(matrix);
    cublasLtMatmulDescDestroy(operation);
  }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;

  static void layout(cublasLtMatrixLayout_t* matrix, cudaDataType type, std::uint64_t rows, std::uint64_t columns) {
    check(cublasLtMatrixLayoutCreate(matrix, type, rows, columns, static_cast<std::int64_t>(rows)),
          "cublasLtMatrixLayoutCreate");
  }

  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t weights = nullptr, input = nullptr, out = nullptr;
};

MatrixProducts::MatrixProducts() {
  check(cublasLtCreate(&handle_), "cublasLtCreate");
  REPREFILL_CUDA(cudaMalloc(&workspace_, kWorkspaceBytes));
}

MatrixProducts::~MatrixProducts() {
  cudaFree(workspace_);
  cublasLtDestroy(handle_);
}

std::vector<cublasLtMatmulHeuristicResult_t> MatrixProducts::candidates(const Description& description,
                                                                        int count) const {
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspaceBytes,
                                       sizeof kWorkspaceBytes);
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<std::size_t>(count));
  int num_found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, description.operation, description.weights, description.input,
                                     description.out, description.out, preference, count, found.data(), &num_found);
  cublasLtMatmulPreferenceDestroy(preference);
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  found.resize(static_cast<std::size_t>(num_found));
  return found;
}

void MatrixProducts::launch(const MatrixProduct& product, const Description& description,
                            const cublasLtMatmulAlgo_t& algorithm, cudaStream_t stream) {
  const float one = 1, beta = product.adds ? 1 : 0;
  check(cublasLtMatmul(handle_, description.operation, &one, product.weights, description.weights, product.input,
                       description.input, &beta, product.out, description.out, product.out, description.out, &algorithm,
                       workspace_, kWorkspaceBytes, stream),
        "cublasLtMatmul");
}

/// One stream uses the workspace at a time: all products of an executor are on its own.
void MatrixProducts::run(const MatrixProduct& product, cudaStream_t stream) {
  if (product.rows == 0) return;
  const Description description(product);
  const std::lock_guard lock(mutex_);
  std::vector<Choice>& choices = choices_[{product.inputs, product.outputs, product.out_is_fp32, product.adds}];
  auto choice = std::ranges::lower_bound(choices, product.rows, {}, &Choice::rows);
  if (choice == choices.end()) {
    const auto found = candidates(description, 1);
    if (found.empty()) throw kernels::CudaError("cuBLASLt has no algorithm for a product");
    choice = choices.insert(choice, {.rows = product.rows, .algorithm = found.front().algo});
  }
  launch(product, description, choice->algorithm, stream);
}

void MatrixProducts::tune(const MatrixProduct& product, std::span<const BFloat16* const> weights, cudaStream_t stream) {
  const Description description(product);
  cudaEvent_t start = nullptr, end = nullptr;
  REPREFILL_CUDA(cudaEventCreate(&start));
  REPREFILL_CUDA(cudaEventCreate(&end));
  Choice best{.rows = product.rows, .algorithm = {}};
  float best_ms = 0;
  for (const cublasLtMatmulHeuristicResult_t& candidate : candidates(description, kNumCandidates)) {
    if (candidate.state != CUBLAS_STATUS_SUCCESS) continue;
    launch(product, description, candidate.algo, stream);
    REPREFILL_CUDA(cudaEventRecord(start, stream));
    MatrixProduct timed = product;
    for (std::size_t i = 0; i < kTimedRuns; ++i) {
      timed.weights = weights[i % weights.size()];
      launch(timed, description, candidate.algo, stream);
    }
    REPREFILL_CUDA(cudaEventRecord(end, stream));
    REPREFILL_CUDA(cudaEventSynchronize(end));
    float milliseconds = 0;
    REPREFILL_CUDA(cudaEventElapsedTime(&milliseconds, start, end));
    if (best_ms == 0 || milliseconds < best_ms) {
      best_ms = milliseconds;
      best.algorithm = candidate.algo;
    }
  }
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  if (best_ms == 0) return;
  const std::lock_guard lock(mutex_);
  std::vector<Choice>& choices = choices_[{product.inputs, product.outputs, product.out_is_fp32, product.adds}];
  choices.insert(std::ranges::lower_bound(choices, product.rows, {}, &Choice::rows), best);
}

}  // namespace reprefill::engine
