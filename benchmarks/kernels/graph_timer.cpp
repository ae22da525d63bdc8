#include "benchmarks/kernels/graph_timer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "core/base/bfloat16.hpp"
#include "core/base/random.hpp"
#include "kernels/base/cuda_check.hpp"

namespace reprefill::benchmarks {
namespace {

constexpr std::size_t kLeastRuns = 20, kLeastSamples = 30, kMostSamples = 500;
constexpr double kLeastSeconds = 0.2;

std::byte* allocate(std::size_t num_bytes, Buffer::Kind kind) {
  void* pointer = nullptr;
  if (kind == Buffer::Kind::device)
    REPREFILL_CUDA(cudaMalloc(&pointer, num_bytes));
  else
    REPREFILL_CUDA(cudaMallocHost(&pointer, num_bytes));
  return static_cast<std::byte*>(pointer);
}

const std::vector<BFloat16>& pattern() {
  static const std::vector<BFloat16> values = [] {
    RandomStream random(1, 0, "benchmark pattern");
    std::vector<BFloat16> drawn(1 << 20);
    for (BFloat16& value : drawn) value = BFloat16::round(static_cast<float>(random.normal(0, 1)));
    return drawn;
  }();
  return values;
}

}  // namespace

Buffer::Buffer(std::size_t num_bytes, Kind kind)
    : memory_(
          allocate(std::max<std::size_t>(num_bytes, 256), kind),
          kind == Kind::device ? [](std::byte* p) { (void)cudaFree(p); } : [](std::byte* p) { (void)cudaFreeHost(p); }),
      num_bytes_(num_bytes) {
  const std::size_t step = pattern().size() * sizeof(BFloat16);
  for (std::size_t begin = 0; begin < num_bytes; begin += step) {
    REPREFILL_CUDA(
        cudaMemcpy(memory_.get() + begin, pattern().data(), std::min(step, num_bytes - begin), cudaMemcpyDefault));
  }
}

void Buffer::write(const void* from, std::size_t num_bytes) {
  REPREFILL_CUDA(cudaMemcpy(memory_.get(), from, num_bytes, cudaMemcpyDefault));
}
void Buffer::clear() { REPREFILL_CUDA(cudaMemset(memory_.get(), 0, num_bytes_)); }

std::size_t num_sets_for(std::size_t bytes_per_set) {
  return std::clamp<std::size_t>(kRotatedBytes / std::max<std::size_t>(bytes_per_set, 1) + 1, 2, 256);
}

GraphTimer::GraphTimer() {
  REPREFILL_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  REPREFILL_CUDA(cudaEventCreate(&begin_));
  REPREFILL_CUDA(cudaEventCreate(&end_));
}
GraphTimer::~GraphTimer() {
  (void)cudaEventDestroy(begin_);
  (void)cudaEventDestroy(end_);
  (void)cudaStreamDestroy(stream_);
}

Timing GraphTimer::time(std::size_t num_sets, const Launch& launch) {
  const std::size_t num_runs = (kLeastRuns + num_sets - 1) / num_sets * num_sets;
  launch(0, stream_);  // loads the kernels before capture
  REPREFILL_CUDA(cudaStreamSynchronize(stream_));
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  REPREFILL_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal));
  for (std::size_t run = 0; run < num_runs; ++run) launch(run % num_sets, stream_);
  REPREFILL_CUDA(cudaStreamEndCapture(stream_, &graph));
  REPREFILL_CUDA(cudaGraphInstantiate(&executable, graph, 0));
  const Timing timing = sample(num_runs, [&] { REPREFILL_CUDA(cudaGraphLaunch(executable, stream_)); });
  REPREFILL_CUDA(cudaGraphExecDestroy(executable));
  REPREFILL_CUDA(cudaGraphDestroy(graph));
  return timing;
}

Timing GraphTimer::time_on_stream(std::size_t num_sets, const Launch& launch) {
  const std::size_t num_runs = (kLeastRuns + num_sets - 1) / num_sets * num_sets;
  return sample(num_runs, [&] {
    for (std::size_t run = 0; run < num_runs; ++run) launch(run % num_sets, stream_);
  });
}

Timing GraphTimer::sample(std::size_t runs_per_sample, const std::function<void()>& enqueue) {
  for (int i = 0; i < 3; ++i) enqueue();
  REPREFILL_CUDA(cudaStreamSynchronize(stream_));
  std::vector<double> samples_us;
  double total_us = 0;
  while (samples_us.size() < kMostSamples && (samples_us.size() < kLeastSamples || total_us < kLeastSeconds * 1e6)) {
    REPREFILL_CUDA(cudaEventRecord(begin_, stream_));
    enqueue();
    REPREFILL_CUDA(cudaEventRecord(end_, stream_));
    REPREFILL_CUDA(cudaEventSynchronize(end_));
    float milliseconds = 0;
    REPREFILL_CUDA(cudaEventElapsedTime(&milliseconds, begin_, end_));
    total_us += static_cast<double>(milliseconds) * 1e3;
    samples_us.push_back(static_cast<double>(milliseconds) * 1e3 / static_cast<double>(runs_per_sample));
  }
  std::sort(samples_us.begin(), samples_us.end());
  const auto quantile = [&](double q) {
    return samples_us[static_cast<std::size_t>(q * static_cast<double>(samples_us.size() - 1))];
  };
  return {
      .median_us = quantile(0.5), .p10_us = quantile(0.1), .p90_us = quantile(0.9), .num_samples = samples_us.size()};
}

void print_header() {
  fmt::print(
      "| kernel | shape | median us | p10 | p90 | samples | GB/s | TFLOP/s |\n|---|---|---|---|---|---|---|---|\n");
}

void print_row(const std::string& kernel, const std::string& shape, const Timing& timing, const Work& work) {
  fmt::print("| {} | {} | {:.2f} | {:.2f} | {:.2f} | {} | {:.0f} | {:.1f} |\n", kernel, shape, timing.median_us,
             timing.p10_us, timing.p90_us, timing.num_samples, work.bytes / timing.median_us / 1e3,
             work.flops / timing.median_us / 1e6);
  std::fflush(stdout);
}

}  // namespace reprefill::benchmarks
