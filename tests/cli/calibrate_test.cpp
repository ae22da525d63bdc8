// The verbs that measure and compare hardware, as a user runs them.
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/json.hpp"
#include "engine/io/storage_kind.hpp"
#include "tests/support/program.hpp"

namespace reprefill {
namespace {

using test_support::ProgramResult;
using test_support::read_text;
using test_support::run_program;
using test_support::TemporaryFolder;
using test_support::write_text;
using testing::HasSubstr;

constexpr const char* kTinyConfig = R"({"model_type": "qwen2", "hidden_act": "silu", "hidden_size": 64,
  "intermediate_size": 96, "max_position_embeddings": 4096, "num_attention_heads": 4, "num_hidden_layers": 2,
  "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": true,
  "torch_dtype": "bfloat16", "vocab_size": 128})";

class Calibrate : public testing::Test {
 protected:
  void SetUp() override {
    if (engine::storage_kind(folder.path()).is_memory) GTEST_SKIP() << "the temporary folder is in memory";
    std::filesystem::create_directories(folder / "tiny");
    std::filesystem::create_directories(folder / "disk");
    write_text(folder / "tiny" / "config.json", kTinyConfig);
  }
  std::string command(const std::string& more) const {
    return "calibrate --quiet --unregistered-buffers --cell-seconds 0.01 --storage " + (folder / "disk").string() +
           " --span '64 MiB' --model " + (folder / "tiny").string() + " --out " + (folder / "bundle").string() + " " +
           more;
  }
  TemporaryFolder folder;
};

TEST_F(Calibrate, WritesABundleThatSweepTakesAndRemovesItsScratch) {
  const ProgramResult result = run_program(command(""));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("attend/tiny"));
  EXPECT_TRUE(std::filesystem::is_empty(folder / "disk"));
  EXPECT_FALSE(std::filesystem::exists(folder / "bundle" / "scratch"));
  EXPECT_THAT(read_text(folder / "bundle" / "fio.job"), HasSubstr("rw=randread"));

  const std::string bundle = (folder / "bundle").string();
  const ProgramResult shown = run_program("profile show " + bundle);
  EXPECT_EQ(shown.exit_code, 0) << shown.output;
  EXPECT_THAT(shown.output, HasSubstr("held-out"));
  const Json model = Json::parse(run_program("profile show --json " + bundle).output)["model"];
  for (const char* part : {"gpu", "ssd", "link", "host"}) {
    for (const auto& [key, value] : model[part].items()) {
      EXPECT_TRUE(!value.is_number() || model[part]["sources"].contains(key)) << part << "." << key;
    }
  }
  // A bundle is the same as itself, spreads aside.
  const Json same = Json::parse(run_program("profile diff --json " + bundle + " " + bundle).output);
  for (const Json& difference : same) {
    EXPECT_TRUE(difference["change"] == "same" || difference["change"] == "ambiguous") << difference;
  }

  write_text(folder / "scenario.json", Json({{"name", "measured"},
                                             {"model", (folder / "tiny").string()},
                                             {"profile", bundle},
                                             {"systems", {"attention_store"}},
                                             {"workload",
                                              {{"kind", "prefix_pool"},
                                               {"num_prefixes", 2},
                                               {"prefix_tokens", 1024},
                                               {"suffix_tokens", 16},
                                               {"popularity", "uniform"},
                                               {"measured_requests", 4}}},
                                             {"importance", {{"kind", "synthetic"}, {"preset", "paper-5pct"}}}})
                                           .dump());
  const ProgramResult swept = run_program("sweep --quiet --strict --json --out " + (folder / "result").string() + " " +
                                          (folder / "scenario.json").string());
  EXPECT_EQ(swept.exit_code, 0) << swept.output;
  const Json row = Json::parse(read_text(folder / "result" / "results.jsonl"));  // one point, one line
  EXPECT_EQ(row["profile_kind"], "measured");
  EXPECT_EQ(row["operation_shapes"]["model"], "table");
  EXPECT_EQ(row["operation_shapes"]["extrapolated"], 0);
  EXPECT_EQ(row["missing_interference_pairs"], 0);

  EXPECT_EQ(run_program(command("")).exit_code, 2);          // measurements are there already
  EXPECT_EQ(run_program(command("--resume")).exit_code, 0);  // and complete
}

