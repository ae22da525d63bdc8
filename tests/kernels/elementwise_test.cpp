#include "kernels/elementwise/elementwise.hpp"

#include <limits>

#include "kernels/base/kernel_error.hpp"
#include "tests/kernels/support/kernel_test.hpp"

namespace reprefill::kernels::test {
namespace {

// fp32 arithmetic on bf16 inputs, rounded once: an element may fall to the neighbouring bf16, 2^-8 away at most; rows
// stay far below that. A wrong weight, angle or half is of order 1.
constexpr double kTolerance = 2e-3;

class ElementwiseKernels : public KernelTest {};

TEST_F(ElementwiseKernels, RmsNormAgreesWithTheReference) {
  for (const std::uint32_t hidden : {8u, 64u, 896u, 3584u}) {
    const std::uint32_t num_tokens = hidden > 1000 ? 2 : 5;
    const std::vector<BFloat16> x = random_bf16(hidden, "x", std::size_t{num_tokens} * hidden, 3);
    const std::vector<BFloat16> weight = random_bf16(hidden, "weight", hidden);
    std::vector<BFloat16> host_x = x, expected(x.size());
    rmsnorm_reference({.x = host_x.data(),
                       .weight = weight.data(),
                       .out = expected.data(),
                       .num_tokens = num_tokens,
                       .hidden = hidden});
    const DeviceArray<BFloat16> device_x(x), device_weight(weight);
    for_each_schedule([&] {
      const auto out = DeviceArray<BFloat16>::poisoned(x.size());
      launch_rmsnorm({.x = device_x.get(),
                      .weight = device_weight.get(),
                      .out = out.get(),
                      .num_tokens = num_tokens,
                      .hidden = hidden},
                     nullptr);
      synchronize();
      EXPECT_LT(worst_row_error(out.read(), expected, hidden), kTolerance) << hidden;
      EXPECT_EQ(device_x.read(), x) << "x is read only without a delta";
    });
  }
}

TEST_F(ElementwiseKernels, RmsNormAddsTheDeltaFirstAndWritesItBack) {
  const std::uint32_t hidden = 904;
  const std::vector<BFloat16> x = random_bf16(1, "x", 3 * hidden), delta = random_bf16(2, "delta", 3 * hidden);
  const std::vector<BFloat16> weight = random_bf16(3, "weight", hidden);
  std::vector<BFloat16> host_x = x, expected(x.size());
  rmsnorm_reference({.x = host_x.data(),
                     .delta = delta.data(),
                     .weight = weight.data(),
                     .out = expected.data(),
                     .num_tokens = 3,
                     .hidden = hidden,
                     .eps = 1e-5f});
  const DeviceArray<BFloat16> device_delta(delta), device_weight(weight);
  for_each_schedule([&] {
    const DeviceArray<BFloat16> device_x(x);
    const auto out = DeviceArray<BFloat16>::poisoned(x.size());
    launch_rmsnorm({.x = device_x.get(),
                    .delta = device_delta.get(),
                    .weight = device_weight.get(),
                    .out = out.get(),
                    .num_tokens = 3,
                    .hidden = hidden,
                    .eps = 1e-5f},
                   nullptr);
    synchronize();
    EXPECT_EQ(device_x.read(), host_x);
    EXPECT_LT(worst_row_error(out.read(), expected, hidden), kTolerance);
  });
}

TEST_F(ElementwiseKernels, RmsNormInPlaceZerosAndNan) {
  std::vector<BFloat16> x = random_bf16(5, "x", 3 * 16);
  std::fill_n(x.begin(), 16, BFloat16{});
  x[16 + 2] = {0x7fc0};
  const std::vector<BFloat16> weight = random_bf16(6, "weight", 16);
  std::vector<BFloat16> expected = x;
  rmsnorm_reference(
      {.x = expected.data(), .weight = weight.data(), .out = expected.data(), .num_tokens = 3, .hidden = 16});
  const DeviceArray<BFloat16> device_x(x), device_weight(weight);
  launch_rmsnorm(
      {.x = device_x.get(), .weight = device_weight.get(), .out = device_x.get(), .num_tokens = 3, .hidden = 16},
      nullptr);
  synchronize();
  EXPECT_LT(worst_row_error(device_x.read(), expected, 16), kTolerance);
}

struct RopeCase {
  std::uint32_t num_tokens;
  int num_query_heads, num_kv_heads, head_dim;
  std::uint32_t first_own_token, first_position;
  bool has_bias, on_device_position;
};

void expect_rope(const RopeCase& c) {
  const std::size_t dim = static_cast<std::size_t>(c.head_dim);
  const std::size_t row = static_cast<std::size_t>(c.num_query_heads + 2 * c.num_kv_heads) * dim;
  const std::size_t kv = static_cast<std::size_t>(c.num_kv_heads) * dim;
  const std::vector<BFloat16> qkv = random_bf16(row, "qkv", c.num_tokens * row), bias = random_bf16(row, "bias", row);
  std::vector<float> frequencies;
  for (std::size_t i = 0; i < dim / 2; ++i) {
    frequencies.push_back(static_cast<float>(std::pow(1e6, -2.0 * static_cast<double>(i) / static_cast<double>(dim))));
  }
  const std::size_t q_size = c.num_tokens * static_cast<std::size_t>(c.num_query_heads) * dim;
  const std::size_t own_size = (c.first_own_token + c.num_tokens) * kv;
  std::vector<BFloat16> queries(q_size), keys(own_size, BFloat16{0xffff}), values(own_size, BFloat16{0xffff});
  RopeAppend arguments{.qkv = qkv.data(),
                       .bias = c.has_bias ? bias.data() : nullptr,
                       .inverse_frequencies = frequencies.data(),
                       .attention_scaling = 1.25f,
                       .queries = queries.data(),
                       .own_keys = keys.data(),
                       .own_values = values.data(),
                       .num_tokens = c.num_tokens,
                       .first_own_token = c.first_own_token,
                       .first_position = c.first_position,
                       .num_query_heads = c.num_query_heads,
                       .num_kv_heads = c.num_kv_heads,
                       .head_dim = c.head_dim};
  rope_append_reference(arguments);

  const DeviceArray<BFloat16> device_qkv(qkv), device_bias(bias);
  const DeviceArray<float> device_frequencies(frequencies);
  const DeviceArray<std::uint32_t> position(std::vector{c.first_position});
  const auto device_queries = DeviceArray<BFloat16>::poisoned(q_size);
  const auto device_keys = DeviceArray<BFloat16>::poisoned(own_size);
  const auto device_values = DeviceArray<BFloat16>::poisoned(own_size);
  arguments.qkv = device_qkv.get();
  arguments.bias = c.has_bias ? device_bias.get() : nullptr;
  arguments.inverse_frequencies = device_frequencies.get();
  arguments.queries = device_queries.get();
  arguments.own_keys = device_keys.get();
  arguments.own_values = device_values.get();
  if (c.on_device_position) arguments.first_position = 0, arguments.device_first_position = position.get();
  launch_rope_append(arguments, nullptr);
  synchronize();
  EXPECT_LT(worst_row_error(device_queries.read(), queries, dim), kTolerance);
  EXPECT_LT(worst_row_error(device_keys.read(), keys, dim), kTolerance);  // rows before the first stay as they were
  EXPECT_LT(worst_row_error(device_values.read(), values, dim), kTolerance);
}

TEST_F(ElementwiseKernels, RopeRotatesQueriesAndKeysAndAppendsToOwnKv) {
  expect_rope({1, 1, 1, 64, 0, 0, false, false});
  expect_rope({3, 28, 4, 128, 0, 6000, true, false});
  expect_rope({4, 14, 2, 64, 5, 32000, true, true});
  expect_rope({2, 64, 8, 128, 1, 0, false, true});
}

TEST_F(ElementwiseKernels, SwiGluAgreesAlsoFarFromZero) {
  std::vector<BFloat16> gate_up = random_bf16(4, "gate and up", 3 * 2 * 200, 20);
  gate_up[0] = BFloat16::round(-1e30f);
  gate_up[1] = BFloat16::round(1e30f);
  gate_up[2] = {0x7fc0};
  std::vector<BFloat16> expected(3 * 200);
  swiglu_reference({.gate_up = gate_up.data(), .out = expected.data(), .num_tokens = 3, .intermediate = 200});
  const DeviceArray<BFloat16> device_gate_up(gate_up);
  const auto out = DeviceArray<BFloat16>::poisoned(expected.size());
  launch_swiglu({.gate_up = device_gate_up.get(), .out = out.get(), .num_tokens = 3, .intermediate = 200}, nullptr);
  synchronize();
  EXPECT_LT(worst_row_error(out.read(), expected, 1), 8e-3);  // element by element: one rounding
}

TEST_F(ElementwiseKernels, ResidualsAreAddedToTheLastElement) {
  for (const std::size_t count : {8u, 2048u, 2056u}) {
    const std::vector<BFloat16> x = random_bf16(count, "x", count), delta = random_bf16(count, "delta", count);
    std::vector<BFloat16> expected = x;
    add_residual_reference({.x = expected.data(), .delta = delta.data(), .count = count});
    const DeviceArray<BFloat16> device_x(x), device_delta(delta);
    launch_add_residual({.x = device_x.get(), .delta = device_delta.get(), .count = count}, nullptr);
    synchronize();
    EXPECT_EQ(device_x.read(), expected);
  }
}

TEST_F(ElementwiseKernels, EmbeddingCopiesRowsAndUnknownIdsAreNan) {
  const std::vector<BFloat16> table = random_bf16(8, "table", 10 * 24);
  const std::vector<std::int32_t> ids{9, 0, 3, 10, -1, 3};
  std::vector<BFloat16> expected(ids.size() * 24);
  embedding_reference(
      {.ids = ids.data(), .table = table.data(), .out = expected.data(), .num_tokens = 6, .vocab = 10, .hidden = 24});
  const DeviceArray<BFloat16> device_table(table);
  const DeviceArray<std::int32_t> device_ids(ids);
  const auto out = DeviceArray<BFloat16>::poisoned(expected.size());
  launch_embedding({.ids = device_ids.get(),
                    .table = device_table.get(),
                    .out = out.get(),
                    .num_tokens = 6,
                    .vocab = 10,
                    .hidden = 24},
                   nullptr);
  synchronize();
  EXPECT_EQ(out.read(), expected);
}

std::int32_t argmax_on_device(const std::vector<float>& logits) {
  const DeviceArray<float> device_logits(logits);
  const auto id = DeviceArray<std::int32_t>::poisoned(1);
  const auto workspace = DeviceArray<std::uint64_t>::zeroed(kArgmaxWorkspace);
  const Argmax arguments{.logits = device_logits.get(),
                         .count = static_cast<std::uint32_t>(logits.size()),
                         .id = id.get(),
                         .workspace = workspace.get()};
  launch_argmax(arguments, nullptr);
  launch_argmax(arguments, nullptr);  // the workspace is left usable
  synchronize();
  EXPECT_EQ(workspace.read(), std::vector<std::uint64_t>(kArgmaxWorkspace, 0));
  return id.read().front();
}

TEST_F(ElementwiseKernels, ArgmaxFindsTheHighestTiesToTheLowerNanIsReported) {
  for (const std::size_t count : {1u, 2u, 257u, 20000u}) {
    RandomStream random(count, 0, "logits");
    std::vector<float> logits(count);
    for (float& logit : logits) logit = static_cast<float>(std::round(random.normal(-3, 2) * 4));  // ties
    std::int32_t expected = -2;
    argmax_reference({.logits = logits.data(), .count = static_cast<std::uint32_t>(count), .id = &expected});
    for_each_schedule([&] { EXPECT_EQ(argmax_on_device(logits), expected) << count; });
    logits[count / 2] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(argmax_on_device(logits), -1);
  }
  EXPECT_EQ(argmax_on_device({-0.0f, 0.0f, -1.0f}), 0);
  EXPECT_EQ(argmax_on_device(std::vector<float>(300, -std::numeric_limits<float>::infinity())), 0);
}

TEST_F(ElementwiseKernels, ShapesOutsideTheContractAreRefused) {
  EXPECT_THROW(launch_rmsnorm({.num_tokens = 1, .hidden = 12}, nullptr), ShapeError);
  EXPECT_THROW(launch_rope_append({.num_tokens = 1, .num_query_heads = 1, .num_kv_heads = 1, .head_dim = 80}, nullptr),
               ShapeError);
  EXPECT_THROW(launch_swiglu({.num_tokens = 1, .intermediate = 7}, nullptr), ShapeError);
  EXPECT_THROW(launch_add_residual({.count = 9}, nullptr), ShapeError);
  EXPECT_THROW(launch_embedding({.num_tokens = 1, .vocab = 0, .hidden = 8}, nullptr), ShapeError);
  EXPECT_THROW(launch_argmax({}, nullptr), ShapeError);
}

TEST_F(ElementwiseKernels, NoTokensAreNoWork) {
  BFloat16 weight;
  launch_rmsnorm({.weight = &weight, .hidden = 8}, nullptr);
  launch_swiglu({.intermediate = 8}, nullptr);
  launch_add_residual({}, nullptr);
  launch_embedding({.vocab = 1, .hidden = 8}, nullptr);
  launch_rope_append({.num_query_heads = 1, .num_kv_heads = 1, .head_dim = 64}, nullptr);
}

}  // namespace
}  // namespace reprefill::kernels::test
