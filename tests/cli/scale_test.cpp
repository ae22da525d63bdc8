// Sweeps in several processes: shards and MPI ranks give the bytes of one process, and lose nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <sstream>

#include "tests/cli/sweep_fixture.hpp"

namespace reprefill {
namespace {

using testing::HasSubstr;

class Shards : public Sweep {};

TEST_F(Shards, MergeIntoTheBytesOfOneProcess) {
  ASSERT_EQ(sweep("whole").exit_code, 0);
  for (const char* shard : {"2/3", "0/3", "1/3"}) {
    const ProgramResult result = sweep("parts", std::string("--shard ") + shard);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_THAT(result.output, HasSubstr("reprefill merge"));
    if (std::string(shard) == "0/3") {
      const ProgramResult early = run_program("merge " + out("parts"));
      EXPECT_EQ(early.exit_code, 2);
      EXPECT_THAT(early.output, HasSubstr("shard 1 of 3 was not run"));
    }
  }
  const ProgramResult merged = run_program("merge " + out("parts"));
  ASSERT_EQ(merged.exit_code, 0) << merged.output;
  EXPECT_THAT(merged.output, HasSubstr("28 points"));
  for (const char* file : {"/results.jsonl", "/results.csv", "/summary.json", "/resolved.json"}) {
    EXPECT_EQ(read_text(out("parts") + file), read_text(out("whole") + file)) << file;
  }
  // The merged folder is a result folder like any other.
  EXPECT_EQ(sweep("parts", "--resume").exit_code, 0);
  EXPECT_EQ(read_text(out("parts") + "/results.jsonl"), read_text(out("whole") + "/results.jsonl"));
  EXPECT_EQ(run_program("merge " + out("parts")).exit_code, 2);
  EXPECT_EQ(run_program("merge --force " + out("parts")).exit_code, 0);
}

TEST_F(Shards, OfASimulatedWarmUpMergeToo) {
  Json json = small_sweep(10);
  json["workload"]["initial_cache"] = "steady";
  write_scenario(json);
  ASSERT_EQ(sweep("whole").exit_code, 0);
  // More shards than groups: points of a group fall apart, their warm-up must not.
  for (const char* shard : {"0/4", "1/4", "2/4", "3/4"}) {
    ASSERT_EQ(sweep("parts", std::string("--shard ") + shard).exit_code, 0);
  }
  ASSERT_EQ(run_program("merge " + out("parts")).exit_code, 0);
  EXPECT_EQ(read_text(out("parts") + "/results.jsonl"), read_text(out("whole") + "/results.jsonl"));
}

TEST_F(Shards, GoOnAndRefuseWhatTheyAreNot) {
  ASSERT_EQ(sweep("a", "--shard 0/2").exit_code, 0);
  EXPECT_EQ(sweep("a", "--shard 0/2").exit_code, 2);
  EXPECT_EQ(sweep("a", "--shard 0/2 --resume").exit_code, 0);
  EXPECT_EQ(sweep("a", "--shard 2/2").exit_code, 2);
  EXPECT_EQ(sweep("a", "--shard 1/2 --timeline 0").exit_code, 2);
  EXPECT_FALSE(std::filesystem::exists(out("a") + "/results.jsonl"));
}

/// Four ranks on this machine, however few cores it has.
class Ranks : public Sweep {
 protected:
  void SetUp() override {
    Sweep::SetUp();
#ifndef REPREFILL_MPI_PROGRAM
    GTEST_SKIP() << "built without MPI";
#endif
  }
  static std::string mpirun(int num_ranks) {
#ifdef REPREFILL_MPI_PROGRAM
    return fmt::format("env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 {} --oversubscribe -n {} {} ",
                       REPREFILL_MPIRUN, num_ranks, REPREFILL_MPI_PROGRAM);
#else
    return fmt::format("false {}", num_ranks);
#endif
  }
  ProgramResult ranks(const char* name, const std::string& options = "", int num_ranks = 4) {
    return test_support::run_command(mpirun(num_ranks) + "sweep " + scenario() + " --quiet --out " + out(name) + " " +
                                     options);
  }
};

TEST_F(Ranks, GiveTheBytesOfOneProcess) {
  ASSERT_EQ(sweep("one").exit_code, 0);
  const ProgramResult result = ranks("four");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("28 points"));
  EXPECT_EQ(Json::parse(read_text(out("four") + "/run.json"))["jobs"], 4);
  ASSERT_EQ(ranks("alone", "", 1).exit_code, 0);
  for (const char* file : {"/results.jsonl", "/results.csv", "/summary.json", "/resolved.json"}) {
    EXPECT_EQ(read_text(out("four") + file), read_text(out("one") + file)) << file;
    EXPECT_EQ(read_text(out("alone") + file), read_text(out("one") + file)) << file;
  }
}

TEST_F(Ranks, OneVoiceSaysWhatIsWrong) {
  const ProgramResult unknown = ranks("a", "--set seed=nothing");
  EXPECT_EQ(unknown.exit_code, 2) << unknown.output;
  std::size_t times = 0;
  for (std::size_t at = 0; (at = unknown.output.find("seed: found", at)) != std::string::npos; ++at) ++times;
  EXPECT_EQ(times, 1u) << unknown.output;
  ASSERT_EQ(ranks("a").exit_code, 0);
  const ProgramResult again = ranks("a");  // only rank 0 sees the folder
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.output, HasSubstr("has results already"));
  EXPECT_EQ(ranks("a", "--resume").exit_code, 0);
  EXPECT_EQ(ranks("a", "--jobs 2").exit_code, 2);
}

