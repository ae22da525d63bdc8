#include "core/pipeline/system.hpp"
#include "engine/store/system_layouts.hpp"
#include "tests/engine/store/store_fixture.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> names(const std::vector<StoredLayout>& layouts) {
  std::vector<std::string> result;
  for (const StoredLayout& layout : layouts) result.push_back(layout_name(layout));
  return result;
}

TEST(LayoutNames, SayOrderPlacementBlockAndAuxiliarySlabs) {
  using layout::KvOrder;
  using layout::KvPlacement;
  EXPECT_EQ(layout_name(make_stored_layout({KvOrder::layer_major, KvPlacement::adjacent, 16, 8}, {8, {}})),
            "layer-adjacent-16+ident8");
  EXPECT_EQ(layout_name(make_stored_layout({KvOrder::layer_major, KvPlacement::apart, 64, 8}, {0, {0, 1, 2}})),
            "layer-apart-64+probe0-2");
  EXPECT_EQ(layout_name(make_stored_layout({KvOrder::period_major, KvPlacement::apart, 64, 4}, {2, {0, 7, 14, 15}})),
            "period4-apart-64+ident2+probe0.7.14-15");
  EXPECT_EQ(layout_name(make_stored_layout({KvOrder::chunk_major, KvPlacement::adjacent, 1, 8}, {})),
            "chunk-adjacent-1");
  const layout::KvLayout kv{KvOrder::layer_major, KvPlacement::adjacent, 16, 8};
  EXPECT_EQ(layout_name(make_stored_layout(kv, {8, {}, KeyDigest::mean, 16})), "layer-adjacent-16+ident8mean16");
  EXPECT_EQ(layout_name(make_stored_layout(kv, {8, {0}, KeyDigest::minmax, 32})),
            "layer-adjacent-16+ident8minmax32+probe0");
  EXPECT_EQ(layout_name(make_stored_layout(kv, {8, {}, KeyDigest::int4})), "layer-adjacent-16+ident8int4");
  EXPECT_EQ(layout_name(make_stored_layout(kv, {0, {}, KeyDigest::int4})), "layer-adjacent-16") << "no slab, no digest";
}

TEST(LayoutNames, TheSameFileHasOneName) {
  const layout::KvLayout kv{.block_tokens = 64, .period_layers = 3};  // layer-major: the period moves nothing
  EXPECT_EQ(make_stored_layout(kv, {0, {2, 0, 2, 1}}), make_stored_layout({.block_tokens = 64}, {0, {0, 1, 2}}));
}

TEST(LayoutNames, EveryNameReadsBackAsItsLayout) {
  RandomStream random(1, 0, "layout names");
  for (int i = 0; i < 2000; ++i) {
    layout::AuxiliarySlabs auxiliary{.identification_period = static_cast<int>(random.below(3) * random.below(20))};
    for (std::uint64_t head = random.below(6); head > 0; --head) {
      auxiliary.probe_heads.push_back(static_cast<int>(random.below(12)));
    }
    auxiliary.digest = static_cast<KeyDigest>(random.below(4));
    if (is_per_chunk(auxiliary.digest)) auxiliary.digest_tokens = static_cast<std::uint32_t>(1 + random.below(64));
    const StoredLayout layout = make_stored_layout(
        {static_cast<layout::KvOrder>(random.below(3)), static_cast<layout::KvPlacement>(random.below(2)),
         static_cast<std::uint32_t>(1 + random.below(300)), static_cast<int>(1 + random.below(20))},
        auxiliary);
    EXPECT_EQ(layout_named(layout_name(layout)), layout) << layout_name(layout);
  }
}

