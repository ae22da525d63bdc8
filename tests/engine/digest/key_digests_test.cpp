#include "engine/digest/key_digests.hpp"

#include <gtest/gtest.h>

#include "tests/engine/digest/digest_fixture.hpp"

namespace reprefill::engine::test {
namespace {

std::vector<std::byte> bf16(std::initializer_list<float> values) {
  std::vector<std::byte> out;
  for (const float value : values) {
    const std::uint16_t bits = BFloat16::round(value).bits;
    out.push_back(static_cast<std::byte>(bits & 0xff));
    out.push_back(static_cast<std::byte>(bits >> 8));
  }
  return out;
}

TEST(KeyDigests, ByHandMeanAndExtremesOfTwoTokensAreWhereTheFormatSays) {
  DigestShape shape{.digest = KeyDigest::mean, .num_kv_heads = 2, .head_dim = 1, .chunk_tokens = 2};
  const std::vector<std::byte> keys = bf16({1, -4, 3, 2});  // token 0: heads 1 and -4, token 1: heads 3 and 2
  std::vector<std::byte> out(digest_bytes(shape, 2));
  make_digest(shape, keys, out);
  EXPECT_EQ(out, bf16({2, -1}));
  shape.digest = KeyDigest::minmax;
  out.resize(digest_bytes(shape, 2));
  make_digest(shape, keys, out);
  EXPECT_EQ(out, bf16({1, 3, -4, 2}));
}

TEST(KeyDigests, ByHandFourBitsAreAScaleAndTwoElementsAByte) {
  const DigestShape shape{.digest = KeyDigest::int4, .num_kv_heads = 1, .head_dim = 3};
  std::vector<std::byte> out(digest_bytes(shape, 1));
  ASSERT_EQ(out.size(), 2u + 2u);
  make_digest(shape, bf16({7, -3, 0}), out);
  std::vector<std::byte> expected = bf16({1});
  expected.push_back(std::byte{0x5f});  // 7 + 8, then -3 + 8 above it
  expected.push_back(std::byte{0x08});
  EXPECT_EQ(out, expected);
}

TEST(KeyDigests, TheLastChunkOfASegmentMayBePartial) {
  const DigestShape shape{.digest = KeyDigest::mean, .num_kv_heads = 1, .head_dim = 1, .chunk_tokens = 4};
  std::vector<std::byte> out(digest_bytes(shape, 5));
  make_digest(shape, bf16({1, 1, 1, 1, 9}), out);
  EXPECT_EQ(out, bf16({1, 9}));
}

TEST(KeyDigests, NoTokensHaveAnEmptyDigest) {
  for (const KeyDigest digest : {KeyDigest::mean, KeyDigest::minmax, KeyDigest::int4}) {
    const DigestShape shape{.digest = digest, .num_kv_heads = 2, .head_dim = 8, .chunk_tokens = 4};
    EXPECT_EQ(digest_bytes(shape, 0), 0u);
    std::vector<std::byte> none;
    make_digest(shape, {}, none);
  }
}

TEST(KeyDigests, MeanIsTheMeanRoundedOnce) {
  for (const DigestShape& shape : shapes(KeyDigest::mean)) {
    const Keys keys(shape, 48, 1);
    const std::vector<std::byte> digest = digest_of(keys);
    const std::size_t chunks = 48 / shape.chunk_tokens;
    std::vector<float> rows(static_cast<std::size_t>(shape.head_dim) * chunks);
    for (int head = 0; head < shape.num_kv_heads; ++head) {
      widen_digest(shape, digest.data(), 48, head, rows.data(), chunks);
      for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
        for (int d = 0; d < shape.head_dim; ++d) {
          double sum = 0;
          for (std::size_t t = 0; t < shape.chunk_tokens; ++t) {
            sum += static_cast<double>(keys.at(chunk * shape.chunk_tokens + t, head, d));
          }
          auto expected = static_cast<float>(sum / shape.chunk_tokens);
          if (shape.type == KvType::bf16) expected = BFloat16::round(expected).widen();
          ASSERT_EQ(rows[static_cast<std::size_t>(d) * chunks + chunk], expected);
        }
      }
    }
  }
}

TEST(KeyDigests, NoProductOfAQueryExceedsWhatTheExtremesAllow) {
  for (const DigestShape& shape : shapes(KeyDigest::minmax)) {
    const Keys keys(shape, 48, 2);
    const std::vector<std::byte> digest = digest_of(keys);
    const auto dim = static_cast<std::size_t>(shape.head_dim);
    const std::size_t chunks = 48 / shape.chunk_tokens;
    std::vector<float> rows(2 * dim * chunks);
    RandomStream random(3, 0, "queries");
    for (int head = 0; head < shape.num_kv_heads; ++head) {
      widen_digest(shape, digest.data(), 48, head, rows.data(), chunks);
      for (int trial = 0; trial < 5; ++trial) {
        std::vector<double> query(dim);
        for (double& value : query) value = random.normal(0, 1);
        for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
          double bound = 0, largest = -1e30;
          for (std::size_t d = 0; d < dim; ++d) {
            bound += query[d] * static_cast<double>(rows[(query[d] > 0 ? dim + d : d) * chunks + chunk]);
          }
          for (std::size_t t = 0; t < shape.chunk_tokens; ++t) {
            double product = 0;
            for (std::size_t d = 0; d < dim; ++d) {
              product +=
                  query[d] * static_cast<double>(keys.at(chunk * shape.chunk_tokens + t, head, static_cast<int>(d)));
            }
            largest = std::max(largest, product);
          }
          ASSERT_GE(bound, largest - 1e-9);
          if (shape.chunk_tokens == 1) {
            ASSERT_NEAR(bound, largest, 1e-9);
          }
        }
      }
    }
  }
}

