// What a result folder survives: kills at any moment, torn and damaged journals, a full disk, refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <random>
#include <sstream>
#include <thread>

#include "core/record/result_folder.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::record {
namespace {

using test_support::read_text;
using test_support::TemporaryFolder;
using test_support::write_text;
using testing::HasSubstr;
using Mode = ResultFolder::Mode;

const Json kInputs = {{"seed", 1}};

/// Rows of many lengths, with what JSON text can get wrong: quotes, line ends, the ends of double and of 64 bits.
Json row_of(std::size_t point) {
  return {{"point", point},
          {"text", std::string(point * 37 % 900, 'x') + "\"\n\\,"},
          {"ttft", {{"mean_ms", 0.1 * static_cast<double>(point)}, {"tiny", 5e-324}, {"bytes", ~0ull - point}}}};
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const ConfigError& error) {
    return std::string("input: ") + error.what();
  } catch (const MachineError& error) {
    return std::string("machine: ") + error.what();
  }
  return "none";
}

void append_points(const std::filesystem::path& path, Mode mode, std::size_t count) {
  ResultFolder folder(path, kInputs, mode);
  for (std::size_t point = 0; point < count; ++point) {
    if (folder.row(point) == nullptr) folder.append_row(point, "hash", row_of(point));
  }
}

/// Lowers the largest size of a file that this process may write: the full disk of an unprivileged test.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    old_action_ = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old_limit_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = old_limit_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_limit_);
    signal(SIGXFSZ, old_action_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit old_limit_{};
  void (*old_action_)(int) = nullptr;
};

class CrashedResultFolder : public testing::Test {
 protected:
  std::filesystem::path path() const { return temporary_ / "r"; }
  std::string journal() const { return read_text(path() / "journal.jsonl"); }
  void set_journal(const std::string& text) const { write_text(path() / "journal.jsonl", text); }
  TemporaryFolder temporary_;
};

TEST_F(CrashedResultFolder, ProcessesKilledAtRandomMomentsLoseNoRowThatWasAcknowledgedAndRepeatNone) {
  constexpr std::size_t kPoints = 400;
  std::mt19937 random(7);
  std::size_t acknowledged = 0;
  std::size_t kills_while_writing = 0;
  for (int round = 0; round < 40 && acknowledged < kPoints; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ResultFolder folder(path(), kInputs, Mode::resume);
      for (std::size_t point = 0; point < kPoints; ++point) {
        if (folder.row(point) != nullptr) continue;
        folder.append_row(point, "hash", row_of(point));
        if (write(pipe_ends[1], "", 1) != 1) _exit(1);
      }
      _exit(0);
    }
    close(pipe_ends[1]);
    std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution<>(0, 60'000)(random)));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    char byte = 0;
    while (read(pipe_ends[0], &byte, 1) == 1) ++acknowledged;
    close(pipe_ends[0]);
    if (WIFSIGNALED(status) && acknowledged > 0) ++kills_while_writing;
    // Every row that append_row returned for is there, in whatever state the kill left the file.
    const std::string text = journal();
    EXPECT_GE(static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')), acknowledged);
  }
  EXPECT_GT(kills_while_writing, 0u);
  append_points(path(), Mode::resume, kPoints);
  std::map<std::size_t, int> times_done;
  std::istringstream lines(journal());
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line);
    const auto point = json["point"].get<std::size_t>();
    ++times_done[point];
    EXPECT_EQ(json["row"], Json::parse(row_of(point).dump()));
  }
  EXPECT_EQ(times_done.size(), kPoints);
  for (const auto& [point, times] : times_done) EXPECT_EQ(times, 1) << "point " << point;
}