TEST(LayoutNames, OtherSpellingsAreRefusedWithTheGrammar) {
  for (const char* name : {"",
                           "layer",
                           "layer-apart",
                           "layer-apart-",
                           "layer-apart-0",
                           "layer-apart-064",
                           "layer-apart-64+ident0",
                           "layer-apart-64+probe",
                           "layer-apart-64+probe2.0",
                           "layer-apart-64+probe0.1",
                           "layer-apart-64+probe0-0",
                           "layer-apart-64+probe3-1",
                           "period0-apart-64",
                           "period-apart-64",
                           "layer-apart-64 ",
                           "layer-apart-64+ident8mean",
                           "layer-apart-64+ident8mean0",
                           "layer-apart-64+ident8int416",
                           "layer-apart-64+ident8max16",
                           "layer-apart-64+ident8minmax9999",
                           "layer-apart-64+identmean16",
                           "layer-apart-64+probe0+ident8",
                           "layer-apart-99999999999",
                           "../layer-apart-64"}) {
    EXPECT_THAT(message_of<ConfigError>([&] { layout_named(name); }), HasSubstr("layer-adjacent-16+ident8")) << name;
  }
}

TEST(LayoutCover, AFileServesWhoeverFindsItsSlabsWhereItLooks) {
  const auto serves = [](const char* stored, const char* needed) {
    return covers(layout_named(stored), layout_named(needed));
  };
  EXPECT_TRUE(serves("layer-apart-64+probe0-2", "layer-apart-64"));
  EXPECT_TRUE(serves("layer-apart-64+ident8+probe0-2", "layer-apart-64+ident8"));
  EXPECT_FALSE(serves("layer-apart-64", "layer-apart-64+probe0-2"));
  EXPECT_FALSE(serves("layer-apart-64+ident8+probe0-2", "layer-apart-64+probe0-2")) << "identification keys move it";
  EXPECT_FALSE(serves("layer-apart-64+ident4", "layer-apart-64+ident8"));
  EXPECT_FALSE(serves("layer-apart-64+ident8mean16", "layer-apart-64+ident8"));
  EXPECT_FALSE(serves("layer-apart-64+ident8mean16", "layer-apart-64+ident8mean32"));
  EXPECT_FALSE(serves("layer-apart-64+ident8int4+probe0", "layer-apart-64+ident8+probe0"));
  EXPECT_TRUE(serves("layer-apart-64+ident8int4+probe0", "layer-apart-64+ident8int4"));
  EXPECT_FALSE(serves("layer-apart-64+probe0-3", "layer-apart-64+probe0-2"));
  EXPECT_FALSE(serves("layer-apart-32", "layer-apart-64"));
}

/// Against StoreLayout itself: where one file covers another, all extents of the second are the first's.
TEST(LayoutCover, AgreesWithTheExtentsOfStoreLayout) {
  const char* const all[] = {"layer-apart-8",          "layer-apart-8+ident2", "layer-apart-8+ident1",
                             "layer-apart-8+probe0",   "layer-apart-8+probe3", "layer-apart-8+ident2+probe0",
                             "layer-apart-8+probe0-3", "layer-adjacent-8",     "period2-apart-8+ident2"};
  const ModelGeometry model = small_model();
  for (const char* stored : all) {
    for (const char* needed : all) {
      if (!covers(layout_named(stored), layout_named(needed))) continue;
      const layout::StoreLayout has = layout_named(stored).store_layout(model);
      const layout::StoreLayout wants = layout_named(needed).store_layout(model);
      for (int layer = 0; layer < model.num_layers; ++layer) {
        std::vector<PieceKey> pieces = {PieceKey::make(SegmentId{0}, layer, PieceKind::value, 1)};
        if (wants.has_identification_keys(layer)) {
          pieces.push_back(PieceKey::make(SegmentId{0}, layer, PieceKind::identification_keys, 24));
        }
        if (!wants.auxiliary().probe_heads.empty()) {
          pieces.push_back(PieceKey::make(SegmentId{0}, layer, PieceKind::probe_keys, 24));
        }
        for (const PieceKey piece : pieces) {
          EXPECT_EQ(has.extent(piece, 24).offset, wants.extent(piece, 24).offset) << stored << " for " << needed;
          EXPECT_EQ(has.extent(piece, 24).bytes, wants.extent(piece, 24).bytes) << stored << " for " << needed;
        }
      }
    }
  }
}