TEST(KeyDigests, FourBitsAreHalfAScaleFromTheKeyAtMostAndTheScaleASeventhOfTheLargest) {
  for (const DigestShape& shape : shapes(KeyDigest::int4)) {
    const Keys keys(shape, 32, 4);
    const std::vector<std::byte> digest = digest_of(keys);
    std::vector<float> rows(static_cast<std::size_t>(shape.head_dim) * 32);
    for (int head = 0; head < shape.num_kv_heads; ++head) {
      widen_digest(shape, digest.data(), 32, head, rows.data(), 32);
      for (std::size_t token = 0; token < 32; ++token) {
        for (int first = 0; first < shape.head_dim; first += static_cast<int>(kInt4GroupElements)) {
          const int end = std::min(shape.head_dim, first + static_cast<int>(kInt4GroupElements));
          float largest = 0;
          for (int d = first; d < end; ++d) largest = std::max(largest, std::abs(keys.at(token, head, d)));
          const double bound = static_cast<double>(largest) / 14 * (1 + 1.0 / 128);
          for (int d = first; d < end; ++d) {
            const float found = rows[static_cast<std::size_t>(d) * 32 + token];
            ASSERT_LE(std::abs(static_cast<double>(found) - static_cast<double>(keys.at(token, head, d))), bound);
          }
        }
      }
    }
  }
}

TEST(KeyDigests, KeysOfZerosStayZeros) {
  const DigestShape shape{.digest = KeyDigest::int4, .num_kv_heads = 1, .head_dim = 4};
  std::vector<std::byte> digest(digest_bytes(shape, 1));
  make_digest(shape, bf16({0, 0, 0, 0}), digest);
  std::vector<float> rows(4, 1.0f);
  widen_digest(shape, digest.data(), 1, 0, rows.data(), 1);
  EXPECT_EQ(rows, std::vector<float>(4, 0.0f));
}

TEST(KeyDigests, BytesAreThoseThatTheSimulatorCounts) {
  ModelGeometry qwen_7b;
  qwen_7b.num_kv_heads = 4;
  qwen_7b.head_dim = 128;
  qwen_7b.kv_element_bytes = 2;
  // 5,952 tokens, 372 chunks of 16: keys are 1,024 bytes a token.
  EXPECT_EQ(key_digest_bytes(qwen_7b, KeyDigest::none, 0, 5952), Bytes{6'094'848});
  EXPECT_EQ(key_digest_bytes(qwen_7b, KeyDigest::mean, 16, 5952), Bytes{380'928});
  EXPECT_EQ(key_digest_bytes(qwen_7b, KeyDigest::minmax, 16, 5952), Bytes{761'856});
  EXPECT_EQ(key_digest_bytes(qwen_7b, KeyDigest::int4, 0, 5952), Bytes{5952 * 4 * (64 + 8)});
  for (const KeyDigest digest : {KeyDigest::mean, KeyDigest::minmax, KeyDigest::int4}) {
    const DigestShape shape{.digest = digest, .num_kv_heads = 4, .head_dim = 128, .chunk_tokens = 16};
    EXPECT_EQ(Bytes{digest_bytes(shape, 5952)}, key_digest_bytes(qwen_7b, digest, 16, 5952));
  }
}

}  // namespace
}  // namespace reprefill::engine::test
