// Plugins as a user meets them: loaded by every verb, refused with a reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/json.hpp"
#include "tests/support/program.hpp"

namespace reprefill {
namespace {

using test_support::ProgramResult;
using test_support::run_program;
using test_support::TemporaryFolder;
using testing::AllOf;
using testing::HasSubstr;

const std::string kPlugin = "--plugin " REPREFILL_PLUGIN_FILE;

TEST(Plugin, ItsSystemsAreLikeAnyOther) {
  EXPECT_THAT(run_program("systems " + kPlugin).output, HasSubstr("next_layer_speculation"));
  const ProgramResult params = run_program(kPlugin + " systems next_layer_speculation");
  ASSERT_EQ(params.exit_code, 0) << params.output;
  EXPECT_THAT(params.output, HasSubstr("speculate"));
  EXPECT_EQ(run_program("systems next_layer_speculation").exit_code, 2);
  EXPECT_THAT(run_program("schema " + kPlugin).output, HasSubstr("\"next_layer_speculation\""));
  EXPECT_EQ(run_program("check " REPREFILL_SCENARIO).exit_code, 2);
  EXPECT_EQ(run_program("check " REPREFILL_SCENARIO " " + kPlugin).exit_code, 0);
}

TEST(Plugin, ItsParametersAreChecked) {
  const ProgramResult result = run_program("check " REPREFILL_SCENARIO " --set prefetch='\"90 GB\"' " + kPlugin);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("larger than gpu_cache_bytes"));
}

TEST(Plugin, ExplainNamesWhatSpeculationGains) {
  const ProgramResult result =
      run_program("explain " REPREFILL_SCENARIO " --system next_layer_speculation --json " + kPlugin);
  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(Json::parse(result.output)["served"]["system"], "next_layer_speculation");
}

TEST(Plugin, OfAnotherInterfaceIsRefusedWithBothNumbers) {
  const ProgramResult result = run_program("--plugin " REPREFILL_OTHER_INTERFACE " systems");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, AllOf(HasSubstr("plugin interface 999"), HasSubstr("this reprefill has 3")));
}

TEST(Plugin, WhatIsNoneIsRefused) {
  const TemporaryFolder folder;
  test_support::write_text(folder / "text.so", "no library");
  EXPECT_THAT(run_program("--plugin " REPREFILL_NO_PLUGIN " systems").output, HasSubstr("no plugin of reprefill"));
  EXPECT_THAT(run_program("systems --plugin " + (folder / "text.so").string()).output, HasSubstr("cannot be loaded"));
  EXPECT_THAT(run_program("systems --plugin nothing.so").output, HasSubstr("no such file"));
  for (const std::string& plugin : {std::string(REPREFILL_NO_PLUGIN), (folder / "text.so").string(),
                                    std::string("nothing.so"), folder.path().string()}) {
    EXPECT_EQ(run_program("systems --plugin " + plugin).exit_code, 2) << plugin;
  }
}

TEST(Plugin, ANameThatIsTakenIsRefused) {
  const ProgramResult result = run_program("systems " + kPlugin + " " + kPlugin);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.output, HasSubstr("there is a system \"next_layer_speculation\" already"));
}

TEST(NewSystem, RefusesNamesThatAreNoneOrTakenAndNeverOverwrites) {
  const TemporaryFolder folder;
  const std::string out = " --out " + (folder / "a").string();
  for (const char* name : {"Impress", "1st", "my-system", "a/b", "impress", "_x"}) {
    EXPECT_EQ(run_program("systems --new " + std::string(name) + out).exit_code, 2) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "a"));
  ASSERT_EQ(run_program("systems --new mine" + out).exit_code, 0);
  const std::string text = test_support::read_text(folder / "a" / "mine.cpp");
  EXPECT_THAT(text, HasSubstr("SystemEntry mine_entry()"));
  EXPECT_EQ(text.find('@'), std::string::npos);
  const ProgramResult again = run_program("systems --new mine" + out);
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.output, HasSubstr("is there already"));
}

}  // namespace
}  // namespace reprefill
