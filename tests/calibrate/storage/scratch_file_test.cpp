#include "calibrate/storage/scratch_file.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "engine/io/storage_kind.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::calibrate {
namespace {

constexpr Bytes kSize{8 << 20};

class ScratchFileTest : public testing::Test {
 protected:
  void SetUp() override {
    if (engine::storage_kind(folder.path()).is_memory) GTEST_SKIP() << "the temporary folder is in memory";
  }
  bool is_empty() const { return std::filesystem::is_empty(folder.path()); }
  test_support::TemporaryFolder folder;
};

TEST_F(ScratchFileTest, HasItsSizeWhileItLivesAndIsGoneAfterwards) {
  double last = 0;
  {
    const ScratchFile file(folder.path(), kSize, [&](double share) {
      EXPECT_GT(share, last);
      last = share;
    });
    EXPECT_EQ(std::filesystem::file_size(file.path()), kSize.value);
    EXPECT_EQ(file.write_rates().empty(), false);
  }
  EXPECT_EQ(last, 1);
  EXPECT_TRUE(is_empty());
}

TEST_F(ScratchFileTest, NoTwoBlocksAreAlikeSoThatADriveCannotFoldThem) {
  const ScratchFile file(folder.path(), kSize, nullptr);
  const std::string text = test_support::read_text(file.path());
  std::set<std::string> blocks;
  for (std::size_t at = 0; at < text.size(); at += 4096) blocks.insert(text.substr(at, 4096));
  EXPECT_EQ(blocks.size(), kSize.value / 4096);
}

TEST_F(ScratchFileTest, AnInterruptedFillLeavesNothing) {
  EXPECT_THROW(ScratchFile(folder.path(), kSize,
                           [](double share) {
                             if (share > 0.4) throw Interrupted();
                           }),
               Interrupted);
  EXPECT_TRUE(is_empty());
}

TEST_F(ScratchFileTest, DirectWritesLeaveNothingInThePageCacheAndBufferedReadsShow) {
  const ScratchFile file(folder.path(), kSize, nullptr);
  EXPECT_LE(file.cached_share(), 0.01);
  test_support::read_text(file.path());  // through the page cache
  EXPECT_GE(file.cached_share(), 0.99);
}

TEST_F(ScratchFileTest, AKilledProgramsFileIsRemovedByTheNextStartAndARunningOnesIsNot) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const ScratchFile file(folder.path(), kSize, nullptr);
    [[maybe_unused]] const ssize_t told = ::write(ready[1], "x", 1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_TRUE(remove_leftovers(folder.path()).empty());
  EXPECT_FALSE(is_empty());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(is_empty());
  EXPECT_EQ(remove_leftovers(folder.path()).size(), 1u);
  EXPECT_TRUE(is_empty());
}

TEST_F(ScratchFileTest, FilesOfOthersAreNeverTouched) {
  test_support::write_text(folder / "notes.txt", "mine");
  std::filesystem::create_directory(folder / ".reprefill-scratch-folder");
  std::filesystem::create_symlink(folder / "notes.txt", folder / ".reprefill-scratch-link");
  EXPECT_TRUE(remove_leftovers(folder.path()).empty());
  EXPECT_EQ(test_support::read_text(folder / "notes.txt"), "mine");
}

}  // namespace
}  // namespace reprefill::calibrate
