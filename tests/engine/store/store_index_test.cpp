#include "engine/store/store.hpp"

#include "tests/engine/store/store_fixture.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;
using namespace test_support;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(StoreIndex, AnEmptyStoreMatchesNothing) {
  const TemporaryFolder folder;
  StoreWriter(folder / "store", small_manifest());
  const Store store = Store::open(folder / "store");
  EXPECT_EQ(store.num_segments(), 0u);
  EXPECT_TRUE(store.match(ids_from(0, 100)).empty());
  EXPECT_TRUE(store.match({}).empty());
  EXPECT_EQ(store.missing_part(ids_from(0, 20)).token_ids.size(), 16u);
}

/// Blocks of 8: A = 0..15; B leaves A after 8 tokens.
TEST(StoreIndex, MatchesTheLongestStoredPathInWholeBlocks) {
  const TemporaryFolder folder;
  make_small_store(folder / "store");
  const Store store = Store::open(folder / "store");
  const SegmentId a{0}, b{1};
  EXPECT_THAT(store.match(ids_from(0, 7)), ElementsAre());
  EXPECT_THAT(store.match(ids_from(0, 8)), ElementsAre(SegmentSpan{a, 8}));
  EXPECT_THAT(store.match(ids_from(0, 15)), ElementsAre(SegmentSpan{a, 8}));
  EXPECT_THAT(store.match(ids_from(0, 16)), ElementsAre(SegmentSpan{a, 16}));
  EXPECT_THAT(store.match(ids_from(0, 99)), ElementsAre(SegmentSpan{a, 16}));
  EXPECT_THAT(store.match(joined(ids_from(0, 8), ids_from(30, 9))), ElementsAre(SegmentSpan{a, 8}, SegmentSpan{b, 8}));
  EXPECT_THAT(store.match(ids_from(1, 16)), ElementsAre());
  EXPECT_EQ(store.segment(b).parent, (ParentLink{store.segment(a).key, 8}));
  EXPECT_EQ(store.segment(a).token_ids, ids_from(0, 16));
  EXPECT_TRUE(store.has_children(a));
  EXPECT_FALSE(store.has_children(b));
  EXPECT_EQ(store.find(store.segment(b).key), b);
  EXPECT_EQ(store.find(SegmentKey{1, 1}), std::nullopt);
}

TEST(StoreIndex, TheMissingPartContinuesTheMatch) {
  const TemporaryFolder folder;
  make_small_store(folder / "store");
  const Store store = Store::open(folder / "store");
  const NewSegment missing = store.missing_part(ids_from(0, 35));
  EXPECT_EQ(missing.parent, (ParentLink{store.segment(SegmentId{0}).key, 16}));
  EXPECT_EQ(missing.token_ids, ids_from(16, 16));
  EXPECT_TRUE(store.missing_part(ids_from(0, 20)).token_ids.empty());
}

/// Random prefixes over a small alphabet against a list of everything that was stored.
TEST(StoreIndex, AgreesWithAPlainListOfPrefixes) {
  RandomStream random(11, 0, "store index");
  const std::uint32_t block = 2;
  StoreScan scan{.folder = "/nowhere", .manifest = manifest_of(small_model(), {"layer-apart-2"}, block)};
  Store store(std::move(scan));
  std::vector<std::vector<std::int32_t>> stored;  // whole prefixes
  const auto random_ids = [&] {
    std::vector<std::int32_t> ids(random.below(24));
    for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random.below(2));
    return ids;
  };
  const auto longest = [&](const std::vector<std::int32_t>& ids) {
    std::size_t best = 0;
    for (const auto& prefix : stored) {
      const auto end = std::mismatch(prefix.begin(), prefix.end(), ids.begin(), ids.end()).first;
      best = std::max(best, static_cast<std::size_t>(end - prefix.begin()) / block * block);
    }
    return best;
  };
  for (int round = 0; round < 3000; ++round) {
    const std::vector<std::int32_t> ids = random_ids();
    const std::vector<SegmentSpan> path = store.match(ids);
    std::vector<std::int32_t> along;
    for (const SegmentSpan& span : path) {
      const auto& tokens = store.segment(span.segment).token_ids;
      along.insert(along.end(), tokens.begin(), tokens.begin() + span.num_tokens);
    }
    ASSERT_EQ(along.size(), longest(ids));
    ASSERT_TRUE(std::equal(along.begin(), along.end(), ids.begin()));
    if (round % 5 != 0) continue;
    const NewSegment missing = store.missing_part(ids);
    if (missing.token_ids.empty()) continue;
    store.add({.key = make_segment_key(0x1234, missing.parent, missing.token_ids),
               .parent = missing.parent,
               .token_ids = missing.token_ids});
    stored.push_back({ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(ids.size() / block * block)});
  }
  EXPECT_GT(store.num_segments(), 100u);
}

