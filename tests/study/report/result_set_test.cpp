// What a report reads: rows as columns, unfinished and foreign folders, warnings.
#include "study/report/result_set.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/simulation/result_row.hpp"
#include "tests/support/temporary_folder.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace reprefill::study {
namespace {

using test_support::TemporaryFolder;
using test_support::write_text;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Json row(const char* label, double ttft_ms) {
  return {{"point", 0},
          {"label", label},
          {"axes", Json::object()},
          {"schema_version", sim::kRowSchemaVersion},
          {"ttft", {{"mean_ttft_ms", ttft_ms}}}};
}

std::vector<std::string> texts(const std::vector<Warning>& warnings) {
  std::vector<std::string> texts;
  for (const Warning& warning : warnings) texts.push_back(warning.text);
  return texts;
}

ResultSet with_rows(std::vector<Json> rows) {
  ResultSet result{.folder = "results"};
  result.rows = std::move(rows);
  result.resolved = {{"points", Json::array()}};
  for (std::size_t i = 0; i < result.rows.size(); ++i) result.resolved["points"].push_back(Json::object());
  return result;
}

template <typename Function>
std::string message_of(Function function) {
  try {
    function();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ReportColumns, NestedKeysBecomeColumnsInOrderOfFirstAppearance) {
  const Json columns = columns_of({row("a", 1.5), row("b", 2.5)});
  std::vector<std::string> names;
  for (const Json& column : columns) names.push_back(column["name"]);
  EXPECT_THAT(names, ElementsAre("point", "label", "axes", "schema_version", "ttft.mean_ttft_ms"));
  EXPECT_EQ(columns[1], Json::parse(R"({"name":"label","kind":"text","texts":["a","b"],"values":[0,1]})"));
  EXPECT_EQ(columns[4], Json::parse(R"({"name":"ttft.mean_ttft_ms","kind":"number","values":[1.5,2.5]})"));
}

TEST(ReportColumns, WhatAllRowsShareIsWrittenOnce) {
  const Json columns = columns_of({{{"a", "x"}, {"b", 7}}, {{"a", "x"}, {"b", 7}}});
  EXPECT_EQ(columns[0], Json::parse(R"({"name":"a","kind":"text","texts":["x"],"constant":0})"));
  EXPECT_EQ(columns[1], Json::parse(R"({"name":"b","kind":"number","constant":7})"));
}

TEST(ReportColumns, AKeyThatARowLacksIsNullThereAndNotConstant) {
  const Json columns = columns_of({{{"a", 1}}, {{"b", 2}}});
  EXPECT_EQ(columns[0]["values"], Json::parse("[1,null]"));
  EXPECT_EQ(columns[1]["values"], Json::parse("[null,2]"));
}

TEST(ReportColumns, NumbersAndTextsInOneColumnAreTexts) {
  const Json columns = columns_of({{{"a", 0.5}}, {{"a", "1/3"}}, {{"a", true}}, {{"a", nullptr}}, {{"a", {1, 2}}}});
  EXPECT_EQ(columns[0]["kind"], "text");
  EXPECT_EQ(columns[0]["texts"], Json::parse(R"(["0.5","1/3","yes","[1,2]"])"));
  EXPECT_EQ(columns[0]["values"], Json::parse("[0,1,2,null,3]"));
}

TEST(ReportColumns, NumbersKeepTenDigitsAndIntegersAll) {
  const Json columns = columns_of({{{"a", 622.8694019999975}, {"b", 20478689280123}}, {{"a", 0.1}, {"b", 0}}});
  EXPECT_EQ(columns[0]["values"].dump(), "[622.869402,0.1]");
  EXPECT_EQ(columns[1]["values"].dump(), "[20478689280123,0]");
}

TEST(ReportColumns, TooManyKeysAreRefused) {
  Json wide = Json::object();
  for (int i = 0; i < 2001; ++i) wide[std::to_string(i)] = i;
  EXPECT_THAT(message_of([&] { columns_of({wide}); }), HasSubstr("2000"));
}

TEST(ReportResultSet, ReadsAFinishedFolder) {
  TemporaryFolder folder;
  Json named = row("a", 1);
  named["scenario"] = "quick";
  write_text((folder / "results.jsonl").string(), named.dump() + "\n" + row("b", 2).dump() + "\n");
  write_text((folder / "resolved.json").string(), R"({"points": [{}, {}]})");
  const ResultSet result = read_result_set(folder / "");
  EXPECT_EQ(result.rows.size(), 2u);
  EXPECT_EQ(result.name, "quick");
  EXPECT_TRUE(result.finished);
  EXPECT_THAT(warnings_of(result), IsEmpty());
}

TEST(ReportResultSet, AnUnfinishedSweepGivesItsRowsInPointOrderAndIsWarnedOf) {
  TemporaryFolder folder;
  write_text((folder / "journal.jsonl").string(), R"({"point":4,"row":)" + row("later", 1).dump() + "}\n" +
                                                      R"({"point":1,"row":)" + row("first", 2).dump() + "}\n" +
                                                      R"({"point":2,"row":{"lab)");
  write_text((folder / "resolved.json").string(), R"({"points": [{}, {}, {}, {}, {}]})");
  const ResultSet result = read_result_set(folder / "");
  ASSERT_EQ(result.rows.size(), 2u);
  EXPECT_EQ(result.rows[0]["label"], "first");
  EXPECT_EQ(result.num_torn, 1u);
  EXPECT_THAT(texts(warnings_of(result)), ElementsAre(AllOf(HasSubstr("2 of 5 points"), HasSubstr("cut short"))));
}

TEST(ReportResultSet, ADamagedLineInTheMiddleOfAJournalIsAnError) {
  TemporaryFolder folder;
  write_text((folder / "journal.jsonl").string(),
             "{\"point\":\n" + (R"({"point":1,"row":)" + row("a", 2).dump() + "}\n"));
  EXPECT_THAT(message_of([&] { read_result_set(folder / ""); }), HasSubstr("journal.jsonl: line 1"));
}

TEST(ReportResultSet, RefusesWhatIsNoResultAndSaysWhere) {
  TemporaryFolder folder;
  const auto refusal = [&](const std::string& text) {
    write_text((folder / "results.jsonl").string(), text);
    return message_of([&] { read_result_set(folder / ""); });
  };
  EXPECT_THAT(message_of([&] { read_result_set(folder / "absent"); }), HasSubstr("no such result folder"));
  EXPECT_THAT(message_of([&] { read_result_set(folder / ""); }), HasSubstr("neither results.jsonl nor journal.jsonl"));
  EXPECT_THAT(refusal(""), HasSubstr("no rows yet"));
  EXPECT_THAT(refusal(row("a", 1).dump() + "\n[1]\n"), AllOf(HasSubstr("line 2"), HasSubstr("found a JSON array")));
  EXPECT_THAT(refusal("{\"axes\":{},\"ttft\":{}}"), HasSubstr("label is missing"));
  EXPECT_THAT(refusal("{\"label\":\"a\",\"axes\":3,\"ttft\":{}}"), HasSubstr("axes: found a JSON number"));
  EXPECT_THAT(refusal(R"({"label":"a","axes":{},"ttft":{},"point":"x"})"), HasSubstr("point: found a JSON string"));
  EXPECT_THAT(refusal(R"({"label":"a","axes":{},"ttft":{},"verdict":1})"), HasSubstr("verdict: found a JSON number"));
  EXPECT_THAT(refusal("{\"label\":"), HasSubstr("line 1"));
}

TEST(ReportResultSet, DamagedRowsAreRefusedOrReadButNeverCrash) {
  const std::string rows = test_support::read_text(std::filesystem::path(REPREFILL_SOURCE_DIR) / "tests" / "fuzz" /
                                                   "corpus" / "result_rows" / "two.jsonl");
  ASSERT_FALSE(rows.empty());
  const auto run = [](const std::string& text) {
    EXPECT_NO_THROW(LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size())) << text;
  };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    run(rows.substr(0, i));
    for (const char c : {'0', '"', '{', '}', '[', ',', 'n', '\n', '<', '\xff'}) {
      std::string damaged = rows;
      damaged[i] = c;
      run(damaged);
    }
  }
}

