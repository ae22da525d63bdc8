// What kernels go through for the views that systems issue.
#include "core/pipeline/attention_walk.hpp"

#include <gtest/gtest.h>

namespace reprefill::pipeline {
namespace {

const auto kSomething = std::make_shared<const Selection>(Selection{.groups = {{1, 4}}});

KvView view() { return {.prefix_tokens = 640, .kept_k_tokens = 32, .kept_v_tokens = 32, .unit_tokens = 16}; }

TEST(AttentionWalk, OfNothingStoredIsNothing) { EXPECT_EQ(attention_walk(KvView{}).num_tokens, 0u); }

TEST(AttentionWalk, WithoutASelectionIsTheWholePrefixWithoutAMask) {
  const AttentionWalk walk = attention_walk(view());
  EXPECT_EQ(walk.num_tokens, 640u);
  EXPECT_EQ(walk.mask, AttentionMask::none);
}

TEST(AttentionWalk, OfOneSelectionForAllHeadsIsWhatItKeeps) {
  KvView kept = view();
  kept.kept = kSomething;
  EXPECT_EQ(attention_walk(kept).num_tokens, 32u);
  EXPECT_EQ(attention_walk(kept).mask, AttentionMask::none);
}

TEST(AttentionWalk, OfHeadsThatChooseForThemselvesIsTheWholePrefixUnderMasksOfValues) {
  KvView kept = view();
  kept.kept = kSomething;
  kept.kept_k_tokens = 640;
  kept.grouping = traces::HeadGrouping::per_kv_head;
  for (const bool full_length : {false, true}) {
    kept.full_length = full_length;
    EXPECT_EQ(attention_walk(kept).num_tokens, 640u);
    EXPECT_EQ(attention_walk(kept).mask, AttentionMask::values);
  }
}

TEST(AttentionWalk, AtFullLengthIsTheWholePrefixUnderAMaskOfKeys) {
  KvView kept = view();
  kept.kept = kSomething;
  kept.full_length = true;
  EXPECT_EQ(attention_walk(kept).num_tokens, 640u);
  EXPECT_EQ(attention_walk(kept).mask, AttentionMask::keys);
}

}  // namespace
}  // namespace reprefill::pipeline