TEST_F(CrashedResultFolder, AJournalCutAtAnyByteGoesOnAfterItsLastWholeLine) {
  append_points(path(), Mode::fresh, 4);
  const std::string whole = journal();
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    set_journal(whole.substr(0, size));
    const std::string kept = whole.substr(0, size);
    const auto rows_kept = static_cast<std::size_t>(std::count(kept.begin(), kept.end(), '\n'));
    {
      const ResultFolder folder(path(), kInputs, Mode::resume);
      for (std::size_t point = 0; point < 4; ++point) EXPECT_EQ(folder.row(point) != nullptr, point < rows_kept);
    }
    ASSERT_EQ(journal(), whole.substr(0, kept.rfind('\n') + 1)) << "cut at byte " << size;
    if (size % 64 != 0) continue;  // each row appended waits for the disk
    append_points(path(), Mode::resume, 4);
    ASSERT_EQ(journal(), whole) << "cut at byte " << size;
  }
}

TEST_F(CrashedResultFolder, ADamagedLineInTheMiddleIsRefusedByItsNumberAndTheFileLeftAlone) {
  append_points(path(), Mode::fresh, 3);
  std::string text = journal();
  const std::size_t second = text.find('\n') + 1;
  text[text.find("xxx", second)] = 'y';
  set_journal(text);
  EXPECT_THAT(error_of([&] { ResultFolder(path(), kInputs, Mode::resume); }),
              testing::AllOf(HasSubstr("input: "), HasSubstr("journal.jsonl"), HasSubstr("line 2")));
  EXPECT_EQ(journal(), text);
}

TEST_F(CrashedResultFolder, ADeeplyNestedJournalLineIsDamageAndNoStackOverflow) {
  append_points(path(), Mode::fresh, 1);
  const std::string deep = "{\"point\":0,\"inputs\":\"h\",\"checksum\":\"0\",\"row\":" + std::string(1'000'000, '[') +
                           std::string(1'000'000, ']') + "}\n";
  set_journal(deep + journal());
  EXPECT_THAT(error_of([&] { ResultFolder(path(), kInputs, Mode::resume); }), HasSubstr("line 1"));
}

TEST_F(CrashedResultFolder, AFolderInUseNamesTheProcessAndIsFreeAgainOnceThatIsKilled) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const ResultFolder folder(path(), kInputs, Mode::fresh);
    if (write(pipe_ends[1], "", 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(pipe_ends[0], &byte, 1), 1);
  EXPECT_THAT(
      error_of([&] { ResultFolder(path(), kInputs, Mode::resume); }),
      testing::AllOf(HasSubstr("input: "), HasSubstr("in use by another sweep (pid " + std::to_string(child) + ")")));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(error_of([&] { ResultFolder(path(), kInputs, Mode::resume); }), "none");
  EXPECT_EQ(read_text(path() / ".lock"), std::to_string(getpid()));  // not what is left of a longer number
  for (const int end : pipe_ends) close(end);
}

TEST_F(CrashedResultFolder, ARefusedFolderIsUnlockedAgain) {
  append_points(path(), Mode::fresh, 1);
  EXPECT_THAT(error_of([&] { ResultFolder(path(), kInputs, Mode::fresh); }), HasSubstr("--resume"));
  EXPECT_EQ(error_of([&] { ResultFolder(path(), kInputs, Mode::resume); }), "none");
}

TEST_F(CrashedResultFolder, ResultsWithoutAJournalAreResultsToo) {
  for (const char* file : {"results.jsonl", "results.csv", "summary.json"}) {
    const auto folder = temporary_ / (std::string("only-") + file);
    std::filesystem::create_directories(folder);
    write_text(folder / file, "old\n");
    EXPECT_THAT(error_of([&] { ResultFolder(folder, kInputs, Mode::fresh); }), HasSubstr("input: ")) << file;
    EXPECT_EQ(read_text(folder / file), "old\n");
  }
}

TEST_F(CrashedResultFolder, AListThatGrewIsNamedWithItsNewElement) {
  EXPECT_EQ(first_difference({{"axes", {1, 2}}}, {{"axes", {1, 2, 3}}}), "/axes/2 was absent and is 3");
  EXPECT_EQ(first_difference({{"axes", {1, 2, 3}}}, {{"axes", {1, 2}}}), "/axes/2 was 3 and is absent");
  EXPECT_EQ(first_difference({{"a/b", {{"~", 1}}}}, {{"a/b", {{"~", 2}}}}), "/a~1b/~0 was 1 and is 2");
}