TEST(ReportWarnings, EachNamesItsRows) {
  std::vector<Json> rows(7, row("a", 1));
  rows[0]["profile_kind"] = "hypothetical";
  rows[1]["verdict"] = "BACKLOGGED";
  rows[2]["ttft"]["mean_ttft_ms"] = nullptr;
  rows[3]["look_ups"] = {{"gpu", {{"extrapolated", 3}}}};
  rows[4]["importance_mismatch"] = "budget: recorded 0.05, here 0.25";
  rows[5]["missing_interference_pairs"] = 30;
  rows[6]["timing_dependent"] = true;
  const std::vector<Warning> warnings = warnings_of(with_rows(rows));
  EXPECT_THAT(texts(warnings), ElementsAre(HasSubstr("hypothetical"), HasSubstr("BACKLOGGED"), HasSubstr("No TTFT"),
                                           HasSubstr("extrapolated"), HasSubstr("Interference"),
                                           HasSubstr("importance"), HasSubstr("depend on durations")));
  std::vector<std::size_t> first_rows;
  for (const Warning& warning : warnings) first_rows.push_back(warning.rows.at(0));
  EXPECT_THAT(first_rows, ElementsAre(0, 1, 2, 3, 5, 4, 6));
}

TEST(ReportWarnings, WhatIsFalseOrZeroIsNoWarning) {
  Json quiet = row("a", 1);
  quiet["extrapolated_lookups"] = 0;
  quiet["missing_interference_pairs"] = 0;
  quiet["timing_dependent"] = false;
  quiet["importance_mismatch"] = "";
  quiet["profile_kind"] = "measured";
  EXPECT_THAT(warnings_of(with_rows({quiet})), IsEmpty());
}

TEST(ReportWarnings, RowsOfAnotherSchemaVersionAreTold) {
  Json old = row("a", 1), none = row("b", 1);
  old["schema_version"] = sim::kRowSchemaVersion - 1;
  none.erase("schema_version");
  const std::vector<Warning> warnings = warnings_of(with_rows({row("new", 1), old, none}));
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_THAT(warnings[0].rows, ElementsAre(1));
  EXPECT_THAT(warnings[1].text, HasSubstr("schema version none"));
}

TEST(ReportWarnings, AFinishedFolderWithoutResolvedInputsIsTold) {
  ResultSet result = with_rows({row("a", 1)});
  result.resolved = nullptr;
  EXPECT_THAT(texts(warnings_of(result)), ElementsAre(HasSubstr("resolved.json")));
}

}  // namespace
}  // namespace reprefill::study
