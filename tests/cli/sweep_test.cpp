// The main job: same bytes on any number of threads, nothing lost or repeated when killed, folders guarded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>

#include <chrono>
#include <map>
#include <thread>

#include "tests/cli/sweep_fixture.hpp"

namespace reprefill {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST_F(Sweep, GivesTheSameBytesOnAnyNumberOfThreads) {
  ASSERT_EQ(sweep("one", "--jobs 1").exit_code, 0);
  ASSERT_EQ(sweep("four", "--jobs 4").exit_code, 0);
  for (const char* file : {"/results.jsonl", "/results.csv", "/summary.json", "/resolved.json"}) {
    const std::string one = read_text(out("one") + file);
    EXPECT_FALSE(one.empty());
    EXPECT_EQ(one, read_text(out("four") + file)) << file;
  }
}

TEST_F(Sweep, UsesTheCoresThatItMayUse) {
  cpu_set_t before;
  if (sched_getaffinity(0, sizeof before, &before) != 0) GTEST_SKIP() << "a machine of more than 1,024 cores";
  int some_core = 0;
  while (!CPU_ISSET(some_core, &before)) ++some_core;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(some_core, &one);
  sched_setaffinity(0, sizeof one, &one);  // the program inherits it
  const ProgramResult result = sweep("a");
  sched_setaffinity(0, sizeof before, &before);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(Json::parse(read_text(out("a") + "/run.json"))["jobs"], 1);
}

TEST_F(Sweep, SaysThatThereIsNoP95AndWhatDependsOnTiming) {
  const ProgramResult alone = sweep("alone");
  ASSERT_EQ(alone.exit_code, 0) << alone.output;
  EXPECT_THAT(alone.output, AllOf(HasSubstr("P95 is not given"), Not(HasSubstr("P95 ms")), Not(HasSubstr("~"))));
  const ProgramResult several = sweep("several", "--set workload.in_flight=2");
  ASSERT_EQ(several.exit_code, 0) << several.output;
  EXPECT_THAT(several.output,
              AllOf(HasSubstr("P95 ms"), Not(HasSubstr("not given")), HasSubstr("~ bytes and cache decisions")));
}

TEST_F(Sweep, ResultsHoldNoDatesPathsOrHostNames) {
  ASSERT_EQ(sweep("a").exit_code, 0);
  const std::string rows = read_text(out("a") + "/results.jsonl");
  EXPECT_EQ(rows.find(folder_.path().string()), std::string::npos);
  EXPECT_EQ(rows.find("wall"), std::string::npos);
}

TEST_F(Sweep, RefusesAFolderWithResultsUnlessToldToResumeOrReplace) {
  ASSERT_EQ(sweep("a").exit_code, 0);
  const ProgramResult again = sweep("a");
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.output, HasSubstr("--resume"));
  EXPECT_EQ(sweep("a", "--force").exit_code, 0);
  EXPECT_EQ(sweep("a", "--resume").exit_code, 0);
}

TEST_F(Sweep, ResumingWithOtherInputsNamesTheKeyThatDiffers) {
  ASSERT_EQ(sweep("a").exit_code, 0);
  const ProgramResult result = sweep("a", "--resume --set seed=7");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("seed"));
}

TEST_F(Sweep, AFolderInUseIsRefused) {
  std::filesystem::create_directories(out("a"));
  const int lock = open((out("a") + "/.lock").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_EQ(flock(lock, LOCK_EX), 0);
  const ProgramResult result = sweep("a");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("in use"));
  close(lock);
  EXPECT_EQ(sweep("a").exit_code, 0);
}

TEST_F(Sweep, AFileOrAnUnwritableFolderIsRefused) {
  write_text(folder_ / "file", "x");
  EXPECT_EQ(sweep("file").exit_code, 2);
  EXPECT_EQ(run_program("sweep " + scenario() + " --quiet --out /proc/nothing").exit_code, 2);
}

