// What the CPU executor reaches on the shape of Qwen2.5-0.5B.
//
//   benchmark_executor linear [repetitions]    the layer's products for 1,024 tokens, beside plain sgemm calls of the
//                                              BLAS with its own threads, alternating; medians (issue 3: ratio >= 0.6)
//   benchmark_executor prefill [tokens]        a random checkpoint, written to a temporary folder: load, prefill cold
//                                              (weights widened on the way) and warm, Re-Prefill, decode
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include <cblas.h>
#include <fmt/format.h>

#include "core/base/random.hpp"
#include "engine/executor/cpu/cpu_executor.hpp"
#include "engine/executor/cpu/linear.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tiny_checkpoint.hpp"

namespace reprefill::engine {
namespace {

double seconds_of(auto&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The BLAS's threads spin for tens of milliseconds after their work and would take cores from ours: wait for them,
/// then run once unmeasured so that threads are awake and caches as they will be.
double warm_seconds_of(auto&& work, int blas_threads) {
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  openblas_set_num_threads(blas_threads);
  work();
  return seconds_of(work);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

struct Product {
  const char* name;
  int outputs, inputs;
};
constexpr Product kProducts[] = {
    {"query, key, value", 1152, 896}, {"output", 896, 896}, {"gate and up", 9728, 896}, {"down", 896, 4864}};

class LinearBenchmark {
 public:
  LinearBenchmark(const Product& product, int tokens)
      : product_(product),
        tokens_(tokens),
        weights_bf16_(static_cast<std::size_t>(product.outputs) * static_cast<std::size_t>(product.inputs)),
        weights_(weights_bf16_.size()),
        input_(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(product.inputs)),
        output_(static_cast<std::size_t>(tokens) * static_cast<std::size_t>(product.outputs)) {
    RandomStream random(1, 0, "linear");
    for (float& value : input_) value = static_cast<float>(random.uniform() - 0.5);
    for (std::uint16_t& bits : weights_bf16_) bits = static_cast<std::uint16_t>(0x3e00 + random.below(256));
    best_kernels().widen(Stored::bf16, reinterpret_cast<const std::byte*>(weights_bf16_.data()), weights_.size(),
                         weights_.data());
  }

  double flops() const { return 2.0 * tokens_ * product_.outputs * product_.inputs; }

  void run_ours(LinearLayers& layers, LinearWeights& weights) {
    const LinearJob job = {
        .weights = &weights, .out = output_.data(), .out_stride = static_cast<std::size_t>(product_.outputs)};
    layers.multiply({input_.data(), static_cast<std::size_t>(product_.inputs), tokens_}, {&job, 1});
  }
  void run_blas() {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, tokens_, product_.outputs, product_.inputs, 1.0f,
                input_.data(), product_.inputs, weights_.data(), product_.inputs, 0.0f, output_.data(),
                product_.outputs);
  }
  LinearWeights weights() const {
    return LinearWeights({reinterpret_cast<const std::byte*>(weights_bf16_.data()), ElementType::bf16, product_.outputs,
                          product_.inputs});
  }

 private:
  Product product_;
  int tokens_;
  std::vector<std::uint16_t> weights_bf16_;
  std::vector<float> weights_, input_, output_;
};

void benchmark_linear(int repetitions) {
  constexpr int kTokens = 1024;
  WorkerPool pool(0);
  LinearLayers layers(pool, best_kernels());
  fmt::print("{} threads, {}, {} tokens; GFLOP/s, medians of {}\n", pool.num_threads(), best_kernels().name, kTokens,
             repetitions);
  double total_cached = 0, total_widened = 0, total_blas = 0;
  for (const Product& product : kProducts) {
    LinearBenchmark benchmark(product, kTokens);
    LinearWeights cached = benchmark.weights();
    cached.grant_cache();
    LinearWeights widened = benchmark.weights();
    std::vector<double> cached_s, widened_s, blas_s;
    for (int i = 0; i < repetitions; ++i) {
      cached_s.push_back(warm_seconds_of([&] { benchmark.run_ours(layers, cached); }, 1));
      widened_s.push_back(warm_seconds_of([&] { benchmark.run_ours(layers, widened); }, 1));
      blas_s.push_back(warm_seconds_of([&] { benchmark.run_blas(); }, pool.num_threads()));
    }
    const double gflop = benchmark.flops() * 1e-9;
    fmt::print("{:18} cached {:7.1f}  widened {:7.1f}  BLAS {:7.1f}  ratio {:.2f} / {:.2f}\n", product.name,
               gflop / median(cached_s), gflop / median(widened_s), gflop / median(blas_s),
               median(blas_s) / median(cached_s), median(blas_s) / median(widened_s));
    total_cached += median(cached_s);
    total_widened += median(widened_s);
    total_blas += median(blas_s);
  }
  fmt::print("all                ratio {:.2f} / {:.2f}\n", total_blas / total_cached, total_blas / total_widened);
}

test_support::TinyCheckpoint half_billion() {
  test_support::TinyCheckpoint shape;
  shape.num_layers = 24;
  shape.hidden = 896;
  shape.num_query_heads = 14;
  shape.num_kv_heads = 2;
  shape.head_dim = 64;
  shape.intermediate = 4864;
  shape.vocab = 151936;
  shape.max_positions = 32768;
  shape.rope_theta = 1e6;
  return shape;
}

void run_layers(CpuExecutor& executor, Sequence& sequence, OwnRange range, std::span<const KvView> views) {
  for (int layer = 0; layer < executor.checkpoint().geometry().num_layers; ++layer) {
    executor.project(sequence, layer, range);
    executor.attend(sequence, layer, range, views[static_cast<std::size_t>(layer)]);
  }
}

void benchmark_prefill(std::uint32_t tokens) {
  constexpr std::uint32_t kSuffix = 48;
  constexpr int kDecoded = 16;
  test_support::TemporaryFolder folder;
  test_support::write_checkpoint(folder.path() / "model", half_billion());
  const Checkpoint checkpoint = Checkpoint::open(folder.path() / "model");
  const ModelGeometry& geometry = checkpoint.geometry();
  CpuExecutor executor(checkpoint, {});
  std::vector<std::int32_t> ids(tokens);
  for (std::uint32_t i = 0; i < tokens; ++i) ids[i] = static_cast<std::int32_t>(i * 7919 % 151936);
  const std::vector<KvView> nothing(static_cast<std::size_t>(geometry.num_layers));
  std::int32_t id = -1;
  std::unique_ptr<Sequence> sequence;
  for (const char* state : {"cold", "warm", "warm"}) {
    const double seconds = seconds_of([&] {
      sequence = executor.begin(ids, 0);
      run_layers(executor, *sequence, {0, tokens}, nothing);
      executor.next_token(*sequence, id);
    });
    const double flops =
        2.0 * tokens * static_cast<double>(geometry.params_per_layer() * static_cast<unsigned>(geometry.num_layers));
    fmt::print("prefill of {} tokens, {}: {:.3f} s, {:.1f} GFLOP/s in linear layers\n", tokens, state, seconds,
               flops * 1e-9 / seconds);
  }
  std::vector<std::vector<std::byte>> keys(nothing.size()), values(nothing.size());
  std::vector<KvPage> pages(nothing.size());
  std::vector<KvView> views(nothing.size());
  const std::size_t bytes = tokens * geometry.kv_tensor_bytes_per_token_layer().value;
  for (std::size_t layer = 0; layer < views.size(); ++layer) {
    keys[layer].resize(bytes);
    values[layer].resize(bytes);
    executor.copy_own_kv(*sequence, static_cast<int>(layer), {0, tokens}, keys[layer], values[layer]);
    pages[layer] = {keys[layer].data(), values[layer].data(), tokens};
    views[layer] = {.pages = {&pages[layer], 1}, .num_tokens = tokens};
  }
  std::unique_ptr<Sequence> suffix;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const double seconds = seconds_of([&] {
      suffix = executor.begin(std::span(ids).first(kSuffix), tokens);
      run_layers(executor, *suffix, {0, kSuffix}, views);
      executor.next_token(*suffix, id);
    });
    fmt::print("Re-Prefill of {} tokens over {} stored: {:.1f} ms\n", kSuffix, tokens, seconds * 1e3);
  }
  const KeyPage key_page = {pages[0].keys, tokens};
  std::vector<float> scores(tokens);
  const auto scored = executor.begin(std::span(ids).first(kSuffix), tokens);
  executor.project(*scored, 0, {0, kSuffix});
  const double score_s = seconds_of([&] {
    executor.score(*scored, 0, {.pages = {&key_page, 1}, .num_tokens = tokens, .num_heads = geometry.num_kv_heads}, {},
                   scores);
  });
  fmt::print("score of {} stored tokens in one layer: {:.2f} ms\n", tokens, score_s * 1e3);
  const double decode_s = seconds_of([&] {
    for (int i = 0; i < kDecoded; ++i) executor.decode(*suffix, 1, views, id);
  });
  fmt::print("decode: {:.1f} ms a token, {:.1f} GB/s of weights\n", decode_s * 1e3 / kDecoded,
             static_cast<double>(geometry.weight_bytes().value) * 1e-9 * kDecoded / decode_s);
}

int run(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "linear") {
    benchmark_linear(argc > 2 ? std::atoi(argv[2]) : 9);
  } else if (what == "prefill") {
    benchmark_prefill(argc > 2 ? static_cast<std::uint32_t>(std::atoi(argv[2])) : 1024);
  } else {
    std::fputs("usage: benchmark_executor linear [repetitions] | prefill [tokens]\n", stderr);
    return 2;
  }
  return 0;
}

}  // namespace
}  // namespace reprefill::engine

int main(int argc, char** argv) { return reprefill::engine::run(argc, argv); }
