// Every instruction set that this machine can run, against plain loops.
#include "engine/executor/cpu/kernels.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "core/base/bfloat16.hpp"
#include "core/base/random.hpp"
#include "tests/engine/executor/comparison.hpp"

namespace reprefill::engine::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> random_values(std::size_t count, std::uint64_t seed = 1) {
  RandomStream random(seed, 0, "kernels");
  std::vector<float> values;
  for (std::size_t i = 0; i < count; ++i) values.push_back(static_cast<float>(random.normal(0, 1)));
  return values;
}

const std::byte* bytes_of(const auto& values) { return reinterpret_cast<const std::byte*>(values.data()); }

std::vector<const Kernels*> all_kernels() {
  std::vector<const Kernels*> all;
  for (std::size_t i = 0; supported_kernels(i) != nullptr; ++i) all.push_back(supported_kernels(i));
  return all;
}

class EveryKernels : public testing::TestWithParam<const Kernels*> {
 protected:
  const Kernels& kernels() const { return *GetParam(); }
};

TEST(Kernels, ThePortableOnesAreAlwaysThereAndTheBestComeFirst) {
  EXPECT_STREQ(all_kernels().back()->name, "portable");
  EXPECT_EQ(&best_kernels(), all_kernels().front());
}

TEST_P(EveryKernels, WidenEveryBrainFloatExactly) {
  std::vector<std::uint16_t> bits(65536);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
  std::vector<float> out(bits.size());
  kernels().widen(Stored::bf16, bytes_of(bits), bits.size(), out.data());
  for (std::size_t i = 0; i < bits.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), static_cast<std::uint32_t>(i) << 16);
  }
}

TEST_P(EveryKernels, WidenEveryHalfExactly) {
  std::vector<std::uint16_t> bits(65536);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
  std::vector<float> out(bits.size());
  kernels().widen(Stored::fp16, bytes_of(bits), bits.size(), out.data());
  for (std::size_t i = 0; i < bits.size(); ++i) {
    const int exponent = static_cast<int>(i >> 10 & 31);
    const auto fraction = static_cast<float>(i & 1023);
    const float sign = (i & 0x8000) != 0 ? -1.0f : 1.0f;
    if (exponent == 31 && fraction != 0) {
      ASSERT_TRUE(std::isnan(out[i])) << i;
      continue;
    }
    float expected = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    if (exponent == 31) expected = kInfinity;
    ASSERT_EQ(out[i], sign * expected) << i;
    ASSERT_EQ(std::signbit(out[i]), sign < 0) << i;
  }
}

TEST_P(EveryKernels, WidenAndDotWriteAndReadNothingBeyondTheirCount) {
  for (const std::size_t count : {0u, 1u, 3u, 15u, 16u, 17u, 63u, 64u, 65u, 111u, 989u}) {
    const std::vector<float> values = random_values(count + 1);
    std::vector<std::uint16_t> halves;
    for (const float value : values) halves.push_back(BFloat16::round(value).bits);
    halves[count] = 0x7fc0;  // a NaN just beyond
    std::vector<float> x = random_values(count + 1, 2);
    x[count] = std::nanf("");
    std::vector<float> out(count + 1, -7);
    kernels().widen(Stored::bf16, bytes_of(halves), count, out.data());
    EXPECT_EQ(out[count], -7);
    double expected = 0;
    double scale = 1e-30;
    for (std::size_t i = 0; i < count; ++i) {
      const double product = static_cast<double>(BFloat16{halves[i]}.widen()) * static_cast<double>(x[i]);
      expected += product;
      scale += std::abs(product);
    }
    const float got = kernels().dot(Stored::bf16, bytes_of(halves), x.data(), count);
    EXPECT_NEAR(static_cast<double>(got), expected, 1e-6 * scale) << count;
  }
}

TEST_P(EveryKernels, DotReadsUnalignedWeightsOfEveryType) {
  const std::vector<float> x = random_values(100);
  const std::vector<float> weights = random_values(100, 3);
  std::vector<std::byte> shifted(401);
  std::memcpy(shifted.data() + 1, weights.data(), 400);
  double expected = 0;
  for (std::size_t i = 0; i < 100; ++i) expected += static_cast<double>(x[i]) * static_cast<double>(weights[i]);
  EXPECT_NEAR(static_cast<double>(kernels().dot(Stored::fp32, shifted.data() + 1, x.data(), 100)), expected, 1e-5);
  const std::vector<std::uint16_t> ones(100, 0x3c00);  // 1 as fp16
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value);
  EXPECT_NEAR(static_cast<double>(kernels().dot(Stored::fp16, bytes_of(ones), x.data(), 100)), sum, 1e-5);
}