TEST_F(Sweep, AFullDiskLeavesNothingThatLooksWhole) {
  // A limit on file sizes is the full disk that an unprivileged test can make; SIGXFSZ is ignored so that write fails.
  const ProgramResult result = [&] {
    const std::string command = "sh -c 'trap \"\" XFSZ; ulimit -f 16; exec " + std::string(REPREFILL_PROGRAM) +
                                " sweep " + scenario() + " --quiet --out " + out("a") + "' 2>&1; echo exit=$?";
    ProgramResult shell;
    std::FILE* pipe = popen(command.c_str(), "r");
    std::array<char, 4096> buffer;
    for (std::size_t count; (count = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
      shell.output.append(buffer.data(), count);
    pclose(pipe);
    return shell;
  }();
  EXPECT_THAT(result.output, HasSubstr("exit=3"));
  EXPECT_FALSE(std::filesystem::exists(out("a") + "/results.jsonl"));
  EXPECT_FALSE(std::filesystem::exists(out("a") + "/summary.json"));
}

/// Starts a sweep in a child process that this test may kill.
pid_t start_sweep(const std::string& scenario, const std::string& out, bool resume) {
  const pid_t child = fork();
  if (child == 0) {
    const int null = open("/dev/null", O_WRONLY);
    dup2(null, 1);
    dup2(null, 2);
    execl(REPREFILL_PROGRAM, REPREFILL_PROGRAM, "sweep", scenario.c_str(), "--quiet", "--jobs", "2", "--out",
          out.c_str(), resume ? "--resume" : "--quiet", nullptr);
    _exit(127);
  }
  return child;
}

TEST_F(Sweep, KilledAtAnyMomentItGoesOnWithNothingLostOrRepeated) {
  write_scenario(small_sweep(150));
  ASSERT_EQ(sweep("whole").exit_code, 0);
  for (int delay_ms = 20; delay_ms < 600; delay_ms += 60) {
    const pid_t child =
        start_sweep(scenario(), out("killed"), std::filesystem::exists(out("killed") + "/journal.jsonl"));
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  const ProgramResult rest =
      sweep("killed", std::filesystem::exists(out("killed") + "/journal.jsonl") ? "--resume" : "");
  ASSERT_EQ(rest.exit_code, 0) << rest.output;
  EXPECT_EQ(read_text(out("killed") + "/results.jsonl"), read_text(out("whole") + "/results.jsonl"));
  std::map<std::string, int> times_done;
  std::istringstream journal(read_text(out("killed") + "/journal.jsonl"));
  for (std::string line; std::getline(journal, line);) ++times_done[Json::parse(line)["point"].dump()];
  for (const auto& [point, times] : times_done) EXPECT_EQ(times, 1) << "point " << point;
}

TEST_F(Sweep, CtrlCStopsCleanlyAndKeepsFinishedRows) {
  write_scenario(small_sweep(3000));
  const pid_t child = start_sweep(scenario(), out("a"), false);
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  kill(child, SIGINT);
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
  EXPECT_FALSE(std::filesystem::exists(out("a") + "/results.jsonl"));
  EXPECT_TRUE(std::filesystem::exists(out("a") + "/journal.jsonl"));
}

TEST_F(Sweep, ADamagedJournalLineIsRefusedAndATornLastLineDropped) {
  ASSERT_EQ(sweep("a").exit_code, 0);
  const std::string journal = read_text(out("a") + "/journal.jsonl");
  const std::string results = read_text(out("a") + "/results.jsonl");
  write_text(out("a") + "/journal.jsonl", journal.substr(0, journal.size() - 30));
  ASSERT_EQ(sweep("a", "--resume").exit_code, 0);
  EXPECT_EQ(read_text(out("a") + "/results.jsonl"), results);

  std::string damaged = journal;
  damaged[200] = damaged[200] == '1' ? '2' : '1';
  write_text(out("a") + "/journal.jsonl", damaged);
  const ProgramResult result = sweep("a", "--resume");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("line 1"));
}

TEST_F(Sweep, AnAxisThatASystemDoesNotDeclareIsOneRowForIt) {
  const ProgramResult result = sweep("a", "--set budget=0.05,0.25 --json");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::map<std::string, int> rows;
  for (const Json& setting : Json::parse(result.output)) ++rows[setting["label"].get<std::string>()];
  EXPECT_EQ(rows["recompute"], 2);        // software_path
  EXPECT_EQ(rows["attention_store"], 4);  // x gpu_cache
  EXPECT_EQ(rows["contiguous_kv"], 8);    // x budget
}

}  // namespace
}  // namespace reprefill
