#include "engine/executor/cpu/linear.hpp"

#include <cstring>

#include <gtest/gtest.h>

#include "core/base/bfloat16.hpp"
#include "core/base/random.hpp"
#include "tests/engine/executor/comparison.hpp"

namespace reprefill::engine::test {
namespace {

// fp32 sums of up to 4,864 products: rounding grows with the root of their number, 70 * 6e-8; a few times that.
constexpr double kBound = 2e-5;

/// A random layer, its weights stored as bf16, and random rows.
class RandomLinear {
 public:
  RandomLinear(int outputs, int inputs, int rows, std::uint64_t seed = 1)
      : outputs_(outputs), inputs_(inputs), num_rows_(rows) {
    RandomStream random(seed, 0, "linear");
    for (int i = 0; i < outputs * inputs; ++i) {
      weights_.push_back(BFloat16::round(static_cast<float>(random.normal(0, 1))).bits);
    }
    for (int i = 0; i < outputs; ++i) bias_.push_back(static_cast<float>(random.normal(0, 1)));
    for (int i = 0; i < rows * inputs; ++i) rows_.push_back(static_cast<float>(random.normal(0, 1)));
    // What lies in padding rows must not matter.
    rows_.resize(static_cast<std::size_t>(LinearLayers::padded_rows(rows)) * static_cast<std::size_t>(inputs),
                 std::nanf(""));
  }

  WeightView view() const {
    return {reinterpret_cast<const std::byte*>(weights_.data()), ElementType::bf16, outputs_, inputs_};
  }
  Rows rows(int count) const { return {rows_.data(), static_cast<std::size_t>(inputs_), count}; }
  const float* bias() const { return bias_.data(); }

  std::vector<double> expected() const {
    std::vector<double> out;
    for (int row = 0; row < num_rows_; ++row) {
      for (int output = 0; output < outputs_; ++output) {
        auto sum = static_cast<double>(bias_[static_cast<std::size_t>(output)]);
        for (int i = 0; i < inputs_; ++i) {
          sum += static_cast<double>(rows_[static_cast<std::size_t>(row * inputs_ + i)]) *
                 static_cast<double>(BFloat16{weights_[static_cast<std::size_t>(output * inputs_ + i)]}.widen());
        }
        out.push_back(sum);
      }
    }
    return out;
  }

  std::vector<float> multiply(LinearLayers& layers, LinearWeights& weights, int count) const {
    std::vector<float> out(static_cast<std::size_t>(count * outputs_));
    const LinearJob job = {
        .weights = &weights, .bias = bias(), .out = out.data(), .out_stride = static_cast<std::size_t>(outputs_)};
    layers.multiply(rows(count), {&job, 1});
    return out;
  }

