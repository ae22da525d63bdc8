#include <gmock/gmock.h>

#include <list>

#include "core/base/random.hpp"
#include "tests/core/cache/cache_fixture.hpp"

namespace reprefill::cache {
namespace {

using testing::ElementsAre;

TEST(Arc, WhatWasUsedOnceLeavesBeforeWhatWasUsedTwice) {
  TestCache t(30, 0, "arc");
  t.miss_and_load(1);
  t.hit(1);  // frequent
  t.miss_and_load(2);
  t.miss_and_load(3);
  t.miss_and_load(4);
  EXPECT_THAT(t.moves, ElementsAre(moved(2, 10, Decision::dropped_gpu), moved(4, 10, Decision::entered_gpu)));
  t.miss_and_load(5);
  t.miss_and_load(6);
  EXPECT_EQ(t.where(1), Tier::gpu);
}

TEST(Arc, AReturningRecentGhostLengthensTheRecentList) {
  TestCache t(30, 0, "arc");
  t.miss_and_load(1);
  t.hit(1);
  t.miss_and_load(2);
  t.miss_and_load(3);
  t.miss_and_load(4);  // 2 becomes a ghost; target 0
  t.miss_and_load(2);  // target 1: recent are 3, 4: the older leaves; 2 is frequent now
  EXPECT_THAT(t.moves, ElementsAre(moved(3, 10, Decision::dropped_gpu), moved(2, 10, Decision::entered_gpu)));
  t.miss_and_load(5);  // recent: 4, as long as its target, so the oldest frequent leaves
  EXPECT_THAT(t.moves, ElementsAre(moved(1, 10, Decision::dropped_gpu), moved(5, 10, Decision::entered_gpu)));
}

/// The paper's figure 4, written from its text: c pages of one size, lists with the most recent page in front.
class PaperArc {
 public:
  explicit PaperArc(std::size_t c) : c_(c) {}

  bool request(std::uint32_t x) {
    if (take(t1_, x) || take(t2_, x)) {
      t2_.push_front(x);
      return true;
    }
    const bool in_b1 = contains(b1_, x), in_b2 = contains(b2_, x);
    if (in_b1 || in_b2) {
      const std::size_t delta =
          in_b1 ? std::max<std::size_t>(1, b2_.size() / b1_.size()) : std::max<std::size_t>(1, b1_.size() / b2_.size());
      p_ = in_b1 ? std::min(c_, p_ + delta) : p_ - std::min(p_, delta);
      replace(in_b2);
      take(b1_, x);
      take(b2_, x);
      t2_.push_front(x);
      return false;
    }
    if (t1_.size() + b1_.size() == c_) {
      if (t1_.size() < c_) {
        b1_.pop_back();
        replace(false);
      } else {
        t1_.pop_back();
      }
    } else if (t1_.size() + t2_.size() + b1_.size() + b2_.size() >= c_) {
      if (t1_.size() + t2_.size() + b1_.size() + b2_.size() == 2 * c_) b2_.pop_back();
      replace(false);
    }
    t1_.push_front(x);
    return false;
  }

 private:
  using Pages = std::list<std::uint32_t>;
  static bool contains(const Pages& pages, std::uint32_t x) {
    return std::find(pages.begin(), pages.end(), x) != pages.end();
  }
  static bool take(Pages& pages, std::uint32_t x) {
    const bool found = contains(pages, x);
    pages.remove(x);
    return found;
  }
  void replace(bool in_b2) {
    if (t1_.size() + t2_.size() < c_) return;
    Pages& from = !t1_.empty() && ((in_b2 && t1_.size() == p_) || t1_.size() > p_) ? t1_ : t2_;
    (&from == &t1_ ? b1_ : b2_).push_front(from.back());
    from.pop_back();
  }

  std::size_t c_;
  std::size_t p_ = 0;
  Pages t1_, t2_, b1_, b2_;
};

TEST(Arc, OneFullTierOfEqualPiecesIsThePapersCache) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    RandomStream random(seed, 0, "arc");
    const std::size_t c = 1 + random.below(20);
    TestCache t(10 * c, 0, "arc");
    PaperArc paper(c);
    for (int i = 0; i < 2000; ++i) {
      const auto range = 1 + random.below(random.uniform() < 0.7 ? 15 : 60);
      const auto number = static_cast<std::uint32_t>(random.below(range));
      const bool hit = t.hit(number).has_value();
      ASSERT_EQ(hit, paper.request(number)) << "c = " << c << ", seed " << seed << ", request " << i;
      if (!hit) t.load(number);
    }
  }
}

}  // namespace
}  // namespace reprefill::cache
