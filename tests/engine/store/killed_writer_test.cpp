// A kill, a failing call or a full disk at any moment: what was stored stays, nothing half-written is accepted.
#include <csignal>

#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/store/verify.hpp"
#include "tests/engine/store/store_fixture.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;
using namespace test_support;
using testing::HasSubstr;

std::size_t count_calls(const fs::path& folder) {
  std::size_t calls = 0;
  make_small_store(folder, {.direct = DirectIo::off, .before_call = [&](auto, const auto&) { ++calls; }});
  return calls;
}

void expect_sound_and_complete(const fs::path& folder) {
  EXPECT_TRUE(verify_store(scan_store(folder), Repair::no).damage.empty());
  const Store store = Store::open(folder);
  EXPECT_EQ(store.num_segments(), 2u);
  EXPECT_TRUE(scan_store(folder).leftovers.empty());
}

TEST(KilledWriter, LeavesNothingThatIsAcceptedAtAnyCall) {
  const TemporaryFolder folder;
  const std::size_t calls = count_calls(folder / "whole");
  ASSERT_GT(calls, 40u);
  std::size_t leftovers_seen = 0;
  for (std::size_t call = 0; call < calls; ++call) {
    const fs::path store = folder / fmt::format("store{}", call);
    ASSERT_TRUE(run_and_kill(call, [&](const BeforeCall& before) {
      make_small_store(store, {.direct = DirectIo::off, .before_call = before});
    })) << call;
    if (fs::exists(manifest_path(store))) {
      const StoreScan scan = scan_store(store);
      leftovers_seen += scan.leftovers.size();
      EXPECT_TRUE(scan.problems.empty()) << call << ": " << scan.problems.front().what;
      EXPECT_NO_THROW(Store::open(store)) << call;
      EXPECT_TRUE(verify_store(scan, Repair::no).damage.empty()) << call;
    } else {
      EXPECT_THROW(Store::open(store), ConfigError) << call;
    }
    make_small_store(store);  // the next writer goes on where the killed one was
    expect_sound_and_complete(store);
    fs::remove_all(store);
  }
  EXPECT_GT(leftovers_seen, 20u);
}

TEST(KilledWriter, RemovingIsSafeAtAnyCallToo) {
  const TemporaryFolder folder;
  for (std::size_t call = 0; call < 100; ++call) {
    const fs::path store = folder / fmt::format("store{}", call);
    make_small_store(store);
    const bool finished =
        !run_and_kill(call, [&](const BeforeCall& before) { remove_segments(store, {}, Recursive::no, before); });
    EXPECT_NO_THROW(Store::open(store)) << call;
    EXPECT_TRUE(verify_store(scan_store(store), Repair::no).damage.empty()) << call;
    if (finished) {
      EXPECT_GT(call, 5u);
      EXPECT_EQ(Store::open(store).num_segments(), 0u);
      break;
    }
    ASSERT_LT(call, 99u);
  }
}

TEST(FailingCall, LeavesTheStoreAsItWas) {
  const TemporaryFolder folder;
  const std::size_t calls = count_calls(folder / "whole");
  for (std::size_t fails = 0; fails < calls; ++fails) {
    const fs::path store = folder / fmt::format("store{}", fails);
    std::size_t call = 0;
    const auto fail_once = [&](std::string_view name, const fs::path& path) {
      if (call++ == fails) throw MachineError(fmt::format("{}({}): injected", name, path.string()));
    };
    EXPECT_THAT(
        message_of<MachineError>([&] { make_small_store(store, {.direct = DirectIo::off, .before_call = fail_once}); }),
        HasSubstr("injected"));
    if (fs::exists(manifest_path(store))) {
      const StoreScan scan = scan_store(store);
      EXPECT_TRUE(scan.problems.empty()) << fails;
      EXPECT_TRUE(scan.leftovers.empty()) << fails << ": " << scan.leftovers.front();
    }
    make_small_store(store);
    expect_sound_and_complete(store);
    fs::remove_all(store);
  }
}

