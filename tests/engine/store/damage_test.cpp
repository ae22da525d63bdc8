// Any byte that changes, any file that is cut short, missing or from elsewhere is found and named; auxiliary slabs are
// made again.
#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

#include "engine/store/verify.hpp"
#include "tests/engine/store/store_fixture.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;
using namespace test_support;
using testing::HasSubstr;

void flip(const fs::path& path, std::uint64_t offset, unsigned char mask = 0x10) {
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  unsigned char byte = 0;
  ASSERT_EQ(::pread(file, &byte, 1, static_cast<off_t>(offset)), 1);
  byte ^= mask;
  ASSERT_EQ(::pwrite(file, &byte, 1, static_cast<off_t>(offset)), 1);
  ::close(file);
}

/// The smallest store: one segment of one block, files of a few pages.
class Damage : public testing::Test {
 protected:
  Damage() {
    ModelGeometry model = small_model();
    model.num_layers = 2;
    const StoreManifest manifest = manifest_of(model, {"layer-adjacent-4+ident2", "layer-apart-8+probe0-1"}, 8);
    StoreWriter writer(store_, manifest);
    key_ = writer.store().segment(*writer.add_prefix(ids_from(0, 8), source_of(manifest))).key;
  }

  fs::path file(std::size_t layout_idx) const {
    return segment_file(store_, key_, read_manifest(store_).layouts[layout_idx]);
  }
  VerifyReport verify(Repair repair = Repair::no) const { return verify_store(scan_store(store_), repair); }
  std::string first_damage() const {
    const VerifyReport report = verify();
    return report.damage.empty() ? "" : report.damage.front().what;
  }

  TemporaryFolder folder_;
  fs::path store_ = folder_ / "store";
  SegmentKey key_;
};

TEST_F(Damage, ASoundStoreHasNone) {
  const VerifyReport report = verify();
  EXPECT_TRUE(report.is_sound());
  EXPECT_EQ(report.num_files, 2u);
  EXPECT_EQ(report.bytes_read.value, fs::file_size(file(0)) + fs::file_size(file(1)));
}

/// Every byte of one file; of the other, which differs in its slabs only, every third (the test takes seconds).
TEST_F(Damage, EveryByteOfAFileIsWatched) {
  const StoreManifest manifest = read_manifest(store_);
  for (std::size_t layout = 0; layout < 2; ++layout) {
    const std::uint64_t size = fs::file_size(file(layout));
    for (std::uint64_t offset = 0; offset < size; offset += 1 + 2 * layout) {
      flip(file(layout), offset, static_cast<unsigned char>(1u << offset % 8));
      VerifyReport report;
      verify_file(file(layout), manifest, manifest.layouts[layout], key_, Repair::no, report, {}, DirectIo::off);
      ASSERT_EQ(report.damage.size(), 1u) << "byte " << offset << " of " << file(layout);
      ASSERT_THAT(report.damage[0].what, HasSubstr(file(layout).string()));
      flip(file(layout), offset, static_cast<unsigned char>(1u << offset % 8));
    }
  }
  EXPECT_TRUE(verify().is_sound());
}

/// Headers of every layout, and the token ids that the index is built of (those of the first layout).
TEST_F(Damage, OpeningRefusesDamagedHeadersAndTokenIds) {
  for (std::size_t layout = 0; layout < 2; ++layout) {
    for (std::uint64_t offset = 0; offset < kHeaderBytes; offset += 3) {
      flip(file(layout), offset);
      EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(store_); }), HasSubstr(file(layout).string()));
      flip(file(layout), offset);
    }
  }
  const SegmentHeader header = read_header(StoreFile::open_to_read(file(0), DirectIo::off), read_manifest(store_),
                                           layout_named("layer-adjacent-4+ident2"), key_);
  for (std::uint64_t i = 0; i < header.token_ids.bytes.value; i += 5) {
    flip(file(0), header.token_ids.offset + i);
    EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(store_); }), HasSubstr("damaged token ids"));
    flip(file(0), header.token_ids.offset + i);
  }
  EXPECT_NO_THROW(Store::open(store_));
}

TEST_F(Damage, IsNamedByFileSlabAndByteRange) {
  flip(file(0), 4096);
  EXPECT_EQ(first_damage(), file(0).string() + ": damaged payload, K and V of layer 0, bytes 4096 to 8191");
  flip(file(0), 4096);
  flip(file(1), 4 * 4096 + 17);
  EXPECT_EQ(first_damage(), file(1).string() + ": damaged payload, V of layer 1, bytes 16384 to 20479");
  flip(file(1), 4 * 4096 + 17);
  flip(file(0), 3 * 4096 + 4095);
  EXPECT_EQ(first_damage(), file(0).string() + ": damaged identification_keys of layer 0, bytes 12288 to 16383");
}