TEST_F(Calibrate, AnInterruptedRunLeavesNoScratchAndGoesOn) {
  // The shell says the program's number, then how it ended.
  const std::string shell = std::string(REPREFILL_PROGRAM) + " " + command("") + " 2>&1 & echo $!; wait $!; echo rc $?";
  std::FILE* pipe = popen(shell.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  int pid = 0;
  ASSERT_EQ(std::fscanf(pipe, "%d", &pid), 1);
  const auto journal = folder / "bundle" / "raw" / "journal.jsonl";
  while (::kill(pid, 0) == 0 && (!std::filesystem::exists(journal) || std::filesystem::file_size(journal) == 0)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ::kill(pid, SIGINT);
  std::string output;
  for (int c; (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
  pclose(pipe);
  EXPECT_THAT(output, HasSubstr("rc 130"));
  EXPECT_TRUE(std::filesystem::is_empty(folder / "disk"));
  EXPECT_FALSE(std::filesystem::exists(folder / "bundle" / "model.json"));
  const std::string before = read_text(journal);
  EXPECT_EQ(run_program(command("--resume")).exit_code, 0);
  EXPECT_TRUE(read_text(journal).starts_with(before));
  EXPECT_TRUE(std::filesystem::exists(folder / "bundle" / "model.json"));
}

/// A line of shell without root's exemption from limits on locked memory.
std::string without_privileges(const std::string& shell) {
  return ::geteuid() == 0 ? "setpriv --reuid=65534 --regid=65534 --clear-groups " + shell : shell;
}

TEST_F(Calibrate, TooLittleLockedMemoryIsSaidWithTheUlimitLineBeforeAnythingIsWritten) {
  for (const char* name : {"", "disk", "tiny"}) {
    std::filesystem::permissions(folder / name, std::filesystem::perms::all);
  }
  if (test_support::run_command(without_privileges(std::string(REPREFILL_PROGRAM) + " --version")).exit_code != 0) {
    GTEST_SKIP() << "the program cannot be run without privileges here";
  }
  std::string arguments = command("");
  const std::string flag = "--unregistered-buffers ";
  arguments.erase(arguments.find(flag), flag.size());
  const ProgramResult result = test_support::run_command(
      without_privileges("sh -c \"ulimit -l 64; exec " + std::string(REPREFILL_PROGRAM) + " " + arguments + "\""));
  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_THAT(result.output, HasSubstr("the limit (ulimit -l) is 64 KiB"));
  EXPECT_THAT(result.output, testing::ContainsRegex("Raise it with `ulimit -l [0-9]+`"));
  EXPECT_THAT(result.output, HasSubstr("--unregistered-buffers"));
  EXPECT_TRUE(std::filesystem::is_empty(folder / "disk"));
}

TEST_F(Calibrate, ADiskThatRunsFullIsSaidAndTheScratchFileIsGone) {
  // A limit on the size of files stands in for the disk's end; the signal that comes with it is ignored.
  const ProgramResult result = test_support::run_command("sh -c \"trap '' XFSZ; ulimit -f 20480; exec " +
                                                         std::string(REPREFILL_PROGRAM) + " " + command("") + "\"");
  EXPECT_EQ(result.exit_code, 3) << result.output;
  EXPECT_THAT(result.output, HasSubstr(".reprefill-scratch-"));
  EXPECT_THAT(result.output, testing::AnyOf(HasSubstr("File too large"), HasSubstr("short write")));
  EXPECT_TRUE(std::filesystem::is_empty(folder / "disk"));
  EXPECT_FALSE(std::filesystem::exists(folder / "bundle" / "model.json"));
}

TEST_F(Calibrate, WhatAKilledCalibrationLeftIsRemovedByTheNext) {
  const std::string shell = std::string(REPREFILL_PROGRAM) + " " + command("") + " 2>&1 & echo $!; wait $!; echo rc $?";
  std::FILE* pipe = popen(shell.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  int pid = 0;
  ASSERT_EQ(std::fscanf(pipe, "%d", &pid), 1);
  while (::kill(pid, 0) == 0 && std::filesystem::is_empty(folder / "disk")) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ::kill(pid, SIGKILL);
  std::string output;
  for (int c; (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
  pclose(pipe);
  EXPECT_THAT(output, HasSubstr("rc 137"));
  EXPECT_FALSE(std::filesystem::is_empty(folder / "disk"));
  const ProgramResult next = run_program(command("--force"));
  EXPECT_EQ(next.exit_code, 0) << next.output;
  EXPECT_THAT(next.output, HasSubstr("note: removed what a killed calibration left: "));
  EXPECT_TRUE(std::filesystem::is_empty(folder / "disk"));
}

TEST_F(Calibrate, ThePlanMeasuresAndWritesNothing) {
  const ProgramResult result = run_program(command("--plan --json 2>/dev/null"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_GT(Json::parse(result.output.substr(result.output.find('{')))["expected_s"].get<double>(), 0);
  EXPECT_FALSE(std::filesystem::exists(folder / "bundle"));
}

TEST(CalibrateInput, WhatCannotBeMeasuredIsRefusedBeforeAnythingIsWritten) {
  const auto expect_refused = [](const std::string& arguments, const char* message) {
    const ProgramResult result = run_program("calibrate " + arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_THAT(result.output, HasSubstr(message)) << arguments;
  };
#ifndef REPREFILL_CUDA
  expect_refused("--device cuda --plan", "this build measures no GPU");
#endif
  expect_refused("--device tpu --plan", "expected \"cpu\" or \"cuda\"");
  expect_refused("--storage /nowhere --plan", "expected an existing folder");
  if (std::filesystem::exists("/dev/shm") && engine::storage_kind("/dev/shm").is_memory) {
    expect_refused("--storage /dev/shm --plan", "a memory file system: expected a folder on a drive of this machine");
  }
  expect_refused("--model qwen2.5-7c --plan", "qwen2.5-7b");
  expect_refused("--model llama-2-7b --plan", "the engine runs qwen2 only");
  expect_refused("--span '8 parsecs' --plan", "--span");
  expect_refused("--quick --full --plan", "");
  expect_refused("", "--out");
}

TEST_F(Calibrate, ASpanThatTheDiskHasNoRoomForIsRefusedWithWhatIsFree) {
  const ProgramResult result = run_program("calibrate --plan --span '900 TiB' --storage " + (folder / "disk").string());
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, testing::ContainsRegex("[0-9]+ [GM]iB are free; a scratch file of 921600 GiB"));
}

TEST(ProfileDerive, TakesUnitsAndRefusesToOverwrite) {
  const TemporaryFolder folder;
  const std::string arguments =
      "profile derive a800-990pro --ssd.read_bandwidth '14 GB/s' --gpu h100-sxm --out " + (folder / "fast").string();
  ASSERT_EQ(run_program(arguments).exit_code, 0);
  const Json model = Json::parse(run_program("profile show --json " + (folder / "fast").string()).output)["model"];
  EXPECT_EQ(model["ssd"]["read_bandwidth_bytes_per_s"], 14e9);
  EXPECT_EQ(model["gpu"]["name"], "NVIDIA H100 SXM");
  EXPECT_EQ(run_program(arguments).exit_code, 2);
  const ProgramResult diff = run_program("profile diff a800-990pro " + (folder / "fast").string());
  EXPECT_EQ(diff.exit_code, 0);
  EXPECT_THAT(diff.output, HasSubstr("ssd.read_bandwidth_bytes_per_s"));
  EXPECT_EQ(
      run_program("profile derive a800-990pro --ssd.read_bandwidth 'fast' --out " + (folder / "x").string()).exit_code,
      2);
}

}  // namespace
}  // namespace reprefill
