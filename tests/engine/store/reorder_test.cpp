// A reordered copy: every token's bytes are where its permutation says, a kill leaves a usable store, damage is found.
#include <cstring>
#include <numeric>

#include "core/base/random.hpp"
#include "engine/store/layer_reader.hpp"
#include "engine/store/reorder.hpp"
#include "tests/engine/store/store_fixture.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;
using namespace test_support;
using testing::HasSubstr;

constexpr const char* kPlain = "layer-apart-8+probe0-1";
constexpr const char* kReordered = "layer-apart-8+probe0-1+reordered";

/// An order of its own for every segment and layer.
TokenOrders shuffled_orders(const Store& store, SegmentId segment, std::uint64_t seed = 0) {
  TokenOrders orders;
  for (std::uint64_t layer = 0; layer < 3; ++layer) {
    std::vector<float> importance(store.segment(segment).num_tokens());
    for (std::uint64_t token = 0; token < importance.size(); ++token) {
      importance[token] = static_cast<float>(combine64(combine64(seed + segment.value, layer), token) % 1000);
    }
    orders.push_back(layout::TokenOrder::by_importance(importance));
  }
  return orders;
}

ReorderReport reorder(const fs::path& store, std::uint64_t seed = 0, WriteOptions write = {}) {
  return reorder_store(store, {.calibration_requests = 4, .write = std::move(write)}, [seed](const Store& opened) {
    return [&opened, seed](SegmentId segment) { return shuffled_orders(opened, segment, seed); };
  });
}

fs::path file_of(const Store& store, SegmentId segment, const char* layout) {
  return segment_file(store.folder(), store.segment(segment).key, layout_named(layout));
}

TokenOrders stored_orders(const Store& store, SegmentId segment) {
  const StoreFile file = StoreFile::open_to_read(file_of(store, segment, kReordered), DirectIo::off);
  return read_token_orders(file,
                           read_header(file, store.manifest(), layout_named(kReordered), store.segment(segment).key));
}

bool has_reordered(const Store& store) {
  return std::ranges::find(store.manifest().layouts, layout_named(kReordered)) != store.manifest().layouts.end();
}

VerifyReport verify(const fs::path& store, Repair repair = Repair::no) {
  return verify_store(scan_store(store), repair);
}

class Reorder : public testing::Test {
 protected:
  Reorder() { make_small_store(store_); }
  TemporaryFolder folder_;
  fs::path store_ = folder_ / "store";
};

TEST_F(Reorder, EveryTokensBytesAreAtThePlaceThatItsPermutationSays) {
  const ReorderReport report = reorder(store_);
  EXPECT_EQ(layout_name(report.layout), kReordered);
  EXPECT_EQ(report.num_segments, 2u);
  const Store store = Store::open(store_);
  const std::uint64_t token_bytes = 32;
  EXPECT_EQ(report.read, Bytes{(16 + 8) * 3 * 2 * token_bytes});
  const layout::StoreLayout layout = layout_named(kReordered).store_layout(small_model());
  for (std::uint32_t i = 0; i < 2; ++i) {
    const SegmentId segment{i};
    const std::uint32_t num_tokens = store.segment(segment).num_tokens();
    const std::string bytes = read_text(file_of(store, segment, kReordered));
    const TokenOrders orders = shuffled_orders(store, segment);
    EXPECT_EQ(stored_orders(store, segment), orders);
    for (int layer = 0; layer < 3; ++layer) {
      for (const PieceKind kind : {PieceKind::key, PieceKind::value}) {
        const auto expected = kv_of(store.manifest(), store.segment(segment).key, num_tokens, layer,
                                    kind == PieceKind::key ? KvTensor::keys : KvTensor::values);
        for (std::uint32_t token = 0; token < num_tokens; ++token) {
          const std::uint32_t place = orders[static_cast<std::size_t>(layer)].place_of()[token];
          const auto block = layout.extent(PieceKey::make(segment, layer, kind, place / 8), num_tokens);
          EXPECT_EQ(std::memcmp(bytes.data() + block.offset + place % 8 * token_bytes,
                                expected.data() + token * token_bytes, token_bytes),
                    0)
              << "segment " << i << ", layer " << layer << ", token " << token;
        }
      }
    }
  }
}

