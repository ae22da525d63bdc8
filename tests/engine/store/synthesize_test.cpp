#include "engine/store/synthesize.hpp"

#include <cmath>
#include <cstring>
#include <set>

#include "core/base/bfloat16.hpp"
#include "engine/store/verify.hpp"
#include "tests/engine/store/store_fixture.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;
using namespace test_support;
using testing::HasSubstr;

SynthesisOptions small_options() {
  SynthesisOptions options{.model = small_model(), .num_prefixes = 5, .prefix_tokens = 200, .segments_per_prefix = 2};
  options.progress = ProgressMode::quiet;
  return options;
}

TEST(Synthesis, WritesWhatWasAskedForSoundly) {
  const TemporaryFolder folder;
  const SynthesisReport report = synthesize_store(folder / "store", small_options());
  EXPECT_EQ(report.num_segments_written, 10u);
  const Store store = Store::open(folder / "store");
  ASSERT_EQ(store.num_segments(), 10u);
  EXPECT_EQ(store.manifest().layouts.size(), 2u);
  for (std::uint32_t prefix = 0; prefix < 5; ++prefix) {
    const std::vector<SegmentSpan> path = store.match(synthetic_token_ids(small_options(), prefix));
    ASSERT_EQ(path.size(), 2u);
    EXPECT_EQ(path[0].num_tokens, 128u);  // 3 whole blocks of 64: two and one
    EXPECT_EQ(path[1].num_tokens, 64u);
  }
  EXPECT_TRUE(verify_store(scan_store(folder / "store"), Repair::no).damage.empty());
  std::uint64_t bytes = 0;
  for (const fs::path& file : files_below(segments_path(folder / "store"))) bytes += fs::file_size(file);
  EXPECT_EQ(report.bytes_written, Bytes{bytes});
}

TEST(Synthesis, IsTheSameForOneSeedWhateverTheThreads) {
  const TemporaryFolder folder;
  SynthesisOptions options = small_options();
  for (const std::uint32_t threads : {1u, 4u}) {
    options.num_threads = threads;
    synthesize_store(folder / fmt::format("t{}", threads), options);
  }
  options.seed = 2;
  synthesize_store(folder / "other", options);
  const auto a = files_below(folder / "t1"), b = files_below(folder / "t4"), c = files_below(folder / "other");
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(fs::relative(a[i], folder / "t1"), fs::relative(b[i], folder / "t4"));
    EXPECT_EQ(read_text(a[i]), read_text(b[i]));
  }
  EXPECT_NE(fs::relative(a[1], folder / "t1"), fs::relative(c[1], folder / "other")) << "other ids, other keys";
}

TEST(Synthesis, GoesOnWhereAnEarlierRunStopped) {
  const TemporaryFolder folder;
  SynthesisOptions options = small_options();
  synthesize_store(folder / "store", options);
  const Store store = Store::open(folder / "store");
  const SegmentKey leaf = store.segment(SegmentId{9}).key;
  remove_segments(folder / "store", {leaf.to_hex()}, Recursive::no);
  const SynthesisReport report = synthesize_store(folder / "store", options);
  EXPECT_EQ(report.num_segments_written, 1u);
  EXPECT_EQ(report.num_segments_present, 9u);
  EXPECT_EQ(Store::open(folder / "store").num_segments(), 10u);
}

TEST(Synthesis, ValuesAreFiniteAndOfMagnitudeHalfToTwo) {
  std::vector<std::byte> bytes(1 << 16);
  fill_synthetic_kv(1, {1, 2}, 3, KvTensor::keys, KvType::bf16, bytes);
  std::set<std::uint16_t> distinct;
  double sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    BFloat16 value;
    std::memcpy(&value.bits, &bytes[i], 2);
    const float magnitude = std::abs(value.widen());
    ASSERT_TRUE(magnitude >= 0.5F && magnitude < 2.0F) << magnitude;
    distinct.insert(value.bits);
    sum += value.widen();
  }
  EXPECT_EQ(distinct.size(), 512u);  // sign, 2 exponents, 7 bits of mantissa
  EXPECT_LT(std::abs(sum / 32768), 0.05);
  fill_synthetic_kv(1, {1, 2}, 3, KvTensor::keys, KvType::fp32, bytes);
  for (std::size_t i = 0; i < bytes.size(); i += 4) {
    float value = 0;
    std::memcpy(&value, &bytes[i], 4);
    ASSERT_TRUE(std::abs(value) >= 0.5F && std::abs(value) < 2.0F) << value;
  }
}

TEST(Synthesis, TensorsLayersAndSegmentsDiffer) {
  const auto filled = [](SegmentKey key, int layer, KvTensor tensor, std::uint64_t seed) {
    std::vector<std::byte> bytes(64);
    fill_synthetic_kv(seed, key, layer, tensor, KvType::bf16, bytes);
    return bytes;
  };
  const std::set<std::vector<std::byte>> all = {
      filled({1, 2}, 0, KvTensor::keys, 1), filled({1, 2}, 0, KvTensor::values, 1),
      filled({1, 2}, 1, KvTensor::keys, 1), filled({2, 1}, 0, KvTensor::keys, 1), filled({1, 2}, 0, KvTensor::keys, 2)};
  EXPECT_EQ(all.size(), 5u);
}

TEST(Synthesis, PrefixesDifferInTheirFirstBlockEvenWithFewIds) {
  SynthesisOptions options = small_options();
  options.model.vocab = 2;
  options.num_prefixes = 300;
  options.store_block_tokens = 16;
  std::set<std::vector<std::int32_t>> first_blocks;
  for (std::uint32_t prefix = 0; prefix < 300; ++prefix) {
    std::vector<std::int32_t> ids = synthetic_token_ids(options, prefix);
    for (const std::int32_t id : ids) ASSERT_TRUE(id >= 0 && id < 2);
    ids.resize(16);
    first_blocks.insert(ids);
  }
  EXPECT_EQ(first_blocks.size(), 300u);
}

TEST(Synthesis, ImpossibleWishesAreRefusedBeforeAnythingIsWritten) {
  const TemporaryFolder folder;
  const auto refuses = [&](const std::function<void(SynthesisOptions&)>& change, const char* why) {
    SynthesisOptions options = small_options();
    change(options);
    EXPECT_THAT(message_of<ConfigError>([&] { synthesize_store(folder / "store", options); }), HasSubstr(why));
  };
  refuses([](SynthesisOptions& o) { o.num_prefixes = 0; }, "--prefixes");
  refuses([](SynthesisOptions& o) { o.prefix_tokens = 63; }, "0 whole blocks of 64");
  refuses([](SynthesisOptions& o) { o.segments_per_prefix = 4; }, "3 whole blocks");
  refuses([](SynthesisOptions& o) { o.segments_per_prefix = 0; }, "--segments-per-prefix");
  refuses([](SynthesisOptions& o) { o.model.vocab = 1; }, "1 ids");
  refuses([](SynthesisOptions& o) { o.store_block_tokens = 0; }, "--block-tokens");
  refuses(
      [](SynthesisOptions& o) {
        o.prefix_tokens = 1 << 24;
        o.segments_per_prefix = 1;
        o.num_prefixes = 2000;
      },
      "are free");
  EXPECT_FALSE(fs::exists(folder / "store"));
}

}  // namespace
}  // namespace reprefill::engine