/// What SIGKILL cannot show: after a power cut only what was flushed is there.
TEST(DurableOrder, EveryFileAndItsFolderAreFlushedBeforeTheRenameAndTheRenameAfterIt) {
  const TemporaryFolder folder;
  const fs::path store = folder / "store";
  std::vector<std::string> calls;
  make_small_store(store, {.direct = DirectIo::off, .before_call = [&](std::string_view call, const fs::path& path) {
                             calls.push_back(fmt::format("{} {}", call, fs::relative(path, store).string()));
                           }});
  const SegmentKey key = make_segment_key(0x1234, std::nullopt, ids_from(0, 16));
  const std::string partial = "segments/." + key.to_hex() + ".partial";
  const auto position = [&](const std::string& call) {
    const auto found = std::find(calls.begin(), calls.end(), call);
    EXPECT_NE(found, calls.end()) << call;
    return found - calls.begin();
  };
  const auto rename = position("rename segments/" + key.to_hex());
  for (const char* name : {"layer-adjacent-4+ident2.kv", "layer-apart-8+probe0-1.kv"}) {
    const std::string file = partial + "/" + name;
    const auto last_write = calls.rend() - std::find(calls.rbegin(), calls.rend(), "pwrite " + file) - 1;
    EXPECT_LT(last_write, position("fsync " + file));
    EXPECT_LT(position("fsync " + file), position("fsync " + partial));
  }
  EXPECT_LT(position("fsync " + partial), rename);
  EXPECT_EQ(calls[static_cast<std::size_t>(rename) + 1], "fsync segments");
  EXPECT_LT(position("fsync .store.json.partial"), position("rename store.json"));
}

/// Files that may not grow beyond a limit: the same path through the code as a full disk, without one.
TEST(FullDisk, ALimitOnFileSizeIsAMachineErrorThatNamesTheFile) {
  const TemporaryFolder folder;
  const fs::path store = folder / "store";
  ModelGeometry model = small_model();
  const StoreManifest manifest = manifest_of(model, {"layer-apart-8"}, 8);
  StoreWriter writer(store, manifest);
  writer.add_prefix(ids_from(0, 8), source_of(manifest));
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{20000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  const std::string message =
      message_of<MachineError>([&] { writer.add_prefix(ids_from(20, 512), source_of(manifest)); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr("layer-apart-8.kv"));
  EXPECT_EQ(Store::open(store).num_segments(), 1u);
  EXPECT_TRUE(scan_store(store).leftovers.empty());
}

/// A memory file system of a few pages, for as long as the test runs.
class SmallDisk {
 public:
  explicit SmallDisk(const fs::path& path) : path_(path) {
    fs::create_directory(path);
    mounted_ = ::mount("tmpfs", path.c_str(), "tmpfs", 0, "size=256k") == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

 private:
  fs::path path_;
  bool mounted_ = false;
};

TEST(FullDisk, NothingHalfWrittenIsLeftAndWhatWasThereStays) {
  const TemporaryFolder folder;
  const SmallDisk disk(folder / "disk");
  if (!disk.mounted()) GTEST_SKIP() << "mounting a small tmpfs is not permitted here";
  const fs::path store = folder / "disk" / "store";
  const StoreManifest manifest = small_manifest();
  StoreWriter writer(store, manifest);
  writer.add_prefix(ids_from(0, 8), source_of(manifest));
  const std::string message =
      message_of<MachineError>([&] { writer.add_prefix(ids_from(20, 2048), source_of(manifest)); });
  EXPECT_THAT(message, testing::AllOf(HasSubstr("No space left"), HasSubstr(".kv")));
  EXPECT_EQ(Store::open(store).num_segments(), 1u);
  EXPECT_TRUE(scan_store(store).leftovers.empty());
  writer.add_prefix(ids_from(20, 8), source_of(manifest));  // there is room again
  EXPECT_EQ(Store::open(store).num_segments(), 2u);

  SynthesisOptions synthesis{.model = small_model(), .prefix_tokens = 64000, .layouts = manifest.layouts};
  synthesis.store_block_tokens = 8;
  EXPECT_THAT(message_of<ConfigError>([&] { synthesize_store(folder / "disk" / "other", synthesis); }),
              HasSubstr("are free"));
}

}  // namespace
}  // namespace reprefill::engine
