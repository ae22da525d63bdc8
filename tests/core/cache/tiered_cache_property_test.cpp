#include <gmock/gmock.h>

#include "core/base/random.hpp"
#include "tests/core/cache/cache_fixture.hpp"
#include "tests/core/cache/reference_cache.hpp"

namespace reprefill::cache {
namespace {

struct Shape {
  std::string policy;
  std::uint64_t seed;
  bool equal_sizes;
  friend void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.policy << " seed " << shape.seed; }
};

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const char* policy : {"lru", "lfu", "s3_fifo", "arc", "importance_frequency", "attention_guided"}) {
    for (std::uint64_t seed = 0; seed < 8; ++seed) all.push_back({policy, seed, seed % 4 == 3});
  }
  return all;
}

/// Drives a cache and the reference side by side, with a few pins outstanding at any time.
class SideBySide {
 public:
  explicit SideBySide(const Shape& shape)
      : random_(shape.seed, 0, shape.policy),
        equal_sizes_(shape.equal_sizes),
        capacities_{.gpu = Bytes{60 + random_.below(200)}, .host = Bytes{60 + random_.below(300)}},
        params_{.policy = shape.policy,
                .score_table_entries = 20 + random_.below(100),
                .share_weight = shape.seed % 2 == 0 ? 0 : 0.25},
        cache_(capacities_, make_policy(shape.policy, json_params())),
        reference_(capacities_, params_) {}

  void step() {
    const PieceKey key = piece(static_cast<std::uint32_t>(random_.below(random_.uniform() < 0.5 ? 20 : kNumPieces)));
    if (random_.uniform() < 0.6) select(key);
    if (random_.uniform() < 0.02) select_many();
    if (random_.uniform() < 0.1) return;
    const std::optional<Tier> tier = cache_.lookup(key);
    ASSERT_EQ(tier, reference_.lookup(key));
    if (tier) pinned_.push_back(key);
    moves_.clear();
    expected_.clear();
    if (tier == Tier::host && random_.uniform() < 0.8) {
      ASSERT_EQ(cache_.try_promote(key, moves_), reference_.try_promote(key, expected_));
    }
    if (!tier || random_.uniform() < 0.02) load(key);
    ASSERT_EQ(moves_, expected_);
    while (pinned_.size() > max_pinned_) release_one();
    if (random_.uniform() < 0.05) discard(piece(static_cast<std::uint32_t>(random_.below(kNumPieces))));
    if (random_.uniform() < 0.02) max_pinned_ = random_.below(90);
    if (++num_steps_ % 8 == 0) compare_contents();
  }

  const TieredCache& cache() const { return cache_; }

 private:
  static constexpr std::uint32_t kNumPieces = 120;

  Json json_params() const {
    Json params = Json::object();
    if (params_.policy != "lru") params["score_table_entries"] = params_.score_table_entries;
    if (params_.policy == "importance_frequency" && params_.share_weight > 0) {
      params["share_average"] = "exponential";
      params["share_weight"] = params_.share_weight;
    }
    return params;
  }
  Bytes size_of(PieceKey key) const { return Bytes{equal_sizes_ ? 10 : 1 + mix64(key.packed) % 37}; }

  void select(PieceKey key) {
    const double importance = static_cast<double>(random_.below(5)) * 0.25;  // few values: many ties
    cache_.note_selected(key, importance);
    reference_.note_selected(key, importance);
  }
  /// Scores go up and down with nobody leaving: what scored policies leave behind in their heaps must not matter.
  void select_many() {
    for (int i = 0; i < 150; ++i) select(piece(static_cast<std::uint32_t>(random_.below(10))));
  }
  void load(PieceKey key) {
    const std::optional<Tier> entered = cache_.admit_loaded(key, size_of(key), moves_);
    ASSERT_EQ(entered, reference_.admit_loaded(key, size_of(key), expected_));
    if (entered) pinned_.push_back(key);
  }
  void discard(PieceKey key) {
    if (cache_.is_pinned(key)) return;
    moves_.clear();
    expected_.clear();
    cache_.discard(key, moves_);
    reference_.discard(key, expected_);
    ASSERT_EQ(moves_, expected_);
  }
  void release_one() {
    const std::size_t which = random_.below(pinned_.size());
    cache_.unpin(pinned_[which]);
    reference_.unpin(pinned_[which]);
    pinned_.erase(pinned_.begin() + static_cast<std::ptrdiff_t>(which));
  }
  void compare_contents() {
    cache_.check_invariants();
    for (std::uint32_t number = 0; number < kNumPieces; ++number) {
      ASSERT_EQ(cache_.find(piece(number)), reference_.find(piece(number))) << number;
    }
    for (const Tier tier : {Tier::gpu, Tier::host}) {
      ASSERT_EQ(cache_.resident_bytes(tier).value, reference_.used(tier));
      ASSERT_LE(cache_.resident_bytes(tier), cache_.capacity(tier));
    }
    ASSERT_EQ(cache_.num_known_pieces(), reference_.num_known_pieces());
    ASSERT_EQ(cache_.statistics().states_dropped, reference_.states_dropped());
  }