TEST_F(CrashedResultFolder, AFullDiskIsAMachineErrorAndTheRowsBeforeItAreKept) {
  std::size_t kept = 0;
  {
    ResultFolder folder(path(), kInputs, Mode::fresh);
    const FileSizeLimit full(4096);
    const std::string error = error_of([&] {
      for (;; ++kept) folder.append_row(kept, "hash", row_of(kept));
    });
    EXPECT_THAT(error, testing::AllOf(HasSubstr("machine: "), HasSubstr("journal.jsonl")));
    EXPECT_EQ(folder.row(kept), nullptr);
  }
  ASSERT_GT(kept, 0u);
  const ResultFolder folder(path(), kInputs, Mode::resume);
  EXPECT_NE(folder.row(kept - 1), nullptr);
  EXPECT_EQ(folder.row(kept), nullptr);
}

// Other threads finish their points after one met the full disk, and by then there may be room again.
TEST_F(CrashedResultFolder, ARowAfterAFailedOneDoesNotContinueItsTornLine) {
  std::size_t kept = 0;
  {
    ResultFolder folder(path(), kInputs, Mode::fresh);
    {
      const FileSizeLimit full(4096);
      error_of([&] {
        for (;; ++kept) folder.append_row(kept, "hash", row_of(kept));
      });
    }
    folder.append_row(100, "hash", row_of(100));
  }
  const std::string error = error_of([&] {
    const ResultFolder folder(path(), kInputs, Mode::resume);
    EXPECT_NE(folder.row(kept - 1), nullptr);
    EXPECT_NE(folder.row(100), nullptr);
  });
  EXPECT_EQ(error, "none");
}

TEST_F(CrashedResultFolder, AFullDiskAtTheEndLeavesNoHalfFiles) {
  ResultFolder folder(path(), kInputs, Mode::fresh);
  std::vector<Json> rows;
  for (std::size_t point = 0; point < 50; ++point) rows.push_back(row_of(point));
  {
    const FileSizeLimit full(4096);
    EXPECT_THAT(error_of([&] { folder.finish(rows, Json::object(), Json::object()); }), HasSubstr("machine: "));
  }
  for (const auto& entry : std::filesystem::directory_iterator(path())) {
    EXPECT_THAT((std::vector<std::string>{".lock", "journal.jsonl", "resolved.json"}),
                testing::Contains(entry.path().filename().string()));
  }
}

TEST_F(CrashedResultFolder, FilesAreTheSameBytesInWhateverOrderThreadsFinish) {
  constexpr std::size_t kPoints = 64;
  std::map<std::string, std::string> expected;
  for (unsigned seed = 0; seed < 4; ++seed) {
    const auto place = temporary_ / std::to_string(seed);
    ResultFolder folder(place, kInputs, Mode::fresh);
    std::vector<std::size_t> order(kPoints);
    for (std::size_t i = 0; i < kPoints; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    {
      std::vector<std::jthread> threads;
      for (std::size_t thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&, thread] {
          for (std::size_t i = thread; i < kPoints; i += 4) folder.append_row(order[i], "hash", row_of(order[i]));
        });
      }
    }
    std::vector<Json> rows;
    for (std::size_t point = 0; point < kPoints; ++point) rows.push_back(*folder.row(point));
    folder.finish(rows, {{"points", kPoints}}, {{"wall_s", 1}});
    for (const char* file : {"results.jsonl", "results.csv", "summary.json", "resolved.json"}) {
      const std::string text = read_text(place / file);
      EXPECT_FALSE(text.empty());
      EXPECT_EQ(expected.try_emplace(file, text).first->second, text) << file;
    }
  }
}

TEST_F(CrashedResultFolder, APathThatIsAFileOrThatMayNotBeWrittenIsTheUsersToFix) {
  write_text(path(), "x");
  EXPECT_THAT(error_of([&] { ResultFolder(path(), kInputs, Mode::fresh); }), HasSubstr("input: "));
  EXPECT_THAT(error_of([&] { ResultFolder("/proc/nothing", kInputs, Mode::fresh); }), HasSubstr("input: "));
}

}  // namespace
}  // namespace reprefill::record
