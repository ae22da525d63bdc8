#include "engine/executor/cpu/digest_score.hpp"

#include <gtest/gtest.h>

#include "tests/engine/digest/digest_fixture.hpp"

namespace reprefill::engine::test {
namespace {

constexpr std::uint32_t kOwn = 5;
constexpr int kGroup = 2;  // query heads of a KV head

/// A prefix of two segments, and own tokens.
struct Case {
  Case(const DigestShape& shape, std::uint64_t seed)
      : first(shape, 3 * shape.chunk_tokens, seed),
        second(shape, shape.chunk_tokens, seed + 1),
        own(shape, kOwn, seed + 2) {
    RandomStream random(seed, 0, "queries");
    const auto size = kOwn * static_cast<std::size_t>(kGroup * shape.num_kv_heads * shape.head_dim);
    for (std::size_t i = 0; i < size; ++i) queries.push_back(static_cast<float>(random.normal(0, 1)));
  }
  std::uint32_t num_tokens() const { return static_cast<std::uint32_t>(first.count + second.count); }
  float key(std::size_t token, int head, int d) const {
    return token < first.count ? first.at(token, head, d) : second.at(token - first.count, head, d);
  }

  std::vector<double> scores(int num_threads) const {
    const std::vector<std::byte> a = digest_of(first), b = digest_of(second);
    const std::vector<KeyPage> pages = {{.keys = a.data(), .num_tokens = static_cast<std::uint32_t>(first.count)},
                                        {.keys = b.data(), .num_tokens = static_cast<std::uint32_t>(second.count)}};
    WorkerPool pool(num_threads);
    std::vector<double> out(static_cast<std::size_t>(first.shape.num_kv_heads) * 4, -1);
    score_digests(
        pool, first.shape, {.pages = pages, .num_tokens = num_tokens(), .num_heads = first.shape.num_kv_heads},
        {.queries = queries.data(), .keys = own.values, .count = kOwn, .num_query_heads = query_heads()}, scale(), out);
    return out;
  }

  /// In double precision, from the keys: what the definition says, not how the digest is stored.
  std::vector<double> reference() const {
    const DigestShape& shape = first.shape;
    std::vector<double> out(static_cast<std::size_t>(shape.num_kv_heads) * 4, 0);
    for (int head = 0; head < query_heads(); ++head) {
      for (std::size_t token = 0; token < kOwn; ++token) {
        std::vector<double> terms;
        double all = 0;
        for (std::size_t t = 0; t < num_tokens(); ++t) {
          terms.push_back(std::exp(logit(token, head, t)));
          all += terms.back();
        }
        for (std::size_t t = 0; t <= token; ++t) {
          double product = 0;
          for (int d = 0; d < shape.head_dim; ++d) {
            product += query(token, head, d) * static_cast<double>(own.at(t, head / kGroup, d));
          }
          all += std::exp(product * static_cast<double>(scale()));
        }
        for (std::size_t t = 0; t < num_tokens(); ++t) {
          out[static_cast<std::size_t>(head / kGroup) * 4 + t / shape.chunk_tokens] += terms[t] / all;
        }
      }
    }
    return out;
  }

  double query(std::size_t token, int head, int d) const {
    return static_cast<double>(
        queries[(token * static_cast<std::size_t>(query_heads()) + static_cast<std::size_t>(head)) *
                    static_cast<std::size_t>(first.shape.head_dim) +
                static_cast<std::size_t>(d)]);
  }
  double logit(std::size_t own_token, int head, std::size_t token) const {
    const std::uint32_t chunk = first.shape.chunk_tokens;
    double product = 0;
    for (int d = 0; d < first.shape.head_dim; ++d) {
      double low = 1e30, high = -1e30, sum = 0;
      for (std::size_t t = token / chunk * chunk; t < (token / chunk + 1) * chunk; ++t) {
        const auto value = static_cast<double>(key(t, head / kGroup, d));
        low = std::min(low, value);
        high = std::max(high, value);
        sum += value;
      }
      const double q = query(own_token, head, d);
      if (first.shape.digest == KeyDigest::mean) product += q * sum / chunk;
      if (first.shape.digest == KeyDigest::minmax) product += q * (q > 0 ? high : low);
      if (first.shape.digest == KeyDigest::int4) product += q * static_cast<double>(key(token, head / kGroup, d));
    }
    return product * static_cast<double>(scale());
  }
  int query_heads() const { return kGroup * first.shape.num_kv_heads; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(first.shape.head_dim)); }

