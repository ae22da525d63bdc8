#include "calibrate/storage/guard.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <fstream>

#include "calibrate/storage/scratch_file.hpp"
#include "core/base/error.hpp"
#include "engine/io/storage_kind.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::calibrate {
namespace {

using test_support::TemporaryFolder;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kGiB = 1 << 30;

TEST(DefaultSpan, IsAQuarterOfTheFreeSpaceUpTo64GiB) {
  EXPECT_EQ(default_span(Bytes{8 * kGiB}), Bytes{2 * kGiB});
  EXPECT_EQ(default_span(Bytes{256 * kGiB}), Bytes{64 * kGiB});
  EXPECT_EQ(default_span(Bytes{1024 * kGiB}), Bytes{64 * kGiB});
  EXPECT_EQ(default_span(Bytes{7 * kMiB}), Bytes{kMiB});  // whole MiB
}

TEST(StorageSite, AFolderThatIsNotThereIsRefused) {
  EXPECT_THAT([] { inspect_site("/nowhere/at/all", std::nullopt); },
              ThrowsMessage<ConfigError>(HasSubstr("expected an existing folder")));
}

TEST(StorageSite, AMemoryFileSystemIsRefusedByName) {
  if (!std::filesystem::exists("/dev/shm") || !engine::storage_kind("/dev/shm").is_memory) GTEST_SKIP() << "no tmpfs";
  EXPECT_THAT([] { inspect_site("/dev/shm", std::nullopt); }, ThrowsMessage<ConfigError>(HasSubstr("tmpfs, a memory")));
}

class OnADisk : public testing::Test {
 protected:
  void SetUp() override {
    if (engine::storage_kind(folder.path()).is_memory) GTEST_SKIP() << "the temporary folder is in memory";
  }
  TemporaryFolder folder;
};

TEST_F(OnADisk, ASpanThatWouldFillTheDiskIsRefusedWithTheNumbers) {
  const Bytes free{std::filesystem::space(folder.path()).available};
  EXPECT_THAT([&] { inspect_site(folder.path(), free); },
              ThrowsMessage<ConfigError>(HasSubstr("would not leave a tenth")));
}

TEST_F(OnADisk, ASpanBelow64MiBIsRefused) {
  EXPECT_THAT([&] { inspect_site(folder.path(), Bytes{63 * kMiB}); },
              ThrowsMessage<ConfigError>(HasSubstr("--span: found 66060288 bytes; expected at least 64 MiB")));
}

TEST_F(OnADisk, ASmallSpanIsTakenWithAWarning) {
  const StorageSite site = inspect_site(folder.path(), Bytes{64 * kMiB + 5});
  EXPECT_EQ(site.span, Bytes{64 * kMiB});
  EXPECT_THAT(site.warnings, testing::Contains(HasSubstr("mapping cache")));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));  // looking leaves nothing behind
}

/// Allocated, not only long: what counts is what removal gives back.
std::filesystem::path write_scratch(const std::filesystem::path& folder, std::size_t bytes) {
  const std::filesystem::path path = folder / ".reprefill-scratch-1";
  std::ofstream(path, std::ios::binary) << std::string(bytes, 'x');
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  EXPECT_EQ(::fsync(file), 0);
  ::close(file);
  return path;
}

TEST_F(OnADisk, WhatAKilledCalibrationLeftCountsAsFreeAndIsNotTouchedByLooking) {
  EXPECT_EQ(leftover_bytes(folder.path()), Bytes{0});
  const std::filesystem::path left = write_scratch(folder.path(), 8 * kMiB);
  EXPECT_GE(leftover_bytes(folder.path()), Bytes{8 * kMiB});
  EXPECT_LT(leftover_bytes(folder.path()), Bytes{9 * kMiB});
  inspect_site(folder.path(), Bytes{64 * kMiB});
  EXPECT_TRUE(std::filesystem::exists(left));
}

TEST_F(OnADisk, TheScratchFileOfARunningCalibrationIsNotCountedAsFree) {
  const std::filesystem::path path = write_scratch(folder.path(), kMiB);
  const int owner = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::flock(owner, LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(leftover_bytes(folder.path()), Bytes{0});
  ::close(owner);
  EXPECT_GE(leftover_bytes(folder.path()), Bytes{kMiB});
}

TEST(StorageSite, AMemoryFileSystemIsToldWhatIsExpectedInstead) {
  if (!std::filesystem::exists("/dev/shm") || !engine::storage_kind("/dev/shm").is_memory) GTEST_SKIP() << "no tmpfs";
  EXPECT_THAT([] { inspect_site("/dev/shm", Bytes{64 * kMiB}); },
              ThrowsMessage<ConfigError>(HasSubstr("expected a folder on a drive of this machine")));
}

}  // namespace
}  // namespace reprefill::calibrate
