// A Re-Prefill with everything in GPU memory, by the executor alone: what `resident` costs without a pipeline.
//
//   benchmark_forward time MODEL [prefix] [suffix]    medians, beside the time that reading the weights takes
//   benchmark_forward logits MODEL FILE [prefix] [suffix] [tokens]
//                                                     fp32 logits of the first and of greedily decoded tokens into
//                                                     FILE, ids as JSON on stdout: compare_logits.py reads both
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "benchmarks/gpu/read_rate.hpp"
#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "engine/executor/cuda/cuda_executor.hpp"

namespace reprefill::engine {
namespace {

constexpr std::uint32_t kPageTokens = 16;

std::vector<std::int32_t> random_ids(std::uint32_t count, const char* name) {
  RandomStream random(1, 0, name);
  std::vector<std::int32_t> ids(count);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random.below(2000));
  return ids;
}

/// K and V of a prefix in device memory, in pages.
class ResidentPrefix {
 public:
  ResidentPrefix(CudaExecutor& executor, std::span<const std::int32_t> ids)
      : num_tokens_(static_cast<std::uint32_t>(ids.size())) {
    const ModelGeometry& geometry = executor.checkpoint().geometry();
    const auto num_layers = static_cast<std::size_t>(geometry.num_layers);
    const std::size_t token_bytes = geometry.kv_tensor_bytes_per_token_layer().value;
    const auto sequence = executor.begin(ids, 0);
    for (int layer = 0; layer < geometry.num_layers; ++layer) {
      executor.project(*sequence, layer, {0, num_tokens_});
      executor.attend(*sequence, layer, {0, num_tokens_}, {});
    }
    std::vector<std::byte> keys(num_tokens_ * token_bytes), values(keys.size());
    for (std::size_t layer = 0; layer < num_layers; ++layer) {
      executor.copy_own_kv(*sequence, static_cast<int>(layer), {0, num_tokens_}, keys, values);
      executor.synchronize();
      const std::byte* k = memory_.emplace_back(executor.upload(keys)).get();
      const std::byte* v = memory_.emplace_back(executor.upload(values)).get();
      executor.synchronize();
      std::vector<KvPage>& pages = pages_.emplace_back();
      for (std::uint32_t at = 0; at < num_tokens_; at += kPageTokens) {
        pages.push_back({k + at * token_bytes, v + at * token_bytes, std::min(kPageTokens, num_tokens_ - at)});
      }
    }
    for (const std::vector<KvPage>& pages : pages_) views_.push_back({.pages = pages, .num_tokens = num_tokens_});
  }
  std::uint32_t num_tokens() const { return num_tokens_; }
  std::span<const KvView> views() const { return views_; }

