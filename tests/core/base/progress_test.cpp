#include "core/base/progress.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/support/temporary_folder.hpp"

namespace reprefill {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

/// A terminal whose other end the test reads: what the user would see.
class FakeTerminal {
 public:
  FakeTerminal() : user_(posix_openpt(O_RDWR | O_NOCTTY)) {
    if (user_ < 0 || grantpt(user_) != 0 || unlockpt(user_) != 0) return;
    const int program = open(ptsname(user_), O_RDWR | O_NOCTTY);
    if (program < 0) return;
    termios raw{};
    tcgetattr(program, &raw);
    cfmakeraw(&raw);  // else the line discipline turns each line end into two characters
    tcsetattr(program, TCSANOW, &raw);
    program_ = fdopen(program, "w");
  }
  ~FakeTerminal() {
    if (program_ != nullptr) std::fclose(program_);
    if (user_ >= 0) close(user_);
  }
  FakeTerminal(const FakeTerminal&) = delete;
  FakeTerminal& operator=(const FakeTerminal&) = delete;

  bool works() const { return program_ != nullptr; }
  std::FILE* program() const { return program_; }
  /// Until nothing more comes: the kernel may deliver what was written in pieces.
  std::string shown() const {
    std::string text;
    for (pollfd terminal{.fd = user_, .events = POLLIN, .revents = 0}; poll(&terminal, 1, 150) > 0;) {
      char piece[4096];
      const ssize_t count = read(user_, piece, sizeof piece);
      if (count <= 0) break;
      text.append(piece, static_cast<std::size_t>(count));
    }
    return text;
  }

 private:
  int user_ = -1;
  std::FILE* program_ = nullptr;
};

TEST(Progress, WeighsTheTimeLeftByCost) {
  Progress progress("sweep", {1, 1, 8}, ProgressMode::quiet);
  EXPECT_EQ(progress.text(0), "sweep: 0/3 points, 0 %, 0 s");
  progress.done(0);
  progress.done(1);
  EXPECT_EQ(progress.text(10), "sweep: 2/3 points, 20 %, 10 s, about 40 s left");
  progress.done(2);
  EXPECT_EQ(progress.text(50), "sweep: 3/3 points, 100 %, 50 s");
}

TEST(Progress, ItemsWithoutCostCountTheSame) {
  Progress progress("sweep", {0, 0, 0, 0}, ProgressMode::quiet);
  EXPECT_EQ(progress.text(0), "sweep: 0/4 points, 0 %, 0 s");
  progress.done(3);
  EXPECT_EQ(progress.text(2), "sweep: 1/4 points, 25 %, 2 s, about 6 s left");
}

TEST(Progress, AFreeItemAmongCostlyOnesDoesNotMoveTheShare) {
  Progress progress("sweep", {0, 5}, ProgressMode::quiet);
  progress.done(0);
  EXPECT_EQ(progress.text(3), "sweep: 1/2 points, 0 %, 3 s");  // nothing to judge the time left by
}

TEST(Progress, NothingToDoIsDone) {
  const Progress progress("sweep", {}, ProgressMode::quiet);
  EXPECT_EQ(progress.text(0), "sweep: 0/0 points, 100 %, 0 s");
}

TEST(Progress, SaysWhatItCounts) {
  Progress progress("eval", {1, 1}, ProgressMode::quiet, "answers");
  EXPECT_EQ(progress.text(0), "eval: 0/2 answers, 0 %, 0 s");
}

TEST(Progress, TheTimeLeftMovesWithinARunningItem) {
  Progress progress("sweep", {1, 3}, ProgressMode::quiet);
  progress.update(1, 0.5);
  EXPECT_EQ(progress.text(3), "sweep: 0/2 points, 38 %, 3 s, about 5 s left");
  progress.update(1, 0.25);  // never back
  EXPECT_EQ(progress.text(3), "sweep: 0/2 points, 38 %, 3 s, about 5 s left");
  progress.update(1, 7);  // nor above the whole
  EXPECT_EQ(progress.text(6), "sweep: 0/2 points, 75 %, 6 s, about 2 s left");
  progress.done(1);
  EXPECT_EQ(progress.text(6), "sweep: 1/2 points, 75 %, 6 s, about 2 s left") << "counted once";
  progress.done(0);
  EXPECT_EQ(progress.text(8), "sweep: 2/2 points, 100 %, 8 s");
}

TEST(Progress, ManySmallStepsEndAtTheWhole) {
  Progress progress("sweep", std::vector<double>(7, 0.1), ProgressMode::quiet);
  for (std::size_t item = 0; item < 7; ++item) {
    for (int step = 0; step <= 1000; ++step) progress.update(item, step / 1000.0);
    progress.done(item);
  }
  EXPECT_EQ(progress.text(1), "sweep: 7/7 points, 100 %, 1 s");
}

TEST(Progress, LongTimesAreInMinutesAndHours) {
  Progress progress("sweep", {1, 99}, ProgressMode::quiet);
  progress.done(0);
  EXPECT_EQ(progress.text(89), "sweep: 1/2 points, 1 %, 89 s, about 2.4 h left");
  EXPECT_EQ(progress.text(30), "sweep: 1/2 points, 1 %, 30 s, about 50 min left");
}

TEST(Progress, AFileGetsNoRedrawnLines) {
  const test_support::TemporaryFolder folder;
  std::FILE* file = std::fopen((folder / "log").c_str(), "w");
  ASSERT_NE(file, nullptr);
  {
    Progress progress("sweep", std::vector<double>(100, 1.0), ProgressMode::automatic, "points", file);
    for (std::size_t i = 0; i < 100; ++i) progress.done(i);
  }
  std::fclose(file);
  EXPECT_EQ(test_support::read_text(folder / "log"), "");  // its first line is due after ten seconds
}

TEST(Progress, ATerminalKeepsTheLastStateOnALineOfItsOwn) {
  const FakeTerminal terminal;
  if (!terminal.works()) GTEST_SKIP() << "no pseudo-terminal here";
  {
    Progress progress("sweep", {1, 1}, ProgressMode::automatic, "points", terminal.program());
    progress.done(0);
    std::this_thread::sleep_for(std::chrono::milliseconds(110));  // redrawn at most every 100 ms
    progress.done(1);
  }
  const std::string shown = terminal.shown();
  EXPECT_THAT(shown, StartsWith("\r"));
  EXPECT_THAT(shown, HasSubstr("sweep: 2/2 points, 100 %"));
  EXPECT_THAT(shown, EndsWith("\n"));
  EXPECT_EQ(std::count(shown.begin(), shown.end(), '\n'), 1);
}

TEST(Progress, QuietIsQuietOnATerminalToo) {
  const FakeTerminal terminal;
  if (!terminal.works()) GTEST_SKIP() << "no pseudo-terminal here";
  {
    Progress progress("sweep", {1}, ProgressMode::quiet, "points", terminal.program());
    std::this_thread::sleep_for(std::chrono::milliseconds(110));  // a redraw would be due
    progress.done(0);
  }
  EXPECT_EQ(terminal.shown(), "");
}

}  // namespace
}  // namespace reprefill
