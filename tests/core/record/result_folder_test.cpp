#include "core/record/result_folder.hpp"

#include <gtest/gtest.h>

#include "tests/support/temporary_folder.hpp"

namespace reprefill::record {
namespace {

using test_support::read_text;
using test_support::TemporaryFolder;

TEST(FirstDifference, NamesTheKeyAndBothValues) {
  const Json a = {{"seed", 1}, {"points", {{{"axes", {{"budget", 0.05}}}}}}};
  Json b = a;
  EXPECT_EQ(first_difference(a, b), "");
  b["points"][0]["axes"]["budget"] = 0.1;
  EXPECT_EQ(first_difference(a, b), "/points/0/axes/budget was 0.05 and is 0.1");
  b = a;
  b["extra"] = "x";
  EXPECT_EQ(first_difference(a, b), "/extra was absent and is \"x\"");
}

TEST(ToCsv, FlattensQuotesAndKeepsTheOrderOfFirstAppearance) {
  const std::vector<Json> rows = {{{"a", 1}, {"b", {{"c", "x,\"y\""}}}}, {{"d", nullptr}, {"a", 2}}};
  EXPECT_EQ(to_csv(rows), "a,b.c,d\n1,\"x,\"\"y\"\"\",\n2,,\n");
}

TEST(ResultFolder, KeepsRowsForAResume) {
  const TemporaryFolder folder;
  const Json resolved = {{"seed", 1}};
  {
    ResultFolder results(folder / "r", resolved, ResultFolder::Mode::fresh);
    results.append_row(2, "hash", {{"x", 1.5}});
    results.append_row(0, "hash", {{"x", 2.5}});
  }
  ResultFolder results(folder / "r", resolved, ResultFolder::Mode::resume);
  ASSERT_NE(results.row(2), nullptr);
  EXPECT_EQ((*results.row(2))["x"], 1.5);
  EXPECT_EQ(results.row(1), nullptr);
  EXPECT_THROW(ResultFolder(folder / "r", resolved, ResultFolder::Mode::resume), ConfigError);  // in use
}

TEST(ResultFolder, EveryFlippedBitOfAJournalLineIsNoticed) {
  const TemporaryFolder folder;
  const Json resolved = {{"seed", 1}};
  { ResultFolder(folder / "r", resolved, ResultFolder::Mode::fresh).append_row(0, "h", {{"x", 1}}); }
  const std::string good = read_text(folder / "r" / "journal.jsonl");
  std::size_t noticed = 0;
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    test_support::write_text(folder / "r" / "journal.jsonl", bad + good);
    try {
      ResultFolder(folder / "r", resolved, ResultFolder::Mode::resume);
    } catch (const ConfigError&) {
      ++noticed;
    }
  }
  // The hash of the inputs is not under the checksum: resolved.json decides that. One more flip only moves a space.
  const std::size_t inputs_bytes = std::string("\"inputs\":\"h\",").size();
  EXPECT_GE(noticed, good.size() - inputs_bytes - 1);
}

}  // namespace
}  // namespace reprefill::record