TEST_P(EveryKernels, MultiplyRowsDoNotDependOnTheirNeighbours) {
  constexpr int kInner = 77;
  constexpr int kColumns = 128;
  const std::vector<float> a = random_values(20 * kInner);
  const std::vector<float> b = random_values(kInner * kColumns, 2);
  const std::vector<float> start = random_values(20 * kColumns, 3);
  std::vector<float> whole = start;
  kernels().multiply(a.data(), kInner, 20, b.data(), kColumns, kInner, whole.data(), kColumns, kColumns, true);
  std::vector<double> expected(start.begin(), start.end());
  for (std::size_t row = 0; row < 20; ++row) {
    for (std::size_t i = 0; i < kInner; ++i) {
      for (std::size_t j = 0; j < kColumns; ++j) {
        expected[row * kColumns + j] +=
            static_cast<double>(a[row * kInner + i]) * static_cast<double>(b[i * kColumns + j]);
      }
    }
  }
  EXPECT_LT(relative_error(whole, expected), 3e-6);  // chains of 77, the worst of 2,560
  for (int rows = 1; rows <= 13; ++rows) {
    std::vector<float> part = start;
    kernels().multiply(a.data(), kInner, rows, b.data(), kColumns, kInner, part.data(), kColumns, kColumns, true);
    const auto end = static_cast<std::ptrdiff_t>(rows) * kColumns;
    EXPECT_TRUE(std::equal(part.begin(), part.begin() + end, whole.begin())) << rows;
    EXPECT_TRUE(std::equal(part.begin() + end, part.end(), start.begin() + end)) << rows;
  }
}

TEST_P(EveryKernels, SoftmaxTilesContinueWhereTheLastOneEnded) {
  std::vector<float> logits = random_values(2 * kTileKeys);
  for (float& logit : logits) logit *= 10;
  double maximum = -1e30;
  for (const float logit : logits) maximum = std::max(maximum, static_cast<double>(logit));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - maximum);
  std::vector<float> p = logits;
  RowState state = {-kInfinity, 0};
  EXPECT_EQ(kernels().softmax_tile(p.data(), state), 0.0f);
  const float first_maximum = state.maximum;
  const float factor = kernels().softmax_tile(p.data() + kTileKeys, state);
  EXPECT_NEAR(static_cast<double>(factor), std::exp(static_cast<double>(first_maximum) - maximum), 1e-6);
  EXPECT_EQ(static_cast<double>(state.maximum), maximum);
  EXPECT_NEAR(static_cast<double>(state.sum) / sum, 1, 1e-6);
  for (std::size_t i = kTileKeys; i < p.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(p[i]), std::exp(static_cast<double>(logits[i]) - maximum), 3e-7);
  }
}

TEST_P(EveryKernels, SoftmaxOfHiddenTilesChangesNothing) {
  std::vector<float> hidden(kTileKeys, -kInfinity);
  RowState nothing = {-kInfinity, 0};
  kernels().softmax_tile(hidden.data(), nothing);
  EXPECT_EQ(nothing.maximum, -kInfinity);
  EXPECT_EQ(nothing.sum, 0);
  for (const float p : hidden) EXPECT_EQ(p, 0);
  std::ranges::fill(hidden, -kInfinity);
  RowState seen = {3.25f, 1.7f};
  EXPECT_EQ(kernels().softmax_tile(hidden.data(), seen), 1.0f);  // exactly: other rows of a block may need this tile
  EXPECT_EQ(seen.maximum, 3.25f);
  EXPECT_EQ(seen.sum, 1.7f);
}

TEST_P(EveryKernels, SoftmaxKeepsNotANumberWhereverItIs) {
  for (std::size_t place = 0; place < kTileKeys; ++place) {
    for (const float others : {0.5f, -kInfinity}) {
      std::vector<float> logits(kTileKeys, others);
      logits[place] = std::nanf("");
      RowState state = {-kInfinity, 0};
      kernels().softmax_tile(logits.data(), state);
      ASSERT_TRUE(std::isnan(state.sum)) << place;
      ASSERT_TRUE(std::isnan(logits[place])) << place;
    }
  }
}

TEST_P(EveryKernels, ExponentialIsAccurateOverItsWholeRange) {
  // exp(x) is seen through add_probabilities with maximum 0 and scale 1.
  for (float first = -90; first < 88.8f; first += 0.37f * kTileKeys / 100) {
    std::vector<float> x(kTileKeys);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = first + 0.0037f * static_cast<float>(i);
    std::vector<float> out(kTileKeys, 0);
    kernels().add_probabilities(x.data(), 0, 1, out.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double expected = std::exp(static_cast<double>(x[i]));
      if (x[i] < -87.33654f) {
        EXPECT_EQ(out[i], 0.0f);
      } else if (x[i] > 88.722839f) {
        EXPECT_EQ(out[i], kInfinity);
      } else {
        ASSERT_NEAR(static_cast<double>(out[i]) / expected, 1, 2.5e-7) << x[i];
      }
    }
  }
}

