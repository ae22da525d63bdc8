// Rows of causal softmax and of its gradient for decoder.py on a CPU. torch 1.13 takes ten passes over the logits in
// fp32, two thirds of a training step; these take one. Built by decoder.py with g++ -O3 -march=native -ffast-math.
//
// A matrix holds `rows` rows of `cols` bf16 logits. Rows are the queries of a block, `block` of them for each head in a
// group; row r sees the columns up to cols - block + r % block.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

inline float widen(std::uint16_t half) {
  const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// To the nearest, ties to even. No NaN comes here.
inline std::uint16_t narrow(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<std::uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

}  // namespace

/// logits become probabilities; log_sums[rows] gets the logarithm of each row's sum of exponentials.
extern "C" void softmax_rows(std::uint16_t* logits, float* log_sums, long rows, long cols, long block) {
  std::vector<float> buffer(cols);
  float* const e = buffer.data();
  for (long r = 0; r < rows; ++r) {
    std::uint16_t* const row = logits + r * cols;
    const long seen = cols - block + r % block + 1;
    float highest = -1e30F, sum = 0;
    for (long c = 0; c < seen; ++c) {
      e[c] = widen(row[c]);
      highest = e[c] > highest ? e[c] : highest;
    }
    for (long c = 0; c < seen; ++c) {
      e[c] = std::exp(e[c] - highest);
      sum += e[c];
    }
    const float scale = 1 / sum;
    for (long c = 0; c < seen; ++c) row[c] = narrow(e[c] * scale);
    for (long c = seen; c < cols; ++c) row[c] = 0;
    log_sums[r] = highest + std::log(sum);
  }
}

/// logits become probabilities again, d_probabilities the gradient of the logits; inner[rows] = sum of out * d_out.
extern "C" void softmax_gradient_rows(std::uint16_t* logits, std::uint16_t* d_probabilities, const float* log_sums,
                                      const float* inner, long rows, long cols, long block) {
  for (long r = 0; r < rows; ++r) {
    std::uint16_t* const row = logits + r * cols;
    std::uint16_t* const gradient = d_probabilities + r * cols;
    const long seen = cols - block + r % block + 1;
    const float log_sum = log_sums[r], subtracted = inner[r];
    for (long c = 0; c < seen; ++c) {
      const float p = std::exp(widen(row[c]) - log_sum);
      gradient[c] = narrow(p * (widen(gradient[c]) - subtracted));
      row[c] = narrow(p);
    }
    for (long c = seen; c < cols; ++c) row[c] = gradient[c] = 0;
  }
}