TEST_F(Reorder, KeysForScoringStayInTheTokensOwnOrder) {
  reorder(store_);
  const Store store = Store::open(store_);
  const auto probe_keys = [&](const char* name) {
    const layout::StoreLayout layout = layout_named(name).store_layout(small_model());
    const auto extent = layout.extent(PieceKey::make(SegmentId{0}, 1, PieceKind::probe_keys, 16), 16);
    return read_text(file_of(store, SegmentId{0}, name)).substr(extent.offset, extent.bytes.value);
  };
  EXPECT_EQ(probe_keys(kReordered), probe_keys(kPlain));
}

TEST_F(Reorder, AReaderPutsTheTokensBack) {
  reorder(store_);
  const Store store = Store::open(store_);
  const StoreFile file = StoreFile::open_to_read(file_of(store, SegmentId{0}, kReordered), DirectIo::off);
  const SegmentKey key = store.segment(SegmentId{0}).key;
  const PageVerifier pages = PageVerifier::load(file, store.manifest(), layout_named(kReordered), key);
  const LayerReader reader(file, pages);
  std::vector<std::byte> values(reader.bytes_per_layer());
  reader.read(2, PieceKind::value, values);
  EXPECT_EQ(values, kv_of(store.manifest(), key, 16, 2, KvTensor::values));
}

TEST_F(Reorder, TheOtherCopiesKeepTheirBytes) {
  const std::vector<fs::path> files = files_below(store_ / "segments");
  std::vector<std::string> before;
  for (const fs::path& file : files) before.push_back(read_text(file));
  reorder(store_);
  for (std::size_t i = 0; i < files.size(); ++i) EXPECT_EQ(read_text(files[i]), before[i]) << files[i];
  EXPECT_EQ(files_below(store_ / "segments").size(), files.size() + 2);
  EXPECT_TRUE(verify(store_).damage.empty());
  EXPECT_TRUE(scan_store(store_).leftovers.empty());
}

TEST_F(Reorder, ANewOrderReplacesTheOneOfBefore) {
  reorder(store_, 0);
  reorder(store_, 100);
  const Store store = Store::open(store_);
  EXPECT_EQ(stored_orders(store, SegmentId{1}), shuffled_orders(store, SegmentId{1}, 100));
  EXPECT_EQ(store.manifest().layouts.size(), 3u);
  EXPECT_TRUE(verify(store_).damage.empty());
}

TEST_F(Reorder, WhatIsAppendedLaterKeepsItsOwnOrderAndSaysSo) {
  reorder(store_);
  {
    const StoreManifest manifest = small_manifest();  // a writer does not have to know of the reordered copy
    StoreWriter writer(store_, manifest);
    writer.add_prefix(ids_from(40, 8), source_of(manifest));
  }
  const Store store = Store::open(store_);
  const SegmentId appended = store.match(ids_from(40, 8)).front().segment;
  const StoreFile file = StoreFile::open_to_read(file_of(store, appended, kReordered), DirectIo::off);
  const SegmentHeader header =
      read_header(file, store.manifest(), layout_named(kReordered), store.segment(appended).key);
  EXPECT_EQ(header.calibration_requests, 0u);
  EXPECT_EQ(read_token_orders(file, header), own_orders(header));
  EXPECT_TRUE(verify(store_).damage.empty());
}