/// In the order in which they were started: the ranks, for mpirun.
std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  std::istringstream text(read_text(fmt::format("/proc/{}/task/{}/children", parent, parent)));
  for (pid_t child; text >> child;) children.push_back(child);
  return children;
}

/// mpiexec ends when one of its ranks was killed, but not always one that was killed while the ranks found each other:
/// a batch system would kill such a job, and so does this.
void end_job(pid_t job) {
  constexpr int kPolls = 4000;  // 20 s
  int status = 0;
  for (int i = 0; i < kPolls; ++i) {
    if (waitpid(job, &status, WNOHANG) != 0) return;
    usleep(5000);
  }
  for (const pid_t process : children_of(job)) kill(process, SIGKILL);
  kill(job, SIGKILL);
  waitpid(job, &status, 0);
}

TEST_F(Ranks, AKilledRankLosesNothing) {
  write_scenario(small_sweep(150));
  ASSERT_EQ(sweep("whole").exit_code, 0);
  const std::string journal = out("killed") + "/journal.jsonl";
  int num_killed = 0;
  for (std::size_t victim = 0; victim < 4; ++victim) {  // rank 0, which keeps the journal, and others
    const std::string options = std::filesystem::exists(journal) ? "--resume" : "--force";
    const pid_t job = fork();
    if (job == 0) {
      const std::string command = "exec " + mpirun(4) + "sweep " + scenario() + " --quiet --out " + out("killed") +
                                  " " + options + " >/dev/null 2>&1";
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    // Once it has begun to write, or has ended.
    const auto size_of = [&] {
      return std::filesystem::exists(journal) ? std::filesystem::file_size(journal) : std::uintmax_t{0};
    };
    const std::uintmax_t before = size_of();
    int status = 0;
    while (size_of() == before && waitpid(job, &status, WNOHANG) == 0) usleep(5000);
    if (const std::vector<pid_t> processes = children_of(job); victim < processes.size()) {
      num_killed += kill(processes[victim], SIGKILL) == 0;
    }
    end_job(job);
  }
  EXPECT_GE(num_killed, 1);
  const ProgramResult rest = ranks("killed", std::filesystem::exists(journal) ? "--resume" : "");
  ASSERT_EQ(rest.exit_code, 0) << rest.output;
  EXPECT_EQ(read_text(out("killed") + "/results.jsonl"), read_text(out("whole") + "/results.jsonl"));
  std::map<std::string, int> times_done;
  std::istringstream lines(read_text(journal));
  for (std::string line; std::getline(lines, line);) ++times_done[Json::parse(line)["point"].dump()];
  EXPECT_EQ(times_done.size(), 28u);
  for (const auto& [point, times] : times_done) EXPECT_EQ(times, 1) << "point " << point;
}

}  // namespace
}  // namespace reprefill
