#include "engine/store/store_writer.hpp"

#include <thread>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/store/verify.hpp"
#include "tests/engine/store/store_fixture.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;
using namespace test_support;
using testing::ElementsAre;
using testing::HasSubstr;

mode_t mode_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

TEST(StoreWriter, FilesAndFoldersArePrivate) {
  const TemporaryFolder folder;
  const mode_t before = umask(0);
  make_small_store(folder / "store");
  umask(before);
  EXPECT_EQ(mode_of(folder / "store"), 0700u);
  for (const auto& entry : fs::recursive_directory_iterator(folder / "store")) {
    EXPECT_EQ(mode_of(entry.path()), entry.is_directory() ? 0700u : 0600u) << entry.path();
  }
}

TEST(StoreWriter, StoresOnlyWhatIsMissingAndWholeBlocks) {
  const TemporaryFolder folder;
  const StoreManifest manifest = small_manifest();
  StoreWriter writer(folder / "store", manifest);
  EXPECT_EQ(writer.add_prefix(ids_from(0, 7), source_of(manifest)), std::nullopt);
  const auto first = writer.add_prefix(ids_from(0, 23), source_of(manifest));
  ASSERT_TRUE(first);
  EXPECT_EQ(writer.store().segment(*first).num_tokens(), 16u);
  EXPECT_EQ(writer.add_prefix(ids_from(0, 23), source_of(manifest)), std::nullopt);
  const auto second = writer.add_prefix(ids_from(0, 32), source_of(manifest));
  ASSERT_TRUE(second);
  EXPECT_THAT(writer.store().match(ids_from(0, 32)), ElementsAre(SegmentSpan{*first, 16}, SegmentSpan{*second, 16}));
  EXPECT_EQ(Store::open(folder / "store").num_segments(), 2u);
}

TEST(StoreWriter, OneWriterAtATimeReadersGoOn) {
  const TemporaryFolder folder;
  const StoreManifest manifest = small_manifest();
  {
    StoreWriter writer(folder / "store", manifest);
    writer.add_prefix(ids_from(0, 8), source_of(manifest));
    EXPECT_THAT(message_of<ConfigError>([&] { StoreWriter(folder / "store", manifest); }),
                HasSubstr("another process writes"));
    EXPECT_THROW(remove_segments(folder / "store", {}, Recursive::no), ConfigError);
    EXPECT_THROW(verify_store(scan_store(folder / "store"), Repair::yes), ConfigError);
    EXPECT_EQ(Store::open(folder / "store").num_segments(), 1u);
    SegmentWriter half = writer.begin({.parent = std::nullopt, .token_ids = ids_from(20, 8)});
    EXPECT_EQ(Store::open(folder / "store").num_segments(), 1u) << "half a segment is invisible";
    EXPECT_EQ(scan_store(folder / "store").leftovers.size(), 1u);
  }
  EXPECT_TRUE(scan_store(folder / "store").leftovers.empty()) << "taken back by its destructor";
  EXPECT_NO_THROW(StoreWriter(folder / "store", manifest));
}

TEST(StoreWriter, RemovesLeftoversOfKilledWritersAndSaysSo) {
  const TemporaryFolder folder;
  make_small_store(folder / "store");
  const fs::path left = segments_path(folder / "store") / SegmentWriter::partial_folder_name({1, 2});
  fs::create_directory(left);
  write_text(left / "layer-apart-8.kv", "half");
  EXPECT_THAT(scan_store(folder / "store").leftovers, ElementsAre(left));
  EXPECT_EQ(Store::open(folder / "store").num_segments(), 2u);
  const StoreWriter writer(folder / "store", small_manifest());
  EXPECT_THAT(writer.removed_leftovers(), ElementsAre(left));
  EXPECT_FALSE(fs::exists(left));
}

TEST(StoreWriter, AnotherModelLayoutsOrBlocksAreRefused) {
  const TemporaryFolder folder;
  make_small_store(folder / "store");
  const auto refuses = [&](const std::function<void(StoreManifest&)>& change, const char* why) {
    StoreManifest manifest = small_manifest();
    change(manifest);
    EXPECT_THAT(message_of<ConfigError>([&] { StoreWriter(folder / "store", manifest); }), HasSubstr(why));
  };
  refuses([](StoreManifest& m) { m.model.fingerprint = 9; }, "0000000000000009");
  refuses([](StoreManifest& m) { m.model.geometry.num_layers = 4; }, "4 layers");
  refuses([](StoreManifest& m) { m.layouts.pop_back(); }, "found layer-adjacent-4+ident2 in blocks of 8");
  refuses([](StoreManifest& m) { m.store_block_tokens = 16; }, "in blocks of 16");
  refuses([](StoreManifest& m) { m.store_block_tokens = 12; }, "store_block_tokens");
  refuses([](StoreManifest& m) { m.layouts.clear(); }, "no layouts");
  refuses([](StoreManifest& m) { std::swap(m.layouts[0], m.layouts[1]); }, "in order of name");
  EXPECT_EQ(Store::open(folder / "store").num_segments(), 2u);
}

