// Times the kernels and prints a Markdown table. Arguments choose: attention score select gather elementwise; none:
// all.
#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "benchmarks/kernels/cases.hpp"
#include "kernels/base/cuda_check.hpp"
#include "kernels/base/kernel_error.hpp"

namespace {

using namespace reprefill;

void time_copy(benchmarks::GraphTimer& timer) {
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  const benchmarks::Buffer from(kBytes), to(kBytes);
  const auto timing = timer.time(1, [&](std::size_t, cudaStream_t stream) {
    REPREFILL_CUDA(cudaMemcpyAsync(to.as<void>(), from.as<void>(), kBytes, cudaMemcpyDeviceToDevice, stream));
  });
  benchmarks::print_row("copy, device to device", "1 GiB, read + written", timing, {.bytes = 2.0 * kBytes});
}

int run(int argc, char** argv) {
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
    fmt::print(stderr, "benchmark_kernels: no GPU\n");
    return static_cast<int>(ExitCode::skipped);
  }
  const auto is_wanted = [&](std::string_view name) {
    return argc < 2 || std::find(argv + 1, argv + argc, name) != argv + argc;
  };
  cudaDeviceProp properties{};
  REPREFILL_CUDA(cudaGetDeviceProperties(&properties, 0));
  fmt::print("{}, {} multiprocessors\n\n", properties.name, properties.multiProcessorCount);
  benchmarks::GraphTimer timer;
  benchmarks::print_header();
  time_copy(timer);
  const bool sweeps_splits = argc > 1 && is_wanted("splits");
  if (is_wanted("attention") || sweeps_splits) benchmarks::time_attention(timer, sweeps_splits);
  if (is_wanted("score")) benchmarks::time_scoring(timer);
  if (is_wanted("select")) benchmarks::time_selection(timer);
  if (is_wanted("gather")) benchmarks::time_gather(timer);
  if (is_wanted("elementwise")) benchmarks::time_elementwise(timer);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "benchmark_kernels: {}\n", error.what());
    return static_cast<int>(ExitCode::machine);
  }
}
