#include "calibrate/storage/guard.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

TEST(StorageSite, ANetworkFileSystemIsRefusedByName) {
  const auto refused = [] {
    require_drive("/mnt/shared", {.file_system = "nfs", .is_memory = false, .is_remote = true});
  };
  EXPECT_THAT(refused, ThrowsMessage<ConfigError>(
                           HasSubstr("--storage: /mnt/shared is on nfs, a network file system: expected a folder")));
  require_drive("/data", {.file_system = "xfs"});
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

TEST_F(OnADisk, TheDiskOfTheOperatingSystemIsTakenWithAWarning) {
  const StorageSite site = inspect_site(folder.path(), Bytes{64 * kMiB});
  const auto warned = testing::Contains(HasSubstr("on the disk of the operating system"));
  if (site.device.is_system_disk) {
    EXPECT_THAT(site.warnings, warned);
  } else {
    EXPECT_THAT(site.warnings, testing::Not(warned));
  }
}

/// What `inspect_site` says where opening with O_DIRECT is refused as by a file system that lacks it: in a child whose
/// kernel calls are filtered. Nullopt where that cannot be done.
std::optional<std::string> refusal_without_direct_io(const std::filesystem::path& folder) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    sock_filter no_direct_io[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_openat, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 2 * sizeof(std::uint64_t)),  // flags
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_DIRECT, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{std::size(no_direct_io), no_direct_io};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
      ::_exit(77);
    }
    std::string message = "accepted";
    try {
      inspect_site(folder, Bytes{64 * kMiB});
    } catch (const ConfigError& error) {
      message = error.what();
    }
    const auto written = ::write(ends[1], message.data(), message.size());
    ::_exit(written == static_cast<ssize_t>(message.size()) ? 0 : 1);
  }
  ::close(ends[1]);
  char text[4096];
  const ssize_t size = ::read(ends[0], text, sizeof text);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) == 77) return std::nullopt;
  return std::string(text, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
}

TEST_F(OnADisk, AFileSystemWithoutDirectIoIsRefusedAndNothingIsLeft) {
  const std::optional<std::string> message = refusal_without_direct_io(folder.path());
  if (!message) GTEST_SKIP() << "kernel calls cannot be filtered here";
  EXPECT_THAT(*message, HasSubstr("has no O_DIRECT"));
  EXPECT_THAT(*message, HasSubstr("ext4, xfs or btrfs"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
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