TEST(StoreWriter, AFolderOfSomethingElseIsLeftAlone) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "home");
  write_text(folder / "home" / "letter.txt", "dear");
  EXPECT_THAT(message_of<ConfigError>([&] { StoreWriter(folder / "home", small_manifest()); }),
              HasSubstr("letter.txt"));
  EXPECT_EQ(files_below(folder / "home").size(), 1u);
  write_text(folder / "file", "x");
  EXPECT_THROW(StoreWriter(folder / "file", small_manifest()), ConfigError);
  EXPECT_THAT(message_of<ConfigError>([&] { StoreWriter(folder / "a" / "b", small_manifest()); }),
              HasSubstr("does not exist"));
  fs::create_directory(folder / "empty");
  EXPECT_NO_THROW(StoreWriter(folder / "empty", small_manifest()));
}

TEST(StoreWriter, LayersAndSizesAreChecked) {
  const TemporaryFolder folder;
  StoreWriter writer(folder / "store", small_manifest());
  SegmentWriter segment = writer.begin({.parent = std::nullopt, .token_ids = ids_from(0, 8)});
  const std::vector<std::byte> right(8 * 32), wrong(8 * 32 - 1);
  EXPECT_THROW(segment.write_layer({right, wrong}), InvariantError);
  segment.write_layer({right, right});
  EXPECT_THROW(writer.finish(segment), InvariantError) << "two layers are missing";
  EXPECT_THROW(writer.begin({.parent = std::nullopt, .token_ids = ids_from(0, 7)}), InvariantError);
}

TEST(StoreWriter, SegmentsMayBeUnderWayFromSeveralThreads) {
  const TemporaryFolder folder;
  const StoreManifest manifest = small_manifest();
  StoreWriter writer(folder / "store", manifest);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 8; ++i) {
        SegmentWriter segment = writer.begin({.parent = std::nullopt, .token_ids = ids_from(1000 * t + 10 * i, 16)});
        const KvSource source = source_of(manifest)(segment.segment());
        for (int layer = 0; layer < 3; ++layer) segment.write_layer(source(layer));
        writer.finish(segment);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(writer.store().num_segments(), 32u);
  EXPECT_EQ(Store::open(folder / "store").num_segments(), 32u);
  EXPECT_TRUE(verify_store(scan_store(folder / "store"), Repair::no).damage.empty());
}

TEST(RemoveSegments, ByTheFirstDigitsOfTheKey) {
  const TemporaryFolder folder;
  make_small_store(folder / "store");
  const Store store = Store::open(folder / "store");
  const SegmentKey parent = store.segment(SegmentId{0}).key, child = store.segment(SegmentId{1}).key;
  const auto remove = [&](std::string key, Recursive recursive) {
    return remove_segments(folder / "store", {std::move(key)}, recursive);
  };
  EXPECT_THAT(message_of<ConfigError>([&] { remove("zzzz", Recursive::no); }), HasSubstr("no segment's key"));
  EXPECT_THAT(message_of<ConfigError>([&] { remove(parent.to_hex().substr(0, 3), Recursive::no); }),
              HasSubstr("too short"));
  EXPECT_THAT(message_of<ConfigError>([&] { remove(parent.to_hex(), Recursive::no); }), HasSubstr("--recursive"));
  EXPECT_EQ(Store::open(folder / "store").num_segments(), 2u);
  EXPECT_THAT(remove(child.to_hex().substr(0, 8), Recursive::no), ElementsAre(child));
  EXPECT_EQ(Store::open(folder / "store").num_segments(), 1u);
  EXPECT_THAT(remove(parent.to_hex(), Recursive::no), ElementsAre(parent));
  EXPECT_EQ(Store::open(folder / "store").num_segments(), 0u);
}

TEST(RemoveSegments, ChildrenFirst) {
  const TemporaryFolder folder;
  make_small_store(folder / "store");
  const Store store = Store::open(folder / "store");
  const SegmentKey parent = store.segment(SegmentId{0}).key, child = store.segment(SegmentId{1}).key;
  EXPECT_THAT(remove_segments(folder / "store", {parent.to_hex()}, Recursive::yes), ElementsAre(child, parent));
  EXPECT_TRUE(fs::is_empty(segments_path(folder / "store")));
}

TEST(RemoveSegments, DamagedOnesToo) {
  const TemporaryFolder folder;
  make_small_store(folder / "store");
  const SegmentKey parent = Store::open(folder / "store").segment(SegmentId{0}).key;
  write_text(segment_file(folder / "store", parent, small_manifest().layouts[0]), "nonsense");
  EXPECT_THROW(Store::open(folder / "store"), StoreDamage);
  EXPECT_EQ(remove_segments(folder / "store", {parent.to_hex()}, Recursive::yes).size(), 2u);
  EXPECT_EQ(Store::open(folder / "store").num_segments(), 0u);
}

TEST(RemoveSegments, TouchesNothingInAFolderThatIsNoStore) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "home" / "segments" / ".config");
  EXPECT_THROW(remove_segments(folder / "home", {}, Recursive::yes), ConfigError);
  EXPECT_TRUE(fs::exists(folder / "home" / "segments" / ".config"));
  EXPECT_FALSE(fs::exists(folder / "home" / ".lock"));
}

}  // namespace
}  // namespace reprefill::engine