TEST_F(Damage, ACutFileIsFoundAtEveryLength) {
  const std::string whole = read_text(file(0));
  std::vector<std::size_t> lengths = {0, 1, 100, 4095, 4096, 4097};
  for (std::size_t page = 2; page * 4096 < whole.size(); ++page) {
    lengths.insert(lengths.end(), {page * 4096 - 1, page * 4096, page * 4096 + 1});
  }
  lengths.push_back(whole.size() - 1);
  for (const std::size_t length : lengths) {
    write_text(file(0), whole.substr(0, length));
    EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(store_); }), HasSubstr(file(0).string())) << length;
    EXPECT_FALSE(verify().is_sound()) << length;
  }
  write_text(file(0), whole + '\0');
  EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(store_); }), HasSubstr("its header says"));
}

TEST_F(Damage, AMissingFileIsNamed) {
  fs::remove(file(1));
  EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(store_); }),
              HasSubstr(file(1).string() + ": the file is missing"));
  EXPECT_FALSE(verify().is_sound());
}

TEST_F(Damage, FilesThatDoNotBelongThereAreNamed) {
  write_text(segments_path(store_) / "notes.txt", "x");
  EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(store_); }), HasSubstr("notes.txt"));
  fs::remove(segments_path(store_) / "notes.txt");
  write_text(segment_folder(store_, key_) / "layer-apart-64.kv", "x");
  EXPECT_THAT(first_damage(), HasSubstr("is not a layout that store.json names"));
}

TEST_F(Damage, AFileOfAnotherSegmentOrLayoutIsRefused) {
  const StoreManifest manifest = read_manifest(store_);
  {
    StoreWriter writer(store_, manifest);
    writer.add_prefix(ids_from(20, 8), source_of(manifest));
  }
  const Store store = Store::open(store_);
  const SegmentId other{store.segment(SegmentId{0}).key == key_ ? 1u : 0u};
  const std::string own = read_text(file(0));
  fs::copy_file(store.file_path(other, 0), file(0), fs::copy_options::overwrite_existing);
  EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(store_); }), HasSubstr("not of its folder's"));
  fs::copy_file(file(1), file(0), fs::copy_options::overwrite_existing);
  EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(store_); }), HasSubstr("its name and store.json say"));
  write_text(file(0), own);
  EXPECT_NO_THROW(Store::open(store_));
}

TEST_F(Damage, AuxiliarySlabsAreMadeAgainFromThePayload) {
  const std::string before[] = {read_text(file(0)), read_text(file(1))};
  flip(file(0), 3 * 4096 + 5);     // identification keys of layer 0
  flip(file(1), 5 * 4096 + 40);    // probe keys of layer 0
  flip(file(1), 6 * 4096 + 4000);  // padding of probe keys of layer 1
  EXPECT_EQ(verify().damage.size(), 3u);
  const VerifyReport report = verify(Repair::yes);
  EXPECT_EQ(report.damage.size(), 3u);
  EXPECT_TRUE(report.is_sound()) << "all repaired";
  EXPECT_TRUE(verify().damage.empty());
  EXPECT_EQ(read_text(file(0)), before[0]);
  EXPECT_EQ(read_text(file(1)), before[1]);
}

TEST_F(Damage, DigestsAreNamedAndMadeAgainFromThePayload) {
  const StoreManifest manifest =
      manifest_of(small_model(), {"layer-adjacent-4+ident2int4", "layer-apart-4+ident1minmax4"}, 8);
  const fs::path store = folder_ / "digests";
  StoreWriter(store, manifest).add_prefix(ids_from(0, 16), source_of(manifest));
  const Store opened = Store::open(store);
  for (const std::size_t file_idx : {std::size_t{0}, std::size_t{1}}) {
    const fs::path path = opened.file_path(SegmentId{0}, file_idx);
    const layout::StoreLayout places = manifest.layouts[file_idx].store_layout(small_model());
    const std::string before = read_text(path);
    flip(path, places.payload_end(16) + 5);
    const VerifyReport report = verify_store(scan_store(store), Repair::yes);
    ASSERT_EQ(report.damage.size(), 1u);
    EXPECT_THAT(report.damage[0].what, HasSubstr("damaged digests of layer 0"));
    EXPECT_TRUE(report.is_sound());
    EXPECT_EQ(read_text(path), before);
  }
}

TEST_F(Damage, PayloadAndWhatDependsOnItIsNotRepaired) {
  flip(file(0), 4096 + 3);      // K of layer 0
  flip(file(0), 3 * 4096 + 5);  // identification keys of layer 0
  const std::string before = read_text(file(0));
  const VerifyReport report = verify(Repair::yes);
  EXPECT_EQ(report.damage.size(), 2u);
  EXPECT_FALSE(report.is_sound());
  EXPECT_EQ(read_text(file(0)), before);
}

