#include "study/append/append_error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/session/session_fixture.hpp"

namespace reprefill::study {
namespace {

using engine::Prompt;
using engine::test_support::SmallModel;
using test_support::TemporaryFolder;
using test_support::Variant;

/// Turn t has 300 + 200 t tokens: 256, 448, 640, 896 and 1088 of them in whole blocks of 64.
std::vector<Prompt> five_turns() {
  std::vector<Prompt> turns;
  std::vector<std::int32_t> ids;
  for (std::uint64_t t = 0; t < 5; ++t) {
    while (ids.size() < 300 + 200 * t) ids.push_back(static_cast<std::int32_t>(combine64(7, ids.size()) % 256));
    turns.push_back({.name = std::to_string(t + 1), .ids = ids});
  }
  return turns;
}

AppendErrorOptions options_for(const SmallModel& small, const Variant& variant, const TemporaryFolder& folder) {
  const ModelGeometry& geometry = small.model.checkpoint->geometry();
  AppendErrorOptions options;
  options.session = engine::test_support::session_options(variant, pipeline::PathKind::direct);
  engine::StoreGeometry stored = engine::StoreGeometry::of(geometry);
  stored.kv_type = small.model.executor->kv_type();
  options.manifest.model = {.name = "small", .fingerprint = small.model.checkpoint->fingerprint(), .geometry = stored};
  options.manifest.layouts = {
      *engine::layout_of_system(variant.system, engine::test_support::resolve(variant, pipeline::PathKind::direct),
                                pipeline::PathKind::direct, geometry)};
  options.folder = folder.path();
  return options;
}

TEST(AppendError, IsExactlyZeroWhereNothingIsPruned) {
  SmallModel small;
  for (const Variant& variant :
       {Variant{"as", "attention_store", Json::object()}, Variant{"ckv", "contiguous_kv", Json{{"budget", 1}}}}) {
    const TemporaryFolder folder;
    for (const TurnError& turn : measure_append_error(small.model, five_turns(), options_for(small, variant, folder))) {
      EXPECT_EQ(turn.keys.worst, 0) << variant.name << " " << turn.name;
      EXPECT_EQ(turn.values.worst, 0) << variant.name << " " << turn.name;
      EXPECT_EQ(turn.logits_as_computed, turn.logits_recompute_exact) << variant.name << " " << turn.name;
      EXPECT_LT(turn.logits_as_computed, 1e-5) << variant.name << " " << turn.name;
    }
  }
}

TEST(AppendError, OfAPruningSystemBeginsWithTheFirstTurnThatReusesAndFeedsOnItself) {
  SmallModel small;
  const TemporaryFolder folder;
  const Variant variant{"ckv", "contiguous_kv", Json{{"budget", 0.25}}};
  const std::vector<TurnError> turns =
      measure_append_error(small.model, five_turns(), options_for(small, variant, folder));
  ASSERT_EQ(turns.size(), 5u);
  const std::uint32_t stored[] = {0, 256, 448, 640, 896};
  const std::uint32_t appended[] = {256, 192, 192, 256, 192};
  for (std::size_t t = 0; t < 5; ++t) {
    EXPECT_EQ(turns[t].stored_tokens, stored[t]);
    EXPECT_EQ(turns[t].appended_tokens, appended[t]);
    EXPECT_EQ(turns[t].approximate_tokens, t < 2 ? 0 : stored[t] - 256) << "all but what the first turn stored";
  }
  EXPECT_EQ(turns[0].keys.worst, 0) << "the first turn has no prefix";
  EXPECT_EQ(turns[0].values.worst, 0);
  for (std::size_t t = 1; t < 5; ++t) {
    EXPECT_GT(turns[t].keys.mean, 0);
    EXPECT_GT(turns[t].values.mean, 0);
    EXPECT_GE(turns[t].keys.worst, turns[t].keys.mean);
    EXPECT_TRUE(std::isfinite(turns[t].keys.worst));
    EXPECT_GT(turns[t].logits_recompute_exact, 0) << "pruning alone has its price";
  }
  EXPECT_EQ(turns[1].logits_as_computed, turns[1].logits_recompute_exact) << "both histories are exact so far";
  for (std::size_t t = 2; t < 5; ++t) EXPECT_NE(turns[t].logits_as_computed, turns[t].logits_recompute_exact);
}

TEST(AppendError, TheSameMeasurementGivesTheSameNumbers) {
  SmallModel small;
  const Variant variant{"impress", "impress", Json{{"budget", 0.25}}};
  const auto measured = [&] {
    const TemporaryFolder folder;
    std::size_t told = 0;
    const auto turns = measure_append_error(small.model, five_turns(), options_for(small, variant, folder),
                                            [&](const TurnError&) { ++told; });
    EXPECT_EQ(told, 5u);
    return to_json(turns).dump();
  };
  EXPECT_EQ(measured(), measured());
}

TEST(AppendError, RefusesTurnsThatAreNoConversation) {
  SmallModel small;
  const TemporaryFolder folder;
  const Variant variant{"as", "attention_store", Json::object()};
  std::vector<Prompt> turns = five_turns();
  turns[1].ids[3] ^= 1;
  EXPECT_THROW(measure_append_error(small.model, turns, options_for(small, variant, folder)), ConfigError);
  const TemporaryFolder other;
  turns = five_turns();
  std::swap(turns[0], turns[1]);
  EXPECT_THROW(measure_append_error(small.model, turns, options_for(small, variant, other)), ConfigError);
}

}  // namespace
}  // namespace reprefill::study