 private:
  int outputs_, inputs_, num_rows_;
  std::vector<std::uint16_t> weights_;
  std::vector<float> bias_, rows_;
};

struct Shape {
  int outputs, inputs;
};
constexpr Shape kShapes[] = {{1, 1}, {3, 5}, {16, 48}, {64, 64}, {130, 64}, {300, 100}, {128, 4864}, {2100, 96}};

TEST(LinearLayers, EqualThePlainSums) {
  WorkerPool pool(3);
  LinearLayers layers(pool, best_kernels());
  for (const Shape shape : kShapes) {
    for (const int rows : {1, 2, 19, 111}) {
      const RandomLinear random(shape.outputs, shape.inputs, rows);
      LinearWeights weights(random.view());
      EXPECT_LT(relative_error(random.multiply(layers, weights, rows), random.expected()), kBound)
          << shape.outputs << " x " << shape.inputs << ", " << rows;
    }
  }
}

TEST(LinearLayers, ARowDoesNotDependOnTheRowsBesideIt) {
  WorkerPool pool(2);
  LinearLayers layers(pool, best_kernels());
  for (const Shape shape : kShapes) {
    const RandomLinear random(shape.outputs, shape.inputs, 300);
    LinearWeights weights(random.view());
    const std::vector<float> all = random.multiply(layers, weights, 300);
    for (const int rows : {1, 2, 3, 5, 16, 17, 100, 255, 256, 257}) {
      const std::vector<float> some = random.multiply(layers, weights, rows);
      EXPECT_EQ(std::memcmp(some.data(), all.data(), some.size() * sizeof(float)), 0)
          << shape.outputs << " x " << shape.inputs << ", " << rows;
    }
  }
}

TEST(LinearLayers, ARowDoesNotDependOnItsPlace) {
  WorkerPool pool(2);
  LinearLayers layers(pool, best_kernels());
  for (const Shape shape : kShapes) {
    const RandomLinear random(shape.outputs, shape.inputs, 300);
    LinearWeights weights(random.view());
    const std::vector<float> all = random.multiply(layers, weights, 300);
    for (const int shift : {1, 7, 44}) {
      Rows rows = random.rows(256);
      rows.data += shift * shape.inputs;
      std::vector<float> out(static_cast<std::size_t>(256 * shape.outputs));
      const LinearJob job = {.weights = &weights,
                             .bias = random.bias(),
                             .out = out.data(),
                             .out_stride = static_cast<std::size_t>(shape.outputs)};
      layers.multiply(rows, {&job, 1});
      EXPECT_EQ(std::memcmp(out.data(), all.data() + shift * shape.outputs, out.size() * sizeof(float)), 0)
          << shape.outputs << " x " << shape.inputs << ", " << shift;
    }
  }
}

TEST(LinearLayers, NeitherThreadsNorACacheChangeABit) {
  for (const Shape shape : kShapes) {
    const RandomLinear random(shape.outputs, shape.inputs, 600);
    WorkerPool one(1);
    LinearLayers alone(one, best_kernels());
    LinearWeights weights(random.view());
    const std::vector<float> expected = random.multiply(alone, weights, 600);
    for (const int threads : {2, 5}) {
      WorkerPool pool(threads);
      LinearLayers layers(pool, best_kernels());
      LinearWeights cached(random.view());
      cached.grant_cache();
      EXPECT_EQ(random.multiply(layers, weights, 600), expected);
      EXPECT_EQ(random.multiply(layers, cached, 600), expected);
      EXPECT_EQ(random.multiply(layers, cached, 600), expected);  // now from the cache
    }
  }
}

TEST(LinearLayers, ASingleRowEqualsThePlainSums) {
  WorkerPool pool(3);
  LinearLayers layers(pool, best_kernels());
  for (const Shape shape : kShapes) {
    const RandomLinear random(shape.outputs, shape.inputs, 1);
    LinearWeights weights(random.view());
    std::vector<float> out(static_cast<std::size_t>(shape.outputs), 1);
    const LinearJob job = {.weights = &weights, .bias = random.bias(), .out = out.data()};
    layers.multiply_row(random.rows(1).data, {&job, 1});
    EXPECT_LT(relative_error(out, random.expected()), kBound) << shape.outputs << " x " << shape.inputs;
  }
}

TEST(LinearLayers, AddToWhatIsThere) {
  WorkerPool pool(2);
  LinearLayers layers(pool, best_kernels());
  const RandomLinear random(70, 64, 1);
  LinearWeights weights(random.view());
  std::vector<double> expected = random.expected();
  for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += 10 - static_cast<double>(random.bias()[i]);
  for (const bool single : {false, true}) {
    std::vector<float> out(70, 10);
    const LinearJob job = {.weights = &weights, .out = out.data(), .out_stride = 70, .store = Store::add};
    if (single) {
      layers.multiply_row(random.rows(1).data, {&job, 1});
    } else {
      layers.multiply(random.rows(1), {&job, 1});
    }
    EXPECT_LT(relative_error(out, expected), kBound);
  }
}

TEST(LinearLayers, JobsOfOneCallWriteOnlyTheirColumns) {
  WorkerPool pool(2);
  LinearLayers layers(pool, best_kernels());
  const RandomLinear random(64, 64, 20);
  LinearWeights weights(random.view());
  const std::vector<float> expected = random.multiply(layers, weights, 20);
  std::vector<float> out(20 * 130, -7);
  const LinearJob jobs[] = {{.weights = &weights, .bias = random.bias(), .out = out.data(), .out_stride = 130},
                            {.weights = &weights, .bias = random.bias(), .out = out.data() + 65, .out_stride = 130}};
  layers.multiply(random.rows(20), jobs);
  for (std::size_t row = 0; row < 20; ++row) {
    for (std::size_t j = 0; j < 64; ++j) {
      EXPECT_EQ(out[row * 130 + j], expected[row * 64 + j]);
      EXPECT_EQ(out[row * 130 + 65 + j], expected[row * 64 + j]);
    }
    EXPECT_EQ(out[row * 130 + 64], -7);
    EXPECT_EQ(out[row * 130 + 129], -7);
  }
}

}  // namespace
}  // namespace reprefill::engine::test
