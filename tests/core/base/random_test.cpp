#include "core/base/random.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace reprefill {
namespace {

TEST(Mixing, IsSplitMix64) {
  // The first outputs of the published generator with seed 0 (Vigna, splitmix64.c); its state grows by the constant.
  EXPECT_EQ(mix64(0), 0xe220a8397b1dcdafull);
  EXPECT_EQ(mix64(0x9e3779b97f4a7c15ull), 0x6e789e6aa1b965f4ull);
}

TEST(Mixing, NamesAreHashedByFnv1a) {
  // Test vectors of the FNV authors.
  EXPECT_EQ(hash_name(""), 0xcbf29ce484222325ull);
  EXPECT_EQ(hash_name("a"), 0xaf63dc4c8601ec8cull);
  EXPECT_EQ(hash_name("foobar"), 0x85944171f73967e8ull);
}

std::vector<std::uint64_t> draws(std::uint64_t seed, std::uint64_t replica, const char* name) {
  RandomStream stream(seed, replica, name);
  std::vector<std::uint64_t> values;
  for (int i = 0; i < 5; ++i) values.push_back(stream.below(1u << 30));
  return values;
}

TEST(RandomStream, IsDecidedBySeedReplicaAndName) {
  EXPECT_EQ(draws(1, 2, "arrivals"), draws(1, 2, "arrivals"));
  std::set<std::vector<std::uint64_t>> different;
  for (const std::uint64_t seed : {0, 1, 2}) {
    for (const std::uint64_t replica : {0, 1, 2}) {
      for (const char* name : {"arrivals", "popularity", ""}) different.insert(draws(seed, replica, name));
    }
  }
  EXPECT_EQ(different.size(), 27u);  // seed 1 of replica 2 is not seed 2 of replica 1
}

TEST(RandomStream, GivesTheSameNumbersAsEver) {
  // Frozen: another library or platform that changes these changes every result with a seed.
  RandomStream stream(1, 0, "golden");
  EXPECT_EQ(stream.below(1'000'000), 298870u);
  EXPECT_EQ(stream.uniform(), 0.4567624422788352);
  EXPECT_DOUBLE_EQ(stream.exponential(2), 0.058000594655679305);
  EXPECT_DOUBLE_EQ(stream.normal(0, 1), 1.9028153232711065);
}

TEST(RandomStream, BelowReachesEveryValueAndNoOther) {
  RandomStream stream(3, 0, "below");
  std::vector<int> count(7);
  for (int i = 0; i < 70'000; ++i) ++count.at(stream.below(7));
  for (const int each : count) EXPECT_NEAR(each, 10'000, 5 * 93);  // deviation sqrt(n p (1 - p)) = 92.6
  for (int i = 0; i < 100; ++i) EXPECT_EQ(stream.below(1), 0u);
}

TEST(RandomStream, DistributionsHaveTheirMeansAndSpreads) {
  RandomStream stream(4, 0, "moments");
  constexpr int kDraws = 100'000;
  double uniform = 0, exponential = 0, normal = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = stream.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    uniform += u;
    exponential += stream.exponential(4);
    const double x = stream.normal(3, 2);
    normal += x;
    squares += (x - 3) * (x - 3);
  }
  const double root = std::sqrt(static_cast<double>(kDraws));
  EXPECT_NEAR(uniform / kDraws, 0.5, 5 * 0.2887 / root);
  EXPECT_NEAR(exponential / kDraws, 0.25, 5 * 0.25 / root);
  EXPECT_NEAR(normal / kDraws, 3, 5 * 2 / root);
  EXPECT_NEAR(squares / kDraws, 4, 5 * 4 * std::sqrt(2.0) / root);
}

}  // namespace
}  // namespace reprefill