TEST_F(Reorder, StoresWithoutProbeKeysAndUnknownLayoutsAreRefusedWithTheNames) {
  const auto refused = [&](const ReorderOptions& options) {
    return message_of<ConfigError>([&] {
      reorder_store(store_, options, [](const Store&) -> OrderSource {
        ADD_FAILURE() << "nothing is ordered";
        return nullptr;
      });
    });
  };
  EXPECT_THAT(message_of<ConfigError>([&] { layout_to_reorder(small_manifest(), "layer-adjacent-4+ident2"); }),
              testing::AllOf(HasSubstr("--layout: found layer-adjacent-4+ident2"), HasSubstr(kPlain)));
  const StoreManifest none = manifest_of(small_model(), {"layer-adjacent-4+ident2"}, 8);
  EXPECT_THAT(message_of<ConfigError>([&] { layout_to_reorder(none, ""); }), HasSubstr("it has none"));
  const StoreManifest two = manifest_of(small_model(), {"layer-adjacent-4+probe0", "layer-apart-8+probe0-1"}, 8);
  EXPECT_THAT(message_of<ConfigError>([&] { layout_to_reorder(two, ""); }),
              HasSubstr("layer-adjacent-4+probe0, layer-apart-8+probe0-1"));
  store_ = folder_ / "nothing";
  EXPECT_THAT(refused({.calibration_requests = 4}), HasSubstr("is not a store"));
}

TEST_F(Reorder, OnlyItMakesReorderedCopies) {
  EXPECT_THAT(
      message_of<ConfigError>([&] { check_manifest(manifest_of(small_model(), {kReordered}, 8), "store.json"); }),
      testing::AllOf(HasSubstr("store.json: layout layer-apart-8+probe0-1+reordered"), HasSubstr(kPlain)));
  const StoreManifest both = manifest_of(small_model(), {kPlain, kReordered}, 8);
  EXPECT_THAT(message_of<ConfigError>([&] { StoreWriter(folder_ / "new", both); }),
              testing::AllOf(HasSubstr("found layer-apart-8+probe0-1+reordered"), HasSubstr("store reorder")));
  EXPECT_FALSE(fs::exists(folder_ / "new"));
}

TEST_F(Reorder, DamagedPayloadIsNotCarriedOver) {
  const Store store = Store::open(store_);
  std::string bytes = read_text(file_of(store, SegmentId{0}, kPlain));
  bytes[kHeaderBytes + 40] = static_cast<char>(bytes[kHeaderBytes + 40] ^ 1);
  write_text(file_of(store, SegmentId{0}, kPlain), bytes);
  EXPECT_THAT(message_of<StoreDamage>([&] { reorder(store_); }), HasSubstr("payload, K of layer 0"));
  EXPECT_FALSE(has_reordered(Store::open(store_)));
  EXPECT_TRUE(scan_store(store_).leftovers.empty());
}

/// Tests of damage change the reordered copy of the first segment.
class ReorderedDamage : public Reorder {
 protected:
  ReorderedDamage() {
    reorder(store_);
    const Store store = Store::open(store_);
    file_ = file_of(store, SegmentId{0}, kReordered);
    key_ = store.segment(SegmentId{0}).key;
    permutation_ = layout_named(kReordered).store_layout(small_model()).permutation_extent(16).offset;
  }
  void change(const std::function<void(std::string&)>& edit) {
    std::string bytes = read_text(file_);
    edit(bytes);
    write_text(file_, bytes);
  }
  /// Writes the segment's copy again with all checksums right and this content.
  void forge(const TokenOrders& orders, const TokenOrders& payload_orders) {
    const Store store = Store::open(store_);
    SegmentHeader header = plan_header(store.manifest(), layout_named(kReordered), key_, std::nullopt, 16);
    header.calibration_requests = 4;
    fs::remove(file_);
    const WriteOptions options;
    LayoutFile out(header, file_, options, orders);
    for (int layer = 0; layer < 3; ++layer) {
      // Tokens that `orders` will put where `payload_orders` would have put them.
      const auto keys = kv_of(store.manifest(), key_, 16, layer, KvTensor::keys);
      const auto values = kv_of(store.manifest(), key_, 16, layer, KvTensor::values);
      std::vector<std::byte> moved_keys(keys.size()), moved_values(values.size());
      const auto l = static_cast<std::size_t>(layer);
      for (std::uint32_t place = 0; place < 16; ++place) {
        const std::uint32_t from = payload_orders[l].token_at()[place], to = orders[l].token_at()[place];
        std::memcpy(&moved_keys[to * 32], &keys[from * 32], 32);
        std::memcpy(&moved_values[to * 32], &values[from * 32], 32);
      }
      out.write_layer(layer, {.keys = moved_keys, .values = moved_values});
    }
    out.finish(store.segment(SegmentId{0}).token_ids);
  }
  fs::path file_;
  SegmentKey key_;
  std::uint64_t permutation_ = 0;
};

