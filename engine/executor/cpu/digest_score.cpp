#include "engine/executor/cpu/digest_score.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

/// A KV head's digests of the whole prefix and own keys, widened and transposed: one row for each dimension.
struct HeadRows {
  std::vector<float> stored;  // [dim, minmax: 2 * dim][columns]
  std::vector<float> own;     // [dim][own tokens]
};

class DigestScores {
 public:
  DigestScores(WorkerPool& pool, const DigestShape& shape, const KeyView& digests, const OwnRows& own, float scale)
      : pool_(pool),
        shape_(shape),
        digests_(digests),
        own_(own),
        scale_(scale),
        dim_(static_cast<std::size_t>(shape.head_dim)),
        heads_(static_cast<std::size_t>(shape.num_kv_heads)),
        query_heads_(static_cast<std::size_t>(own.num_query_heads)),
        columns_(is_per_chunk(shape.digest) ? digests.num_tokens / shape.chunk_tokens : digests.num_tokens),
        rows_(heads_) {}

  void run(std::span<double> out) {
    pool_.run(heads_, [&](std::size_t head, int) { widen(head); });
    std::vector<std::vector<double>> mass(query_heads_);
    pool_.run(query_heads_, [&](std::size_t head, int) { mass[head] = mass_of(head); });
    const std::size_t num_chunks = out.size() / heads_;
    std::ranges::fill(out, 0.0);
    for (std::size_t head = 0; head < query_heads_; ++head) {
      double* sums = out.data() + kv_head_of(head) * num_chunks;
      for (std::size_t i = 0; i < columns_; ++i) sums[i * num_chunks / columns_] += mass[head][i];
    }
  }

 private:
  std::size_t kv_head_of(std::size_t query_head) const { return query_head / (query_heads_ / heads_); }

  void widen(std::size_t head) {
    HeadRows& rows = rows_[head];
    rows.stored.resize((shape_.digest == KeyDigest::minmax ? 2 : 1) * dim_ * columns_);
    std::size_t column = 0;
    for (const KeyPage& page : digests_.pages) {
      widen_digest(shape_, page.keys, page.num_tokens, static_cast<int>(head), rows.stored.data() + column, columns_);
      column += is_per_chunk(shape_.digest) ? page.num_tokens / shape_.chunk_tokens : page.num_tokens;
    }
    rows.own.resize(dim_ * own_.count);
    for (std::size_t token = 0; token < own_.count; ++token) {
      for (std::size_t d = 0; d < dim_; ++d) {
        rows.own[d * own_.count + token] = own_.keys[(token * heads_ + head) * dim_ + d];
      }
    }
  }

  /// Of one query head: probabilities summed over own tokens.
  std::vector<double> mass_of(std::size_t head) const {
    const HeadRows& rows = rows_[kv_head_of(head)];
    std::vector<double> mass(columns_, 0.0);
    std::vector<float> logits(columns_), own_logits(own_.count);
    const double tokens_a_column = is_per_chunk(shape_.digest) ? shape_.chunk_tokens : 1;
    for (std::size_t token = 0; token < own_.count; ++token) {
      const float* query = own_.queries + (token * query_heads_ + head) * dim_;
      const std::size_t visible = token + 1;
      multiply(query, rows, logits);
      std::fill(own_logits.begin(), own_logits.end(), 0.0f);
      for (std::size_t d = 0; d < dim_; ++d)
        add(query[d] * scale_, rows.own.data() + d * own_.count, visible, own_logits);
      const float highest = std::max(*std::ranges::max_element(logits),
                                     *std::max_element(own_logits.begin(), own_logits.begin() + visible_end(visible)));
      double all = 0;
      for (float& logit : logits) {
        logit = std::exp(logit - highest);
        all += tokens_a_column * static_cast<double>(logit);
      }
      for (std::size_t i = 0; i < visible; ++i) all += static_cast<double>(std::exp(own_logits[i] - highest));
      for (std::size_t i = 0; i < columns_; ++i) mass[i] += tokens_a_column * static_cast<double>(logits[i]) / all;
    }
    return mass;
  }

  static std::ptrdiff_t visible_end(std::size_t visible) { return static_cast<std::ptrdiff_t>(visible); }

  static void add(float factor, const float* row, std::size_t count, std::vector<float>& sums) {
    for (std::size_t i = 0; i < count; ++i) sums[i] += factor * row[i];
  }

  void multiply(const float* query, const HeadRows& rows, std::vector<float>& logits) const {
    std::fill(logits.begin(), logits.end(), 0.0f);
    for (std::size_t d = 0; d < dim_; ++d) {
      // The largest product that a value between the two allows.
      const std::size_t row = shape_.digest == KeyDigest::minmax && query[d] > 0 ? dim_ + d : d;
      add(query[d] * scale_, rows.stored.data() + row * columns_, columns_, logits);
    }
  }

  WorkerPool& pool_;
  const DigestShape& shape_;
  const KeyView& digests_;
  const OwnRows& own_;
  float scale_;
  std::size_t dim_, heads_, query_heads_, columns_;
  std::vector<HeadRows> rows_;
};

}  // namespace

void score_digests(WorkerPool& pool, const DigestShape& shape, const KeyView& digests, const OwnRows& own, float scale,
                   std::span<double> out) {
  for (const KeyPage& page : digests.pages) {
    REPREFILL_CHECK(page.num_tokens % shape.chunk_tokens == 0, "{} tokens in chunks of {}", page.num_tokens,
                    shape.chunk_tokens);
  }
  const std::size_t num_chunks = digests.num_tokens / shape.chunk_tokens;
  REPREFILL_CHECK(out.size() == static_cast<std::size_t>(shape.num_kv_heads) * num_chunks,
                  "{} places for {} KV heads' scores of {} chunks", out.size(), shape.num_kv_heads, num_chunks);
  if (out.empty()) return;
  DigestScores(pool, shape, digests, own, scale).run(out);
}

}  // namespace reprefill::engine