TEST(StoreIndex, NumbersDoNotDependOnTheOrderOfWriting) {
  const TemporaryFolder folder;
  const StoreManifest manifest = small_manifest();
  // A chain of three behind each of four roots.
  const auto write = [&](const fs::path& store, const std::vector<int>& order) {
    StoreWriter writer(store, manifest);
    for (const int root : order) {
      for (std::size_t blocks = 1; blocks <= 3; ++blocks) {
        writer.add_prefix(ids_from(root * 100, 8 * blocks), source_of(manifest));
      }
    }
  };
  write(folder / "a", {0, 1, 2, 3});
  write(folder / "b", {2, 3, 1, 0});
  const Store a = Store::open(folder / "a"), b = Store::open(folder / "b");
  ASSERT_EQ(a.num_segments(), 12u);
  for (std::uint32_t i = 0; i < 12; ++i) {
    EXPECT_EQ(a.segment(SegmentId{i}).key, b.segment(SegmentId{i}).key);
    EXPECT_EQ(a.path_of(SegmentId{i}).size(), i / 4 + 1) << "parents first";
    if (i % 4 != 0) {
      EXPECT_LT(a.segment(SegmentId{i - 1}).key, a.segment(SegmentId{i}).key);
    }
  }
}

TEST(StoreIndex, AMissingParentIsNamed) {
  const TemporaryFolder folder;
  make_small_store(folder / "store");
  const SegmentKey parent = Store::open(folder / "store").segment(SegmentId{0}).key;
  fs::remove_all(segment_folder(folder / "store", parent));
  EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(folder / "store"); }),
              testing::AllOf(HasSubstr("extends 8 tokens of segment " + parent.to_hex()), HasSubstr("store remove")));
}

TEST(StoreIndex, TokensThatAreStoredTwiceAreNamed) {
  const TemporaryFolder folder;
  const StoreManifest manifest = small_manifest();
  {
    StoreWriter writer(folder / "a", manifest);
    writer.add_prefix(ids_from(0, 16), source_of(manifest));
    StoreWriter other(folder / "b", manifest);
    other.add_prefix(ids_from(0, 8), source_of(manifest));
    const SegmentKey key = other.store().segment(SegmentId{0}).key;
    fs::copy(segment_folder(folder / "b", key), segment_folder(folder / "a", key), fs::copy_options::recursive);
  }
  EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(folder / "a"); }), HasSubstr("stored already"));
}

TEST(StoreIndex, ALayoutThatIsMissingIsRefusedWithTheCommandThatWritesIt) {
  const TemporaryFolder folder;
  make_small_store(folder / "store");
  const Store store = Store::open(folder / "store");
  EXPECT_EQ(store.layout_for(layout_named("layer-adjacent-4+ident2")), 0u);
  EXPECT_EQ(store.layout_for(layout_named("layer-apart-8")), 1u) << "served by the one with probe keys";
  EXPECT_THAT(message_of<ConfigError>([&] { store.layout_for(layout_named("layer-apart-4")); }),
              testing::AllOf(HasSubstr("has no layout layer-apart-4"), HasSubstr("reprefill store build"),
                             HasSubstr("--layouts layer-apart-4,layer-adjacent-4+ident2,layer-apart-8+probe0-1")));
}

TEST(StoreIndex, OpensTheFilesItNames) {
  const TemporaryFolder folder;
  make_small_store(folder / "store");
  const Store store = Store::open(folder / "store");
  for (std::uint32_t segment = 0; segment < 2; ++segment) {
    for (std::size_t layout = 0; layout < 2; ++layout) {
      const StoreFile file = store.open_file(SegmentId{segment}, layout, DirectIo::if_possible);
      EXPECT_EQ(file.size(), fs::file_size(store.file_path(SegmentId{segment}, layout)));
    }
  }
}

}  // namespace
}  // namespace reprefill::engine