TEST_F(Damage, DamagedPagesSideBySideAreOneRangePerSlab) {
  ModelGeometry model = small_model();
  model.head_dim = 128;
  const StoreManifest manifest = manifest_of(model, {"layer-apart-8"}, 8);
  const fs::path store = folder_ / "wide";
  StoreWriter writer(store, manifest);
  writer.add_prefix(ids_from(0, 32), source_of(manifest));  // 16 KiB a tensor
  const fs::path path = writer.store().file_path(SegmentId{0}, 0);
  for (const std::uint64_t page : {2u, 3u, 4u, 5u, 6u, 8u}) flip(path, page * 4096);
  const VerifyReport report = verify_store(scan_store(store), Repair::no);
  ASSERT_EQ(report.damage.size(), 3u);
  EXPECT_THAT(report.damage[0].what, HasSubstr("K of layer 0, bytes 8192 to 20479"));
  EXPECT_THAT(report.damage[1].what, HasSubstr("V of layer 0, bytes 20480 to 28671"));
  EXPECT_THAT(report.damage[2].what, HasSubstr("V of layer 0, bytes 32768 to 36863"));
}

TEST_F(Damage, AReadIsVerifiedPageByPage) {
  const StoreManifest manifest = read_manifest(store_);
  const StoreFile opened = StoreFile::open_to_read(file(1), DirectIo::off);
  const PageVerifier pages = PageVerifier::load(opened, manifest, manifest.layouts[1], key_);
  AlignedBuffer buffer(3 * 4096);
  opened.read(2 * 4096, buffer.bytes());
  EXPECT_NO_THROW(pages.check(2 * 4096, buffer.bytes()));
  EXPECT_NO_THROW(pages.check(3 * 4096, buffer.bytes().subspan(4096, 4096)));
  EXPECT_ANY_THROW(pages.check(3 * 4096, buffer.bytes())) << "at another place";
  buffer.data()[4096 + 9] ^= std::byte{1};
  EXPECT_THAT(message_of<StoreDamage>([&] { pages.check(2 * 4096, buffer.bytes()); }),
              HasSubstr("damaged payload, K of layer 1, bytes 12288 to 16383"));
}

TEST_F(Damage, EveryByteOfStoreJsonMattersOrIsBlank) {
  const std::string whole = read_text(store_ / "store.json");
  for (std::size_t i = 0; i < whole.size(); ++i) {
    if (whole[i] == ' ' || whole[i] == '\n') continue;
    std::string text = whole;
    text[i] = static_cast<char>(text[i] ^ 1);
    const auto parse = [&] { parse_manifest(text, "store.json"); };
    EXPECT_ANY_THROW(parse()) << i << ": " << whole.substr(i, 10);
  }
  for (std::size_t length = 0; length + 2 < whole.size(); length += 7) {
    const auto parse = [&] { parse_manifest(whole.substr(0, length), "store.json"); };
    EXPECT_THROW(parse(), ConfigError) << length;
  }
}

TEST_F(Damage, AStoreOfANewerVersionIsRefusedWithBothVersions) {
  std::string text = read_text(store_ / "store.json");
  const std::size_t at = text.find("1,", text.find("format_version"));
  text.replace(at, 1, "2");
  write_text(store_ / "store.json", text);
  EXPECT_THAT(message_of<ConfigError>([&] { Store::open(store_); }),
              testing::AllOf(HasSubstr("format version 2"), HasSubstr("reads version 1")));
}

TEST_F(Damage, AFileOfANewerVersionIsReported) {
  flip(file(0), 12, 3);  // 1 becomes 2
  EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(store_); }), HasSubstr("format version 2.2"));
  EXPECT_FALSE(verify().is_sound());
}

TEST_F(Damage, NoStoreAndAnotherModelsStoreAreTheUsersToChange) {
  EXPECT_THAT(message_of<ConfigError>([&] { Store::open(folder_.path()); }), HasSubstr("is not a store"));
  StoreModel model = read_manifest(store_).model;
  EXPECT_NO_THROW(Store::open(store_, &model));
  model.fingerprint ^= 1;
  EXPECT_THAT(message_of<ConfigError>([&] { Store::open(store_, &model); }), HasSubstr("fingerprint"));
  model.fingerprint ^= 1;
  model.geometry.num_layers = 28;
  EXPECT_THAT(message_of<ConfigError>([&] { Store::open(store_, &model); }),
              testing::AllOf(HasSubstr("2 layers"), HasSubstr("28 layers")));
}

TEST_F(Damage, ASegmentOfAnotherModelInTheFolderIsRefused) {
  const fs::path other = folder_ / "other";
  StoreManifest manifest = read_manifest(store_);
  manifest.model.fingerprint = 99;
  StoreWriter writer(other, manifest);
  writer.add_prefix(ids_from(20, 8), source_of(manifest));
  const SegmentKey key = writer.store().segment(SegmentId{0}).key;
  fs::copy(segment_folder(other, key), segment_folder(store_, key), fs::copy_options::recursive);
  EXPECT_THAT(message_of<StoreDamage>([&] { Store::open(store_); }), HasSubstr("fingerprint"));
}

}  // namespace
}  // namespace reprefill::engine