TEST_F(ReorderedDamage, AFlippedBitOfThePermutationIsFoundAndNotUsed) {
  change([&](std::string& bytes) { bytes[permutation_ + 5] = static_cast<char>(bytes[permutation_ + 5] ^ 2); });
  const VerifyReport report = verify(store_, Repair::yes);
  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_THAT(report.damage.front().what, HasSubstr(file_.string() + ": damaged permutation"));
  EXPECT_FALSE(report.is_sound());
  EXPECT_THAT(message_of<StoreDamage>([&] { stored_orders(Store::open(store_), SegmentId{0}); }),
              HasSubstr("damaged permutation"));
}

TEST_F(ReorderedDamage, ATokenThatIsNamedTwiceIsNoPermutationWhateverItsChecksumSays) {
  change([&](std::string& bytes) {
    std::memcpy(&bytes[permutation_ + 64], &bytes[permutation_ + 68], 4);  // layer 1: two places, one token
    const auto pages = std::as_bytes(std::span(bytes));
    HeaderBlock block;
    std::ranges::copy(pages.first(kHeaderBytes), block.begin());
    SegmentHeader header = parse_header(block, "forged");
    const std::uint64_t table = header.page_checksums.offset;
    const std::uint64_t page = checksum64(pages.subspan(permutation_, kPageBytes));
    std::memcpy(&bytes[table + (permutation_ - kHeaderBytes) / kPageBytes * 8], &page, 8);
    header.slabs.back().checksum = checksum64(std::as_bytes(std::span(&page, 1)));
    header.page_checksums_checksum = checksum64(pages.subspan(table, header.page_checksums.bytes.value));
    const HeaderBlock sealed = encode_header(header);
    std::memcpy(bytes.data(), sealed.data(), kHeaderBytes);
  });
  const VerifyReport report = verify(store_);
  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_THAT(report.damage.front().what,
              HasSubstr("permutation of layer 1: expected each of the tokens 0 to 15 once"));
}

TEST_F(ReorderedDamage, APermutationOfOtherBytesThanItsOwnIsFound) {
  const Store store = Store::open(store_);
  TokenOrders told = shuffled_orders(store, SegmentId{0});
  forge(told, told);
  EXPECT_TRUE(verify(store_).damage.empty());
  std::swap(told[1], told[2]);
  forge(told, shuffled_orders(store, SegmentId{0}));
  const VerifyReport report = verify(store_);
  ASSERT_EQ(report.damage.size(), 4u);
  EXPECT_THAT(report.damage.front().what,
              testing::AllOf(HasSubstr(file_.string() + ": K of layer 1"), HasSubstr("store reorder")));
}

TEST_F(ReorderedDamage, ProbeKeysAreRepairedOutOfAReorderedPayload) {
  const auto extent = layout_named(kReordered)
                          .store_layout(small_model())
                          .extent(PieceKey::make(SegmentId{0}, 2, PieceKind::probe_keys, 16), 16);
  const std::string sound = read_text(file_);
  change([&](std::string& bytes) { bytes[extent.offset + 3] = static_cast<char>(bytes[extent.offset + 3] ^ 4); });
  EXPECT_FALSE(verify(store_).is_sound());
  EXPECT_TRUE(verify(store_, Repair::yes).is_sound());
  EXPECT_EQ(read_text(file_), sound);
}

