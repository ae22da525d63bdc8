#include "tests/engine/executor/reference.hpp"

#include <cmath>
#include <cstring>

namespace reprefill::engine::test {

std::size_t PlainAttention::num_own() const {
  return own_keys.size() / (static_cast<std::size_t>(num_kv_heads) * static_cast<std::size_t>(head_dim));
}

bool PlainAttention::keeps(const std::vector<std::uint8_t>& mask, int kv_head, std::size_t token) const {
  if (mask.empty() || fault.ignores_masks || token >= num_stored) return true;
  return mask[static_cast<std::size_t>(kv_head) * num_stored + token] != 0;
}

std::vector<double> PlainAttention::weights(std::size_t query, int query_head) const {
  const auto dim = static_cast<std::size_t>(head_dim);
  const auto kv_heads = static_cast<std::size_t>(num_kv_heads);
  const int kv_head = query_head / (num_query_heads / num_kv_heads);
  const double scale = fault.scale_factor / std::sqrt(static_cast<double>(head_dim));
  const double* q =
      queries.data() + (query * static_cast<std::size_t>(num_query_heads) + static_cast<std::size_t>(query_head)) * dim;
  std::vector<double> logits(num_stored + num_own(), -std::numeric_limits<double>::infinity());
  const std::size_t visible = fault.sees_own_future ? logits.size() : num_stored + query + 1;
  double maximum = -std::numeric_limits<double>::infinity();
  for (std::size_t token = 0; token < visible; ++token) {
    if (!keeps(keep_k, kv_head, token)) continue;
    const std::vector<double>& keys = token < num_stored ? stored_keys : own_keys;
    const std::size_t place = token < num_stored ? token : token - num_stored;
    const double* k = keys.data() + (place * kv_heads + static_cast<std::size_t>(kv_head)) * dim;
    double sum = 0;
    for (std::size_t i = 0; i < dim; ++i) sum += q[i] * k[i];
    logits[token] = sum * scale;
    maximum = std::max(maximum, logits[token]);
  }
  double denominator = 0;
  for (double& logit : logits) denominator += logit = std::exp(logit - maximum);
  for (double& logit : logits) logit /= denominator;
  return logits;
}

std::vector<double> PlainAttention::outputs() const {
  const auto dim = static_cast<std::size_t>(head_dim);
  const auto kv_heads = static_cast<std::size_t>(num_kv_heads);
  std::vector<double> out(queries.size());
  double* target = out.data();
  for (std::size_t query = 0; query < num_own(); ++query) {
    for (int head = 0; head < num_query_heads; ++head, target += dim) {
      const int kv_head = head / (num_query_heads / num_kv_heads);
      const std::vector<double> row = weights(query, head);
      for (std::size_t token = 0; token < row.size(); ++token) {
        if (row[token] == 0 || !keeps(keep_v, kv_head, token)) continue;
        const std::vector<double>& values = token < num_stored ? stored_values : own_values;
        const std::size_t place = token < num_stored ? token : token - num_stored;
        const double* v = values.data() + (place * kv_heads + static_cast<std::size_t>(kv_head)) * dim;
        for (std::size_t i = 0; i < dim; ++i) target[i] += row[token] * v[i];
      }
    }
  }
  return out;
}

std::vector<double> PlainAttention::column_sums(int query_head) const {
  std::vector<double> sums(num_stored);
  for (std::size_t query = 0; query < num_own(); ++query) {
    const std::vector<double> row = weights(query, query_head);
    for (std::size_t token = 0; token < num_stored; ++token) sums[token] += row[token];
  }
  return sums;
}

Tensor random_tensor(RandomStream& random, std::size_t count, KvType type) {
  Tensor tensor;
  tensor.bytes.resize(count * bytes_per_element(type));
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(random.normal(0, 1));
    const BFloat16 rounded = BFloat16::round(value);
    if (type == KvType::bf16) {
      std::memcpy(tensor.bytes.data() + i * 2, &rounded.bits, 2);
      tensor.values.push_back(static_cast<double>(rounded.widen()));
    } else {
      std::memcpy(tensor.bytes.data() + i * 4, &value, 4);
      tensor.values.push_back(static_cast<double>(value));
    }
  }
  return tensor;
}

}  // namespace reprefill::engine::test