  Keys first, second, own;
  std::vector<float> queries;
};

/// `per_row` bounds the error of a logit; the mass of a chunk is a mean of probabilities.
void expect_near(const Case& tested, double per_row) {
  const std::vector<double> found = tested.scores(2), expected = tested.reference();
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], expected[i] * (std::exp(2 * per_row) - 1) + 1e-6) << i;
  }
}

TEST(DigestScore, MeanAndExtremesGiveTheMassOfTheirDefinition) {
  for (const KeyDigest digest : {KeyDigest::mean, KeyDigest::minmax}) {
    for (const DigestShape& shape : shapes(digest)) {
      SCOPED_TRACE(fmt::format("{} {} {}", enum_name(digest), shape.head_dim, shape.chunk_tokens));
      // Elements near 6 rounded to bf16 err by 2^-7; queries of norm sqrt(dim), scaled, leave that to a few times it.
      expect_near(Case(shape, 7), shape.type == KvType::bf16 && digest == KeyDigest::mean ? 0.1 : 1e-4);
    }
  }
}

/// The same keys as 4 bits leave them; how far that is from the keys, key_digests_test says.
Keys after_four_bits(Keys keys) {
  const std::vector<std::byte> digest = digest_of(keys);
  const auto dim = static_cast<std::size_t>(keys.shape.head_dim),
             heads = static_cast<std::size_t>(keys.shape.num_kv_heads);
  std::vector<float> rows(dim * keys.count);
  for (std::size_t head = 0; head < heads; ++head) {
    widen_digest(keys.shape, digest.data(), keys.count, static_cast<int>(head), rows.data(), keys.count);
    for (std::size_t token = 0; token < keys.count; ++token) {
      for (std::size_t d = 0; d < dim; ++d) {
        keys.values[(token * heads + head) * dim + d] = rows[d * keys.count + token];
      }
    }
  }
  return keys;
}

TEST(DigestScore, FourBitsGiveTheMassOfTheKeysThatTheyStandFor) {
  for (const DigestShape& shape : shapes(KeyDigest::int4)) {
    const Case tested(shape, 8);
    Case expected = tested;
    expected.first = after_four_bits(tested.first);
    expected.second = after_four_bits(tested.second);
    const std::vector<double> found = tested.scores(2), reference = expected.reference();
    for (std::size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], reference[i], 1e-4 * reference[i] + 1e-6) << i;
  }
}

TEST(DigestScore, ChunksOfOneTokenMakeMeanAndExtremesExact) {
  for (const KeyDigest digest : {KeyDigest::mean, KeyDigest::minmax}) {
    const Case tested({.digest = digest, .type = KvType::bf16, .num_kv_heads = 3, .head_dim = 16, .chunk_tokens = 1},
                      9);
    expect_near(tested, 1e-4);
  }
}

TEST(DigestScore, NoBitDependsOnThreads) {
  for (const KeyDigest digest : {KeyDigest::mean, KeyDigest::minmax, KeyDigest::int4}) {
    const Case tested({.digest = digest, .num_kv_heads = 3, .head_dim = 16, .chunk_tokens = 8}, 10);
    EXPECT_EQ(tested.scores(1), tested.scores(3));
  }
}

TEST(DigestScore, AllMassOfTheLastQueryIsNeverMoreThanOneAHeadAndToken) {
  const Case tested({.digest = KeyDigest::minmax, .num_kv_heads = 3, .head_dim = 16, .chunk_tokens = 8}, 11);
  const std::vector<double> found = tested.scores(1);
  for (int head = 0; head < 3; ++head) {
    double sum = 0;
    for (std::size_t i = 0; i < 4; ++i) sum += found[static_cast<std::size_t>(head) * 4 + i];
    EXPECT_LT(sum, kGroup * static_cast<double>(kOwn));
    EXPECT_GT(sum, 0);
  }
}

TEST(DigestScore, PagesOfPartialChunksAreRefused) {
  const DigestShape shape{.digest = KeyDigest::mean, .num_kv_heads = 1, .head_dim = 8, .chunk_tokens = 8};
  const Keys keys(shape, 12, 1);
  const std::vector<std::byte> digest = digest_of(keys);
  const std::vector<KeyPage> pages = {{.keys = digest.data(), .num_tokens = 12}};
  const std::vector<float> queries(8, 1.0f);
  WorkerPool pool(1);
  std::vector<double> out(1);
  EXPECT_THROW(score_digests(pool, shape, {.pages = pages, .num_tokens = 12, .num_heads = 1},
                             {.queries = queries.data(), .keys = std::vector<float>(8, 1.0f), .count = 1}, 1, out),
               InvariantError);
}

}  // namespace
}  // namespace reprefill::engine::test