  RandomStream random_;
  bool equal_sizes_;
  TierCapacities capacities_;
  ReferenceParams params_;
  TieredCache cache_;
  ReferenceCache reference_;
  std::vector<PieceKey> pinned_;
  std::size_t max_pinned_ = 10;
  int num_steps_ = 0;
  std::vector<Move> moves_, expected_;
};

/// What entered is there or left, over both tiers and for the GPU tier alone.
void expect_bytes_conserved(const TieredCache& cache) {
  const CacheStatistics& counts = cache.statistics();
  EXPECT_EQ(counts[Tier::gpu].entered_bytes + counts[Tier::host].entered_bytes,
            cache.resident_bytes(Tier::gpu) + cache.resident_bytes(Tier::host) + counts[Tier::gpu].dropped_bytes +
                counts[Tier::host].dropped_bytes);
  EXPECT_EQ(counts[Tier::gpu].entered_bytes + counts.promoted_bytes,
            cache.resident_bytes(Tier::gpu) + counts.demoted_bytes + counts[Tier::gpu].dropped_bytes);
}

class RandomOperations : public testing::TestWithParam<Shape> {};

TEST_P(RandomOperations, DecideAsTheReferenceDoesAndConserveBytes) {
  SideBySide both(GetParam());
  for (int i = 0; i < 4000; ++i) {
    both.step();
    if (HasFatalFailure()) FAIL() << "at step " << i;
  }
  const CacheStatistics& counts = both.cache().statistics();
  EXPECT_GT(counts.bypasses_pinned, 0u) << "the walk should visit every kind of decision";
  EXPECT_GT(counts.demotions, 0u);
  EXPECT_GT(counts.promotions, 0u);
  EXPECT_GT(counts[Tier::gpu].dropped + counts[Tier::host].dropped, 0u);
  expect_bytes_conserved(both.cache());
}

INSTANTIATE_TEST_SUITE_P(TieredCache, RandomOperations, testing::ValuesIn(shapes()),
                         [](const testing::TestParamInfo<Shape>& info) {
                           return fmt::format("{}_{}", info.param.policy, info.param.seed);
                         });

std::uint64_t lru_hits(std::uint64_t capacity_pieces, std::uint64_t seed) {
  RandomStream random(seed, 0, "inclusion");
  TestCache t(10 * capacity_pieces, 0, "lru");
  for (int i = 0; i < 3000; ++i) {
    const auto number = static_cast<std::uint32_t>(random.below(1 + random.below(100)));
    if (!t.hit(number)) t.load(number);
  }
  return t.cache.statistics()[Tier::gpu].hits;
}

TEST(OneTierLru, HitsGrowWithCapacity) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    std::uint64_t before = 0;
    for (std::uint64_t capacity = 0; capacity <= 100; capacity += 5) {
      const std::uint64_t hits = lru_hits(capacity, seed);
      EXPECT_GE(hits, before) << capacity;
      before = hits;
    }
    EXPECT_GT(before, 2000u);
  }
}

TEST(TieredCache, EqualRunsHaveEqualDecisionDigests) {
  std::uint64_t digests[2];
  for (std::uint64_t& digest : digests) {
    DecisionLog log;
    TestCache t(100, 200, "attention_guided");
    t.cache.set_decision_log(&log);
    RandomStream random(1, 0, "digest");
    for (int i = 0; i < 1000; ++i) {
      const auto number = static_cast<std::uint32_t>(random.below(60));
      t.cache.note_selected(piece(number), random.uniform());
      const std::optional<Tier> tier = t.hit(number);
      if (tier == Tier::host) t.promote(number);
      if (!tier) t.load(number);
    }
    digest = log.digest();
    EXPECT_GT(log.num_decisions(), 1000u);
  }
  EXPECT_EQ(digests[0], digests[1]);
}

}  // namespace
}  // namespace reprefill::cache
