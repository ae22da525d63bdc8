// FLOPs of a full prefill of the shipped models against the formula and the table of reference 3.7.
#include <gtest/gtest.h>

#include "core/model/costs.hpp"
#include "tests/support/shared_data.hpp"

namespace reprefill {
namespace {

ModelGeometry shipped(const std::string& name) {
  return read_model_config(test_support::source_folder() / "scenarios/models" / (name + ".json"));
}

double prefill_flops(const ModelGeometry& geometry, std::uint64_t tokens) {
  const OperationCosts costs(geometry);
  return geometry.num_layers * (costs.project(tokens).flops + costs.attend_linear(tokens).flops +
                                costs.attend_attention(tokens, 0, 0, 0).flops);
}

struct Row {
  const char* model;
  std::uint64_t tokens;
  double teraflops, seconds_at_156;  // as printed
};
constexpr Row kTable[] = {
    {"qwen2.5-7b", 3811, 52.7, 0.34},   {"qwen2.5-7b", 6011, 85.7, 0.55},   {"qwen2.5-7b", 10'000, 150.6, 0.97},
    {"qwen2.5-14b", 3811, 107.8, 0.69}, {"qwen2.5-14b", 6011, 176.6, 1.13}, {"qwen2.5-14b", 10'000, 313.4, 2.01},
    {"qwen2.5-32b", 3811, 247.4, 1.59}, {"qwen2.5-32b", 6011, 398.8, 2.56}, {"qwen2.5-32b", 10'000, 689.7, 4.42},
};

TEST(PrefillFlops, EqualTheTableOfReference37AsItIsRounded) {
  for (const Row& row : kTable) {
    const double flops = prefill_flops(shipped(row.model), row.tokens);
    EXPECT_NEAR(flops * 1e-12, row.teraflops, 0.05 + 1e-4 * row.teraflops) << row.model << ", " << row.tokens;
    EXPECT_NEAR(flops / 156e12, row.seconds_at_156, 0.005) << row.model << ", " << row.tokens;
  }
}

TEST(PrefillFlops, DifferFromTheFormulaByNormsBiasesAndTheDiagonalExactly) {
  // 2 N n + 2 n^2 heads head_dim L counts weights that multiply nothing (two norms and the QKV bias a layer, the final
  // norm), and n^2 / 2 causal pairs instead of n (n + 1) / 2.
  for (const char* name :
       {"qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-3b", "qwen2.5-7b", "qwen2.5-14b", "qwen2.5-32b", "qwen2.5-72b"}) {
    const ModelGeometry g = shipped(name);
    const double query_width = g.num_query_heads * g.head_dim, kv_width = g.num_kv_heads * g.head_dim;
    const double idle = g.num_layers * (2.0 * g.hidden + query_width + 2 * kv_width) + g.hidden;
    for (const std::uint64_t tokens : {1, 19, 3811, 10'000}) {
      const auto n = static_cast<double>(tokens);
      const double formula =
          2 * static_cast<double>(g.non_embedding_params()) * n + 2 * n * n * query_width * g.num_layers;
      EXPECT_DOUBLE_EQ(prefill_flops(g, tokens), formula - 2 * idle * n + 2 * n * query_width * g.num_layers)
          << name << ", " << tokens;
    }
  }
}

}  // namespace
}  // namespace reprefill
