// `reprefill report` from the outside: files, messages, exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/json.hpp"
#include "tests/support/program.hpp"

namespace reprefill {
namespace {

using test_support::ProgramResult;
using test_support::read_text;
using test_support::run_program;
using test_support::TemporaryFolder;
using test_support::write_text;
using testing::AllOf;
using testing::HasSubstr;

class Report : public testing::Test {
 protected:
  void SetUp() override {
    const Json scenario = {{"name", "tiny"},
                           {"model", "qwen2.5-0.5b"},
                           {"profile", "a800-990pro"},
                           {"systems", {"attention_store", "contiguous_kv"}},
                           {"workload",
                            {{"kind", "prefix_pool"},
                             {"prefix_tokens", 300},
                             {"suffix_tokens", 10},
                             {"num_prefixes", 2},
                             {"warmup_requests", 2},
                             {"measured_requests", 3}}},
                           {"axes", {{"budget", {0.05, 0.25}}}},
                           {"mass_requests", 1}};
    write_text(folder_ / "tiny.json", scenario.dump());
    ASSERT_EQ(run_program("sweep " + path("tiny.json") + " --quiet --out " + path("result")).exit_code, 0);
  }
  std::string path(const char* name) const { return (folder_ / name).string(); }
  Json data_of(const std::string& file) const {
    const std::string page = read_text(file), mark = "id=\"data\">";
    const std::size_t start = page.find(mark) + mark.size();
    return Json::parse(page.substr(start, page.find("</script>", start) - start));
  }
  TemporaryFolder folder_;
};

TEST_F(Report, WritesOnePageWithAllRowsAndTheTimeLineOfEachSystem) {
  const ProgramResult result = run_program("report " + path("result"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("report.html"));
  const Json data = data_of(path("result/report.html"));
  EXPECT_EQ(data["results"][0]["num_rows"], 3);
  EXPECT_EQ(data["results"][0]["timelines"].size(), 2u);
  EXPECT_EQ(data["results"][0]["scenario"]["name"], "tiny");
}

TEST_F(Report, TheSameResultGivesTheSameBytes) {
  ASSERT_EQ(run_program("report " + path("result") + " --out " + path("one.html")).exit_code, 0);
  ASSERT_EQ(run_program("report " + path("result") + " --out " + path("two.html")).exit_code, 0);
  EXPECT_EQ(read_text(path("one.html")), read_text(path("two.html")));
}

TEST_F(Report, ShowsTheTimeLinesThatWereAskedFor) {
  ASSERT_EQ(run_program("report --timeline 2,0 " + path("result")).exit_code, 0);
  const Json timelines = data_of(path("result/report.html"))["results"][0]["timelines"];
  ASSERT_EQ(timelines.size(), 2u);
  EXPECT_EQ(timelines[0]["point"], 2);
  EXPECT_EQ(timelines[1]["point"], 0);
  const ProgramResult absent = run_program("report --timeline 3 " + path("result"));
  EXPECT_EQ(absent.exit_code, 2);
  EXPECT_THAT(absent.output, HasSubstr("--timeline: found 3"));
  EXPECT_EQ(run_program("report --timeline x " + path("result")).exit_code, 2);
  EXPECT_EQ(run_program("report --timeline 1 --no-timelines " + path("result")).exit_code, 2);
}

TEST_F(Report, GoesWithoutTimeLinesThatNobodyAskedForAndSaysWhy) {
  std::string resolved = read_text(path("result/resolved.json"));
  resolved.replace(resolved.find("\"a800-990pro\""), 13, "\"no-such-profile\"");
  write_text(path("result/resolved.json"), resolved);
  ASSERT_EQ(run_program("report " + path("result")).exit_code, 0);
  const Json entry = data_of(path("result/report.html"))["results"][0];
  EXPECT_TRUE(entry["timelines"].empty());
  EXPECT_THAT(entry["warnings"].dump(), AllOf(HasSubstr("No time lines"), HasSubstr("no-such-profile")));
  EXPECT_EQ(run_program("report --timeline 0 " + path("result")).exit_code, 2);
}

TEST_F(Report, PutsTwoResultsSideBySide) {
  ASSERT_EQ(run_program("sweep " + path("tiny.json") + " --quiet --set budget=0.05,0.5 --out " + path("b")).exit_code,
            0);
  const ProgramResult result = run_program("report --compare --no-timelines " + path("result") + " " + path("b"));
  ASSERT_EQ(result.exit_code, 0) << result.output;
  const Json comparison = data_of(path("result/comparison.html"))["comparison"];
  EXPECT_EQ(comparison["pairs"], Json::parse("[[0,0],[1,1]]"));
  EXPECT_EQ(comparison["only_a"], Json::parse("[2]"));
  EXPECT_EQ(comparison["only_b"], Json::parse("[2]"));
}

TEST_F(Report, PutsTheVerdictsOfDiffBesideTwoResults) {
  ASSERT_EQ(run_program("sweep " + path("tiny.json") +
                        " --quiet --set profile.gpu.memory_bandwidth=\"200 GB/s\" --out " + path("slow"))
                .exit_code,
            0);
  const auto verdicts = [&](const char* a, const char* b) {
    EXPECT_EQ(run_program("report --compare --no-timelines " + path(a) + " " + path(b)).exit_code, 0);
    return data_of(path(a) + "/comparison.html")["comparison"]["verdicts"];
  };
  EXPECT_EQ(verdicts("result", "result")["all"]["verdict"], "same");
  EXPECT_EQ(verdicts("result", "slow")["all"]["verdict"], "worse");
  EXPECT_EQ(verdicts("slow", "result")["all"]["verdict"], "better");
  // Rows that do not pair have no verdicts, and the page says why.
  write_text(path("slow") + "/results.jsonl", "{\"label\":\"x\",\"axes\":{},\"ttft\":{},\"point\":0}\n");
  EXPECT_THAT(verdicts("result", "slow")["refused"].get<std::string>(), HasSubstr("schema_version"));
}

TEST_F(Report, ShowsAProfileBundleAndRefusesABrokenOne) {
  const std::string out = path("bundle.html");
  const std::string bundle = std::string(REPREFILL_SOURCE_DIR) + "/calibrate/profiles/a800-990pro";
  ASSERT_EQ(run_program("report " + bundle + " --out " + out).exit_code, 0);
  EXPECT_EQ(data_of(out)["parts"].size(), 4u);
  std::filesystem::create_directories(path("broken"));
  write_text(path("broken") + "/meta.json", "{}");
  write_text(path("broken") + "/model.json", "{");
  EXPECT_EQ(run_program("report " + path("broken")).exit_code, 2);
}

TEST_F(Report, RefusesWrongFoldersWithExitCodeTwo) {
  EXPECT_EQ(run_program("report").exit_code, 2);
  EXPECT_EQ(run_program("report " + path("absent")).exit_code, 2);
  EXPECT_EQ(run_program("report " + folder_.path().string()).exit_code, 2);
  EXPECT_EQ(run_program("report --compare " + path("result")).exit_code, 2);
  EXPECT_EQ(run_program("report " + path("result") + " " + path("result")).exit_code, 2);
  EXPECT_EQ(run_program("report " + path("result") + " --out " + path("no/such/folder/x.html")).exit_code, 2);
}

}  // namespace
}  // namespace reprefill