 private:
  std::uint32_t num_tokens_;
  std::vector<std::shared_ptr<const std::byte>> memory_;
  std::vector<std::vector<KvPage>> pages_;
  std::vector<KvView> views_;
};

/// Up to the first token's id on the host.
std::unique_ptr<Sequence> reprefill(CudaExecutor& executor, const ResidentPrefix& prefix,
                                    std::span<const std::int32_t> suffix, std::int32_t& id) {
  auto sequence = executor.begin(suffix, prefix.num_tokens());
  const auto count = static_cast<std::uint32_t>(suffix.size());
  for (int layer = 0; layer < executor.checkpoint().geometry().num_layers; ++layer) {
    executor.project(*sequence, layer, {0, count});
    executor.attend(*sequence, layer, {0, count}, prefix.views()[static_cast<std::size_t>(layer)]);
  }
  executor.next_token(*sequence, id);
  executor.synchronize();
  return sequence;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void time_forward(CudaExecutor& executor, std::uint32_t prefix_tokens, std::uint32_t suffix_tokens) {
  constexpr int kRounds = 21;
  const ResidentPrefix prefix(executor, random_ids(prefix_tokens, "prefix"));
  const std::vector<std::int32_t> suffix = random_ids(suffix_tokens, "suffix");
  Gpu& gpu = *executor.gpu();
  std::vector<double> wall, device;
  for (int round = -3; round < kRounds; ++round) {
    std::int32_t id = -1;
    const auto begin = std::chrono::steady_clock::now();
    const GpuEventRef start = gpu.record(executor.stream());
    const auto sequence = reprefill(executor, prefix, suffix, id);
    const auto end = std::chrono::steady_clock::now();
    const GpuEventRef done = gpu.record(executor.stream());
    gpu.synchronize(*done);
    if (round < 0) continue;
    wall.push_back(std::chrono::duration<double, std::milli>(end - begin).count());
    device.push_back(static_cast<double>(gpu.between(*start, *done).value) * 1e-6);
  }
  const ModelGeometry& geometry = executor.checkpoint().geometry();
  const double weight_bytes =
      static_cast<double>(geometry.num_layers) * static_cast<double>(geometry.layer_weight_bytes().value) +
      static_cast<double>(geometry.lm_head_bytes().value);
  const double floor_ms = weight_bytes / benchmarks::measured_read_bytes_per_s() * 1e3;
  fmt::print(
      "{} tokens of suffix over {} resident, medians of {}; the floor is {:.2f} GB of weights at the {:.2f} TB/s "
      "that a kernel reads\n\n",
      suffix_tokens, prefix_tokens, kRounds, weight_bytes * 1e-9, weight_bytes / floor_ms * 1e-9);
  fmt::print(
      "| id on the host ms | least ms | GPU ms | floor ms | over the floor |\n| ---: | ---: | ---: | ---: | ---: |\n");
  fmt::print("| {:.3f} | {:.3f} | {:.3f} | {:.3f} | {:.2f} |\n", median(wall), std::ranges::min(wall), median(device),
             floor_ms, median(wall) / floor_ms);
}

void write_logits(CudaExecutor& executor, const char* path, std::uint32_t prefix_tokens, std::uint32_t suffix_tokens,
                  int num_tokens) {
  const std::vector<std::int32_t> prefix_ids = random_ids(prefix_tokens, "prefix");
  const std::vector<std::int32_t> suffix = random_ids(suffix_tokens, "suffix");
  const ResidentPrefix prefix(executor, prefix_ids);
  std::ofstream file(path, std::ios::binary);
  std::vector<float> logits(static_cast<std::size_t>(executor.checkpoint().geometry().vocab));
  std::vector<std::int32_t> generated(1);
  const auto sequence = reprefill(executor, prefix, suffix, generated.front());
  for (int i = 0; i < num_tokens; ++i) {
    if (i > 0) {
      std::int32_t id = -1;
      executor.decode(*sequence, generated.back(), prefix.views(), id);
      executor.synchronize();
      generated.push_back(id);
    }
    executor.last_logits(*sequence, logits);
    executor.synchronize();
    file.write(reinterpret_cast<const char*>(logits.data()),
               static_cast<std::streamsize>(logits.size() * sizeof(float)));
  }
  if (!file.flush()) throw MachineError(fmt::format("cannot write {}", path));
  fmt::print("{{\"prefix\": [{}], \"suffix\": [{}], \"generated\": [{}]}}\n", fmt::join(prefix_ids, ", "),
             fmt::join(suffix, ", "), fmt::join(generated, ", "));
}

int run(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  const int first = what == "logits" ? 4 : 3;
  if ((what != "time" && what != "logits") || argc < first) {
    std::fputs("usage: benchmark_forward time MODEL [prefix] [suffix] | logits MODEL FILE [prefix] [suffix] [tokens]\n",
               stderr);
    return 2;
  }
  const auto number = [&](int at, int otherwise) { return argc > at ? std::atoi(argv[at]) : otherwise; };
  const Checkpoint checkpoint = Checkpoint::open(argv[2]);
  CudaExecutor executor(checkpoint, open_gpu(0));
  const auto prefix = static_cast<std::uint32_t>(number(first, what == "time" ? 6144 : 1024));
  const auto suffix = static_cast<std::uint32_t>(number(first + 1, 64));
  if (what == "time") {
    time_forward(executor, prefix, suffix);
  } else {
    write_logits(executor, argv[3], prefix, suffix, number(first + 2, 8));
  }
  return 0;
}

}  // namespace
}  // namespace reprefill::engine

int main(int argc, char** argv) {
  try {
    return reprefill::engine::run(argc, argv);
  } catch (const reprefill::MachineError& error) {
    std::fprintf(stderr, "benchmark_forward: %s\n", error.what());
    return 3;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "benchmark_forward: %s\n", error.what());
    return 2;
  }
}
