#include "calibrate/storage/guard.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace reprefill::calibrate
