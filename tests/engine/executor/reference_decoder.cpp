#include "tests/engine/executor/reference_decoder.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

namespace reprefill::engine::test {
namespace {

using Vector = std::vector<double>;

double half_to_double(std::uint16_t half) {
  const int exponent = half >> 10 & 31;
  const double fraction = half & 1023;
  const double value = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (half & 0x8000) != 0 ? -value : value;
}

double element(const WeightView& view, std::int64_t row, std::int64_t column) {
  const auto at = static_cast<std::size_t>(row * view.columns + column);
  if (view.type == ElementType::fp32) {
    float value;
    std::memcpy(&value, view.data + at * 4, 4);
    return static_cast<double>(value);
  }
  std::uint16_t bits;
  std::memcpy(&bits, view.data + at * 2, 2);
  if (view.type == ElementType::fp16) return half_to_double(bits);
  return static_cast<double>(BFloat16{bits}.widen());
}

Vector linear(const WeightView& weight, const Vector& x) {
  Vector out(static_cast<std::size_t>(weight.rows));
  for (std::int64_t row = 0; row < weight.rows; ++row) {
    double sum = 0;
    for (std::int64_t i = 0; i < weight.columns; ++i) sum += element(weight, row, i) * x[static_cast<std::size_t>(i)];
    out[static_cast<std::size_t>(row)] = sum;
  }
  return out;
}

void add(const WeightView& bias, Vector& x) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += element(bias, 0, static_cast<std::int64_t>(i));
}

Vector rms_norm(const WeightView& weight, const Vector& x, double eps) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  const double root = std::sqrt(squares / static_cast<double>(x.size()) + eps);
  Vector out;
  for (std::size_t i = 0; i < x.size(); ++i) {
    out.push_back(x[i] / root * element(weight, 0, static_cast<std::int64_t>(i)));
  }
  return out;
}

/// Inverse frequency of a pair of dimensions; YaRN as in its paper (section 3.2, "NTK-by-parts").
double inverse_frequency(const DecoderConfig& config, double pair) {
  const double dim = config.geometry.head_dim;
  const double plain = std::pow(config.rope_theta, -2 * pair / dim);
  if (!config.yarn) return plain;
  const auto pair_of_rotations = [&](double rotations) {
    return dim * std::log(config.yarn->original_max_positions / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(config.rope_theta));
  };
  const double low = std::max(0.0, std::floor(pair_of_rotations(config.yarn->beta_fast)));
  double high = std::min(dim - 1, std::ceil(pair_of_rotations(config.yarn->beta_slow)));
  if (low == high) high += 0.001;
  const double stretched = std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return plain / config.yarn->factor * stretched + plain * (1 - stretched);
}

void rotate(const DecoderConfig& config, double position, Vector& heads) {
  const auto dim = static_cast<std::size_t>(config.geometry.head_dim);
  const double scaling = config.yarn ? config.yarn->attention_factor.value_or(
                                           config.yarn->factor > 1 ? 0.1 * std::log(config.yarn->factor) + 1 : 1)
                                     : 1;
  for (std::size_t head = 0; head < heads.size(); head += dim) {
    for (std::size_t i = 0; i < dim / 2; ++i) {
      const double angle = position * inverse_frequency(config, static_cast<double>(i));
      const double cosine = std::cos(angle) * scaling;
      const double sine = std::sin(angle) * scaling;
      const double first = heads[head + i];
      const double second = heads[head + dim / 2 + i];
      heads[head + i] = first * cosine - second * sine;
      heads[head + dim / 2 + i] = second * cosine + first * sine;
    }
  }
}

void round_to(KvType type, Vector& values) {
  for (double& value : values) {
    const auto single = static_cast<float>(value);
    value = static_cast<double>(type == KvType::bf16 ? BFloat16::round(single).widen() : single);
  }
}

void append(const Vector& from, Vector& to) { to.insert(to.end(), from.begin(), from.end()); }

PlainAttention project(const Checkpoint& checkpoint, const LayerWeights& weights, KvType kv_type,
                       const std::vector<Vector>& hidden, std::uint32_t first_position) {
  const DecoderConfig& config = checkpoint.config();
  PlainAttention layer;
  layer.num_query_heads = config.geometry.num_query_heads;
  layer.num_kv_heads = config.geometry.num_kv_heads;
  layer.head_dim = config.geometry.head_dim;
  for (std::size_t token = 0; token < hidden.size(); ++token) {
    const Vector x = rms_norm(weights.input_norm, hidden[token], config.rms_norm_eps);
    Vector q = linear(weights.q_weight, x);
    Vector k = linear(weights.k_weight, x);
    Vector v = linear(weights.v_weight, x);
    add(weights.q_bias, q);
    add(weights.k_bias, k);
    add(weights.v_bias, v);
    const auto position = static_cast<double>(first_position + token);
    rotate(config, position, q);
    rotate(config, position, k);
    round_to(kv_type, k);
    round_to(kv_type, v);
    append(q, layer.queries);
    append(k, layer.own_keys);
    append(v, layer.own_values);
  }
  return layer;
}

void feed_forward(const LayerWeights& weights, double eps, Vector& hidden) {
  const Vector x = rms_norm(weights.post_attention_norm, hidden, eps);
  Vector gate = linear(weights.gate_weight, x);
  const Vector up = linear(weights.up_weight, x);
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  const Vector down = linear(weights.down_weight, gate);
  for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] += down[i];
}

}  // namespace

PlainForward plain_forward(const Checkpoint& checkpoint, KvType kv_type, std::span<const std::int32_t> ids,
                           std::uint32_t first_position, std::span<const PlainPrefix> prefix, const Fault& fault) {
  const DecoderConfig& config = checkpoint.config();
  PlainForward forward;
  std::vector<Vector> hidden(ids.size());
  for (std::size_t token = 0; token < ids.size(); ++token) {
    for (int i = 0; i < config.geometry.hidden; ++i) {
      hidden[token].push_back(element(checkpoint.embedding(), ids[token], i));
    }
  }
  for (int layer_idx = 0; layer_idx < config.geometry.num_layers; ++layer_idx) {
    const LayerWeights& weights = checkpoint.layer(layer_idx);
    PlainAttention layer = project(checkpoint, weights, kv_type, hidden, first_position);
    layer.fault = fault;
    if (!prefix.empty()) {
      const PlainPrefix& stored = prefix[static_cast<std::size_t>(layer_idx)];
      layer.stored_keys = stored.keys;
      layer.stored_values = stored.values;
      layer.keep_k = stored.keep_k;
      layer.keep_v = stored.keep_v;
      layer.num_stored = stored.keys.size() / (layer.own_keys.size() / ids.size());
    }
    const Vector heads = layer.outputs();
    const auto row = static_cast<std::ptrdiff_t>(heads.size() / ids.size());
    for (std::size_t token = 0; token < ids.size(); ++token) {
      const auto begin = heads.begin() + static_cast<std::ptrdiff_t>(token) * row;
      const Vector mixed = linear(weights.o_weight, Vector(begin, begin + row));
      for (std::size_t i = 0; i < mixed.size(); ++i) hidden[token][i] += mixed[i];
      feed_forward(weights, config.rms_norm_eps, hidden[token]);
    }
    forward.layers.push_back(std::move(layer));
  }
  for (const Vector& x : hidden) {
    forward.logits.push_back(linear(checkpoint.lm_head(), rms_norm(checkpoint.final_norm(), x, config.rms_norm_eps)));
  }
  return forward;
}

}  // namespace reprefill::engine::test