TEST_F(ReorderedDamage, ReorderingAgainMendsIt) {
  change([&](std::string& bytes) { bytes[permutation_] = static_cast<char>(bytes[permutation_] ^ 1); });
  reorder(store_);
  EXPECT_TRUE(verify(store_).damage.empty());
}

/// What a store's reordered copies are of: 0 or 100 for `seed`, nothing where it has none.
std::optional<std::uint64_t> order_in(const Store& store) {
  if (!has_reordered(store)) return std::nullopt;
  for (const std::uint64_t seed : {0, 100}) {
    bool all = true;
    for (std::uint32_t i = 0; i < store.num_segments(); ++i) {
      all = all && stored_orders(store, SegmentId{i}) == shuffled_orders(store, SegmentId{i}, seed);
    }
    if (all) return seed;
  }
  ADD_FAILURE() << "segments of two orders";
  return std::nullopt;
}

TEST(KilledReordering, LeavesTheStoreUsableAtAnyCallAndNeverAMixture) {
  const TemporaryFolder folder;
  for (const bool had_one : {false, true}) {
    std::size_t num_kills = 0, num_without = 0;
    for (bool finished = false; !finished; ++num_kills) {
      const fs::path path = folder / fmt::format("store{}{}", had_one, num_kills);
      make_small_store(path);
      if (had_one) reorder(path, 0);
      finished = !run_and_kill(num_kills, [&](const BeforeCall& before) {
        reorder(path, 100, {.direct = DirectIo::off, .before_call = before});
      });
      const StoreScan scan = scan_store(path);
      EXPECT_TRUE(scan.problems.empty()) << num_kills << ": " << scan.problems.front().what;
      EXPECT_TRUE(verify_store(scan, Repair::no).damage.empty()) << num_kills;
      const Store store = Store::open(path);
      const std::optional<std::uint64_t> order = order_in(store);
      if (finished) {
        EXPECT_EQ(order, std::uint64_t{100});
      } else if (!had_one && order) {
        EXPECT_EQ(*order, 100u);  // killed behind the last rename
      }
      num_without += !order;
      reorder(path, 100);
      EXPECT_EQ(order_in(Store::open(path)), std::uint64_t{100});
      EXPECT_TRUE(scan_store(path).leftovers.empty());
      fs::remove_all(path);
      ASSERT_LT(num_kills, 200u);
    }
    EXPECT_GT(num_kills, 25u);
    EXPECT_GT(num_without, had_one ? 3u : 25u);
  }
}

TEST(FailingReordering, LeavesNothingBehind) {
  const TemporaryFolder folder;
  bool failed = true;
  for (std::size_t fails = 0; failed; ++fails) {
    const fs::path path = folder / fmt::format("store{}", fails);
    make_small_store(path);
    std::size_t call = 0;
    const auto fail_once = [&](std::string_view name, const fs::path& at) {
      if (call++ == fails) throw MachineError(fmt::format("{}({}): injected", name, at.string()));
    };
    try {
      reorder(path, 100, {.direct = DirectIo::off, .before_call = fail_once});
      failed = false;
      EXPECT_GT(fails, 25u);
    } catch (const MachineError& error) {
      EXPECT_THAT(error.what(), HasSubstr("injected"));
    }
    const StoreScan scan = scan_store(path);
    EXPECT_TRUE(scan.problems.empty()) << fails << ": " << scan.problems.front().what;
    for (const fs::path& leftover : scan.leftovers) {
      EXPECT_FALSE(leftover.filename().string().ends_with(".kv.partial")) << fails << ": " << leftover;
    }
    fs::remove_all(path);
    ASSERT_LT(fails, 200u);
  }
}

}  // namespace
}  // namespace reprefill::engine
