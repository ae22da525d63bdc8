#include <cmath>
#include <limits>

#include "kernels/elementwise/elementwise.hpp"

namespace reprefill::kernels {
namespace {

BFloat16 round(double value) { return BFloat16::round(static_cast<float>(value)); }
double widen(BFloat16 value) { return static_cast<double>(value.widen()); }

}  // namespace

void rmsnorm_reference(const RmsNorm& arguments) {
  for (std::uint32_t token = 0; token < arguments.num_tokens; ++token) {
    const std::uint64_t row = std::uint64_t{token} * arguments.hidden;
    double squares = 0;
    for (std::uint64_t i = row; i < row + arguments.hidden; ++i) {
      if (arguments.delta != nullptr) arguments.x[i] = round(widen(arguments.x[i]) + widen(arguments.delta[i]));
      squares += widen(arguments.x[i]) * widen(arguments.x[i]);
    }
    const double root = std::sqrt(squares / arguments.hidden + static_cast<double>(arguments.eps));
    for (std::uint32_t i = 0; i < arguments.hidden; ++i) {
      arguments.out[row + i] = round(widen(arguments.x[row + i]) * widen(arguments.weight[i]) / root);
    }
  }
}

void rope_append_reference(const RopeAppend& arguments) {
  const auto dim = static_cast<std::uint64_t>(arguments.head_dim), half = dim / 2;
  const auto num_query_heads = static_cast<std::uint64_t>(arguments.num_query_heads);
  const auto num_kv_heads = static_cast<std::uint64_t>(arguments.num_kv_heads);
  const std::uint64_t row_size = (num_query_heads + 2 * num_kv_heads) * dim;
  const std::uint32_t first_position =
      arguments.device_first_position != nullptr ? *arguments.device_first_position : arguments.first_position;
  for (std::uint64_t token = 0; token < arguments.num_tokens; ++token) {
    const auto input = [&](std::uint64_t column) {
      const double bias = arguments.bias == nullptr ? 0 : widen(arguments.bias[column]);
      return widen(arguments.qkv[token * row_size + column]) + bias;
    };
    const std::uint64_t own_token = arguments.first_own_token + token;
    const auto position = static_cast<float>(first_position + own_token);
    for (std::uint64_t head = 0; head < num_query_heads + num_kv_heads; ++head) {
      BFloat16* out = head < num_query_heads
                          ? arguments.queries + (token * num_query_heads + head) * dim
                          : arguments.own_keys + (own_token * num_kv_heads + head - num_query_heads) * dim;
      for (std::uint64_t i = 0; i < half; ++i) {
        const float angle = position * arguments.inverse_frequencies[i];  // rounded to fp32, as in training
        const double scaling = static_cast<double>(arguments.attention_scaling);
        const double cosine = std::cos(static_cast<double>(angle)) * scaling;
        const double sine = std::sin(static_cast<double>(angle)) * scaling;
        const double a = input(head * dim + i), b = input(head * dim + i + half);
        out[i] = round(a * cosine - b * sine);
        out[i + half] = round(b * cosine + a * sine);
      }
    }
    for (std::uint64_t i = 0; i < num_kv_heads * dim; ++i) {
      arguments.own_values[own_token * num_kv_heads * dim + i] =
          round(input((num_query_heads + num_kv_heads) * dim + i));
    }
  }
}

void swiglu_reference(const SwiGlu& arguments) {
  for (std::uint64_t token = 0; token < arguments.num_tokens; ++token) {
    const BFloat16* gate = arguments.gate_up + token * 2 * arguments.intermediate;
    for (std::uint64_t i = 0; i < arguments.intermediate; ++i) {
      const double x = widen(gate[i]);
      arguments.out[token * arguments.intermediate + i] =
          round(x / (1 + std::exp(-x)) * widen(gate[arguments.intermediate + i]));
    }
  }
}

void add_residual_reference(const AddResidual& arguments) {
  for (std::uint64_t i = 0; i < arguments.count; ++i) {
    arguments.x[i] = round(widen(arguments.x[i]) + widen(arguments.delta[i]));
  }
}

void embedding_reference(const Embedding& arguments) {
  for (std::uint64_t token = 0; token < arguments.num_tokens; ++token) {
    const std::int32_t id = arguments.ids[token];
    const bool is_known = id >= 0 && static_cast<std::uint32_t>(id) < arguments.vocab;
    for (std::uint64_t i = 0; i < arguments.hidden; ++i) {
      arguments.out[token * arguments.hidden + i] =
          is_known ? arguments.table[static_cast<std::uint64_t>(id) * arguments.hidden + i] : BFloat16{0x7fc0};
    }
  }
}

void argmax_reference(const Argmax& arguments) {
  std::uint32_t best = 0;
  *arguments.id = -1;
  for (std::uint32_t i = 0; i < arguments.count; ++i) {
    if (std::isnan(arguments.logits[i])) return;
    if (arguments.logits[i] > arguments.logits[best]) best = i;
  }
  *arguments.id = static_cast<std::int32_t>(best);
}

}  // namespace reprefill::kernels
