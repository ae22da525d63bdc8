#include <fmt/format.h>

#include "benchmarks/kernels/cases.hpp"
#include "core/base/random.hpp"
#include "kernels/elementwise/elementwise.hpp"
#include "kernels/select_chunks/select_chunks.hpp"

namespace reprefill::benchmarks {
namespace {

// Qwen2.5-7B.
constexpr std::uint32_t kHidden = 3584, kIntermediate = 18944, kVocab = 152064;
constexpr int kQueryHeads = 28, kKvHeads = 4, kHeadDim = 128;

std::vector<Buffer> make_buffers(std::size_t num_bytes) {
  std::vector<Buffer> buffers;
  for (std::size_t i = 0; i < num_sets_for(num_bytes); ++i) buffers.emplace_back(num_bytes);
  return buffers;
}

void time_norm_and_activation(GraphTimer& timer, std::uint32_t num_tokens) {
  const std::size_t row_bytes = std::size_t{num_tokens} * kHidden * 2;
  const auto inputs = make_buffers(row_bytes);
  const Buffer delta(row_bytes), weight(kHidden * 2), out(row_bytes);
  const auto norm = timer.time(inputs.size(), [&](std::size_t i, cudaStream_t stream) {
    kernels::launch_rmsnorm({.x = inputs[i].as<BFloat16>(),
                             .delta = delta.as<BFloat16>(),
                             .weight = weight.as<BFloat16>(),
                             .out = out.as<BFloat16>(),
                             .num_tokens = num_tokens,
                             .hidden = kHidden},
                            stream);
  });
  print_row("residual + rmsnorm", fmt::format("{} x {}", num_tokens, kHidden), norm,
            {.bytes = 4.0 * static_cast<double>(row_bytes)});

  const std::size_t wide_bytes = std::size_t{num_tokens} * kIntermediate * 2;
  const auto gate_up = make_buffers(2 * wide_bytes);
  const Buffer activated(wide_bytes);
  const auto swiglu = timer.time(gate_up.size(), [&](std::size_t i, cudaStream_t stream) {
    kernels::launch_swiglu({.gate_up = gate_up[i].as<BFloat16>(),
                            .out = activated.as<BFloat16>(),
                            .num_tokens = num_tokens,
                            .intermediate = kIntermediate},
                           stream);
  });
  print_row("swiglu", fmt::format("{} x {}", num_tokens, kIntermediate), swiglu,
            {.bytes = 3.0 * static_cast<double>(wide_bytes)});
}

void time_rope(GraphTimer& timer, std::uint32_t num_tokens) {
  const std::size_t kv_bytes = std::size_t{num_tokens} * kKvHeads * kHeadDim * 2;
  const std::size_t q_bytes = std::size_t{num_tokens} * kQueryHeads * kHeadDim * 2;
  const auto qkv = make_buffers(q_bytes + 2 * kv_bytes);
  const Buffer bias((kQueryHeads + 2 * kKvHeads) * kHeadDim * 2), queries(q_bytes), keys(kv_bytes), values(kv_bytes);
  const std::vector<float> frequencies(kHeadDim / 2, 0.01f);
  const Buffer device_frequencies = upload<float>(frequencies);
  const auto timing = timer.time(qkv.size(), [&](std::size_t i, cudaStream_t stream) {
    kernels::launch_rope_append({.qkv = qkv[i].as<BFloat16>(),
                                 .bias = bias.as<BFloat16>(),
                                 .inverse_frequencies = device_frequencies.as<float>(),
                                 .queries = queries.as<BFloat16>(),
                                 .own_keys = keys.as<BFloat16>(),
                                 .own_values = values.as<BFloat16>(),
                                 .num_tokens = num_tokens,
                                 .first_position = 6144,
                                 .num_query_heads = kQueryHeads,
                                 .num_kv_heads = kKvHeads,
                                 .head_dim = kHeadDim},
                                stream);
  });
  print_row("bias + rope + append", fmt::format("{} tokens", num_tokens), timing,
            {.bytes = 2.0 * static_cast<double>(q_bytes + 2 * kv_bytes)});
}

void time_argmax(GraphTimer& timer) {
  std::vector<float> logits(kVocab);
  RandomStream random(1, 0, "logits");
  for (float& logit : logits) logit = static_cast<float>(random.normal(0, 2));
  std::vector<Buffer> sets;
  for (std::size_t i = 0; i < num_sets_for(kVocab * 4); ++i) sets.push_back(upload<float>(logits));
  const Buffer id(4);
  Buffer workspace(kernels::kArgmaxWorkspace * 8);
  workspace.clear();
  const auto timing = timer.time(sets.size(), [&](std::size_t i, cudaStream_t stream) {
    kernels::launch_argmax({.logits = sets[i].as<float>(),
                            .count = kVocab,
                            .id = id.as<std::int32_t>(),
                            .workspace = workspace.as<std::uint64_t>()},
                           stream);
  });
  print_row("argmax", fmt::format("{}", kVocab), timing, {.bytes = 4.0 * kVocab});
}

}  // namespace

void time_selection(GraphTimer& timer) {
  for (const std::uint32_t num_units : {384u, 2048u, 32768u}) {
    std::vector<float> scores(num_units);
    RandomStream random(num_units, 0, "scores");
    for (float& score : scores) score = static_cast<float>(random.exponential(1));
    std::vector<Buffer> sets;
    for (std::size_t i = 0; i < 16; ++i) sets.push_back(upload<float>(scores));
    const std::uint32_t k = num_units / 20;
    const Buffer indices(k * 4), num_chosen(4), errors(4);
    const auto timing = timer.time(sets.size(), [&](std::size_t i, cudaStream_t stream) {
      kernels::launch_select_chunks({.scores = sets[i].as<float>(),
                                     .max_units = num_units,
                                     .max_k = k,
                                     .counts = {.num_units = num_units, .k = k},
                                     .indices = indices.as<std::uint32_t>(),
                                     .num_chosen = num_chosen.as<std::uint32_t>(),
                                     .errors = errors.as<std::uint32_t>()},
                                    stream);
    });
    print_row("select_chunks (warm)", fmt::format("{} of {}", k, num_units), timing, {.bytes = 4.0 * num_units});
  }
}

void time_elementwise(GraphTimer& timer) {
  for (const std::uint32_t num_tokens : {1u, 64u, 512u}) {
    time_norm_and_activation(timer, num_tokens);
    time_rope(timer, num_tokens);
  }
  time_argmax(timer);
}

}  // namespace reprefill::benchmarks
