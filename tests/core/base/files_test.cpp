#include "core/base/files.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "core/base/error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill {
namespace {

using test_support::read_text;
using test_support::TemporaryFolder;
using test_support::write_text;

std::size_t entries_of(const std::filesystem::path& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

TEST(ReadWholeFile, GivesEveryByteAtTheSizesWhereBuffersEnd) {
  const TemporaryFolder folder;
  for (const std::size_t size : {0, 1, 65535, 65536, 65537, 300'000}) {
    std::string text(size, 'a');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 % 256);
    write_text(folder / "f", text);
    EXPECT_EQ(read_whole_file(folder / "f", 0).text(), text) << size;
    const FileContents padded = read_whole_file(folder / "f", 64);
    EXPECT_EQ(padded.text(), text);
    EXPECT_EQ(std::string_view(padded.bytes.get() + size, 64), std::string(64, '\0'));
  }
}

TEST(ReadWholeFile, ReadsAPipeWhoseSizeNobodyKnows) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  const std::string text(200'000, 'p');
  const std::jthread writer([&] { write_text(folder / "pipe", text); });
  EXPECT_EQ(read_whole_file(folder / "pipe", 8).text(), text);
}

TEST(ReadWholeFile, AMissingFileOrAFolderIsTheUsersToFix) {
  const TemporaryFolder folder;
  EXPECT_THROW(read_whole_file(folder / "missing", 0), ConfigError);
  EXPECT_THROW(read_whole_file(folder.path(), 0), ConfigError);
}

TEST(WriteFileAtomically, ReplacesAFileAndLeavesNothingElse) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "first, and longer");
  write_file_atomically(folder / "f", "second");
  EXPECT_EQ(read_text(folder / "f"), "second");
  EXPECT_EQ(entries_of(folder.path()), 1u);
}

TEST(WriteFileAtomically, OnAFullDiskTheOldFileStaysWhole) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "old");
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 1000, .rlim_max = limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_THROW(write_file_atomically(folder / "f", std::string(5000, 'x')), MachineError);
  setrlimit(RLIMIT_FSIZE, &limit);
  signal(SIGXFSZ, handler);
  EXPECT_EQ(read_text(folder / "f"), "old");
  EXPECT_EQ(entries_of(folder.path()), 1u);
}

TEST(WriteFileAtomically, AMissingFolderOrAFolderInTheWayIsTheUsersToFix) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "inner");
  EXPECT_THROW(write_file_atomically(folder / "missing" / "f", "x"), ConfigError);
  EXPECT_THROW(write_file_atomically(folder / "inner", "x"), ConfigError);
  EXPECT_EQ(entries_of(folder.path()), 1u);
}

TEST(WriteFileAtomically, AReaderNeverSeesHalfAFile) {
  const TemporaryFolder folder;
  const std::string a(100'000, 'a'), b(50'000, 'b');
  write_file_atomically(folder / "f", a);
  std::jthread writer([&](std::stop_token stop) {
    for (int i = 0; !stop.stop_requested(); ++i) write_file_atomically(folder / "f", i % 2 == 0 ? b : a);
  });
  for (int i = 0; i < 200; ++i) {
    const std::string text(read_whole_file(folder / "f", 0).text());
    ASSERT_TRUE(text == a || text == b) << text.size();
  }
}

TEST(PathExists, IsFalseForNamesThatCannotBe) {
  const test_support::TemporaryFolder folder;
  EXPECT_TRUE(path_exists(folder.path()));
  EXPECT_TRUE(folder_exists(folder.path()));
  EXPECT_FALSE(path_exists(folder / "none"));
  EXPECT_FALSE(path_exists(folder / std::string(5000, 'x')));
  EXPECT_FALSE(folder_exists(folder / std::string(5000, 'x')));
}

}  // namespace
}  // namespace reprefill