TEST_P(EveryKernels, TransposedKeysAreTheKeys) {
  for (const int dim : {1, 16, 64, 100, 128}) {
    const auto size = static_cast<std::size_t>(dim);
    const std::vector<float> values = random_values(kKeyGroup * size);
    std::vector<std::uint16_t> halves;
    for (const float value : values) halves.push_back(BFloat16::round(value).bits);
    const std::byte* rows[kKeyGroup];
    const std::byte* half_rows[kKeyGroup];
    for (std::size_t key = 0; key < kKeyGroup; ++key) {
      rows[key] = bytes_of(values) + key * size * 4;
      half_rows[key] = bytes_of(halves) + key * size * 2;
    }
    std::vector<float> out(size * kTileKeys, -7);
    std::vector<float> from_halves(size * kTileKeys, -7);
    kernels().transpose_keys(Stored::fp32, rows, dim, out.data() + 32);
    kernels().transpose_keys(Stored::bf16, half_rows, dim, from_halves.data() + 32);
    for (std::size_t i = 0; i < size; ++i) {
      EXPECT_EQ(out[i * kTileKeys + 31], -7);
      for (std::size_t key = 0; key < kKeyGroup; ++key) {
        EXPECT_EQ(out[i * kTileKeys + 32 + key], values[key * size + i]);
        EXPECT_EQ(from_halves[i * kTileKeys + 32 + key], BFloat16{halves[key * size + i]}.widen());
      }
    }
  }
}

TEST_P(EveryKernels, RmsNormAndSwigluEqualTheirFormulas) {
  for (const std::size_t count : {1u, 7u, 16u, 19u, 111u, 989u}) {
    const std::vector<float> x = random_values(count);
    const std::vector<float> w = random_values(count, 2);
    double squares = 0;
    for (const float value : x) squares += static_cast<double>(value) * static_cast<double>(value);
    const double root = std::sqrt(squares / static_cast<double>(count) + 1e-3);
    std::vector<float> normed(count + 1, -7);
    kernels().rms_norm(x.data(), w.data(), count, 1e-3f, normed.data());
    std::vector<float> gate = x;
    gate.push_back(-7);
    kernels().swiglu(gate.data(), w.data(), count);
    for (std::size_t i = 0; i < count; ++i) {
      const auto xi = static_cast<double>(x[i]);
      const auto wi = static_cast<double>(w[i]);
      EXPECT_NEAR(static_cast<double>(normed[i]), xi * wi / root, 2e-6);
      EXPECT_NEAR(static_cast<double>(gate[i]), xi / (1 + std::exp(-xi)) * wi, 2e-6);
    }
    EXPECT_EQ(normed[count], -7);
    EXPECT_EQ(gate[count], -7);
  }
}

TEST_P(EveryKernels, SwigluOfExtremesIsTheirLimit) {
  std::vector<float> gate = {-1e4f, 1e4f, 0, -kInfinity, kInfinity, std::nanf("")};
  const std::vector<float> up(6, 2);
  kernels().swiglu(gate.data(), up.data(), 6);
  EXPECT_EQ(gate[0], 0);
  EXPECT_EQ(gate[1], 2e4f);
  EXPECT_EQ(gate[2], 0);
  EXPECT_TRUE(std::isnan(gate[3]));  // -inf / inf, as in transformers
  EXPECT_EQ(gate[4], kInfinity);
  EXPECT_TRUE(std::isnan(gate[5]));
}

TEST_P(EveryKernels, AddInPlaceStopsAtItsCount) {
  std::vector<float> sum(20, 3);
  const std::vector<float> a(20, 0.5f);
  kernels().add(a.data(), sum.data(), 19, sum.data());
  EXPECT_EQ(sum[0], 3.5f);
  EXPECT_EQ(sum[18], 3.5f);
  EXPECT_EQ(sum[19], 3);
}

TEST_P(EveryKernels, ScaleStopsAtItsCount) {
  std::vector<float> data(20, 3);
  kernels().scale(data.data(), 19, 0.5f);
  EXPECT_EQ(data[18], 1.5f);
  EXPECT_EQ(data[19], 3);
}

INSTANTIATE_TEST_SUITE_P(OnThisMachine, EveryKernels, testing::ValuesIn(all_kernels()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace reprefill::engine::test
