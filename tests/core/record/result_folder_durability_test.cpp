// What reaches the disk, and in which order: fsync is interposed and says what it was called for.
#include "core/record/result_folder.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/temporary_folder.hpp"

namespace {

/// Whether the journal was in a folder when that folder was synced; -1: no folder was.
int journal_at_last_folder_sync = -1;

}  // namespace

// The program's own symbol wins over the C library's.
extern "C" int fsync(int file) {
  struct stat status {};
  if (fstat(file, &status) == 0 && S_ISDIR(status.st_mode)) {
    journal_at_last_folder_sync = faccessat(file, "journal.jsonl", F_OK, 0) == 0 ? 1 : 0;
  }
  return static_cast<int>(syscall(SYS_fsync, file));
}

namespace reprefill::record {
namespace {

using test_support::TemporaryFolder;

TEST(DurableResultFolder, SyncsTheJournalsNameOnceItIsThere) {
  const TemporaryFolder folder;
  journal_at_last_folder_sync = -1;
  ResultFolder results(folder / "r", {{"seed", 1}}, ResultFolder::Mode::fresh);
  EXPECT_EQ(journal_at_last_folder_sync, 1) << "after a power cut the rows would lie in a file without a name";
}

TEST(DurableResultFolder, SyncsTheNameOfAReplacedJournalToo) {
  const TemporaryFolder folder;
  { ResultFolder(folder / "r", {{"seed", 1}}, ResultFolder::Mode::fresh).append_row(0, "h", {{"x", 1}}); }
  journal_at_last_folder_sync = -1;
  ResultFolder results(folder / "r", {{"seed", 2}}, ResultFolder::Mode::replace);
  EXPECT_EQ(journal_at_last_folder_sync, 1);
}

}  // namespace
}  // namespace reprefill::record