TEST(DefaultLayouts, AreOnePayloadCopyPerKvLayoutOfTheSystems) {
  ModelGeometry model = small_model();
  EXPECT_THAT(names(default_layouts(model)), ElementsAre("layer-adjacent-16+ident8", "layer-apart-64+probe0-2"));
}

TEST(DefaultLayouts, ServeEverySystemOnBothSoftwarePaths) {
  const std::vector<StoredLayout> stored = default_layouts(small_model());
  const Json none = Json::object();
  for (const pipeline::SystemEntry& entry : pipeline::system_registry()) {
    if (entry.is_preset) continue;
    for (const auto path : {pipeline::PathKind::prototype, pipeline::PathKind::direct}) {
      const Json resolved = entry.resolve(JsonValue(none, entry.name), path);
      const auto needed = layout_of_system(entry.name, resolved, path, small_model());
      const bool reads_nothing = entry.name == "recompute" || entry.name == "resident";
      EXPECT_EQ(needed.has_value(), !reads_nothing) << entry.name;
      if (!needed) continue;
      EXPECT_TRUE(std::any_of(stored.begin(), stored.end(), [&](const auto& has) { return covers(has, *needed); }))
          << entry.name;
    }
  }
}

TEST(DefaultLayouts, OfPresetsAreWrittenOnlyWhenNamed) {
  for (const auto& [preset, expected] :
       {std::pair{"lmcache_like", "chunk-apart-256"}, std::pair{"hicache_like", "chunk-apart-64"}}) {
    const auto& entry = pipeline::find_system(JsonValue(Json(preset), "test"));
    const Json none = Json::object();
    const Json resolved = entry.resolve(JsonValue(none, "test"), pipeline::PathKind::direct);
    const auto layout = layout_of_system(preset, resolved, pipeline::PathKind::direct, small_model());
    ASSERT_TRUE(layout);
    EXPECT_EQ(layout_name(*layout), expected);
    const std::vector<StoredLayout> stored = default_layouts(small_model());
    EXPECT_TRUE(std::none_of(stored.begin(), stored.end(), [&](const auto& has) { return covers(has, *layout); }));
  }
}

TEST(DefaultLayouts, FollowTheParametersOfASystem) {
  Json params;
  params["probe_heads"] = {3, 1};
  params["kv_layout"] = {{"block_tokens", 32}, {"kv", "adjacent"}};
  const auto& entry = pipeline::find_system(JsonValue(Json("impress"), "test"));
  const Json resolved = entry.resolve(JsonValue(params, "test"), pipeline::PathKind::direct);
  EXPECT_EQ(layout_name(*layout_of_system("impress", resolved, pipeline::PathKind::direct, small_model())),
            "layer-adjacent-32+probe1.3");
}

TEST(LayoutsOption, AllNamesAndMistakes) {
  const ModelGeometry model = small_model();
  EXPECT_EQ(parse_layouts("all", model, 64), default_layouts(model));
  EXPECT_THAT(names(parse_layouts("layer-apart-64,layer-adjacent-16+ident8", model, 64)),
              ElementsAre("layer-adjacent-16+ident8", "layer-apart-64"));
  EXPECT_THAT(message_of<ConfigError>([&] { parse_layouts("layer-apart-48", model, 64); }), HasSubstr("192"));
  EXPECT_THAT(message_of<ConfigError>([&] { parse_layouts("layer-apart-64+probe9", model, 64); }), HasSubstr("0 to 3"));
  EXPECT_THAT(message_of<ConfigError>([&] { parse_layouts("layer-apart-64,", model, 64); }), HasSubstr("--layouts"));
}

}  // namespace
}  // namespace reprefill::engine
