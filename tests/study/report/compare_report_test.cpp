// Results of `compare` and profile bundles as pages: what is read, what is refused, what is warned of.
#include "study/report/compare_report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "study/report/bundle_report.hpp"
#include "tests/study/report/compare_rows.hpp"
#include "tests/support/program.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace reprefill::study {
namespace {

using test_support::read_text;
using test_support::TemporaryFolder;
using test_support::write_text;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "not refused";
}

class CompareReport : public testing::Test {
 protected:
  Json data_of(const std::vector<Json>& rows, int version = 1) {
    std::string text;
    for (const Json& row : rows) text += row.dump() + "\n";
    write_text(folder_ / "results.jsonl", text);
    write_text(folder_ / "summary.json", Json{{"schema_version", version}, {"kind", "compare"}}.dump());
    return compare_data(folder_.path(), "test");
  }
  TemporaryFolder folder_;
};

TEST_F(CompareReport, HasEveryPointAndCell) {
  const Json data = data_of({compare_row(0, "a"), compare_row(1, "b")});
  ASSERT_EQ(data["points"].size(), 2u);
  EXPECT_EQ(data["points"][1]["spans"][0]["predicted_ms"], 10);
  EXPECT_EQ(data["summary"]["kind"], "compare");
}

TEST_F(CompareReport, WarnsOfWhatDiffersWhatScattersAndAnotherSchema) {
  Json different = compare_row(3, "b");
  different["equality"] = {{"checked", true}, {"equal", false}, {"first_difference", "reads 4 and 5"}};
  Json unchecked = compare_row(4, "c");
  unchecked["equality"]["equal"] = nullptr;
  const std::string warnings = data_of({compare_row(0, "a"), different, unchecked}, 9)["warnings"].dump();
  EXPECT_THAT(warnings, AllOf(HasSubstr("Point 3 (b): bytes, reads or decisions differ: reads 4 and 5"),
                              HasSubstr("3 of 6 requests scatter too much"), HasSubstr("Schema version 9"),
                              Not(HasSubstr("Point 4"))));
  Json quiet = compare_row(0, "a");
  quiet["requests"] = Json::array();
  EXPECT_TRUE(data_of({quiet})["warnings"].empty());
}

TEST_F(CompareReport, IsToldFromASweepByItsSummary) {
  EXPECT_FALSE(is_compare_result(folder_.path()));
  data_of({compare_row(0, "a")});
  EXPECT_TRUE(is_compare_result(folder_.path()));
  write_text(folder_ / "summary.json", "[]");
  EXPECT_FALSE(is_compare_result(folder_.path()));
}

TEST_F(CompareReport, AnUnfinishedComparisonNamesResume) {
  EXPECT_THAT(refusal([&] { compare_data(folder_.path(), "test"); }), HasSubstr("--resume"));
}

TEST(CompareRows, WhatIsNoRowIsRefusedWithItsPlace) {
  const auto refused = [](const std::function<void(Json&)>& damage) {
    Json row = compare_row(0, "a");
    damage(row);
    return refusal([&] { parse_compare_rows(compare_row(0, "a").dump() + "\n" + row.dump(), "f"); });
  };
  EXPECT_THAT(refused([](Json& row) { row.erase("label"); }), AllOf(HasSubstr("f: line 2"), HasSubstr("label")));
  EXPECT_THAT(refused([](Json& row) { row["axes"] = 3; }), HasSubstr("axes"));
  EXPECT_THAT(refused([](Json& row) { row["ttft"]["real_ms"] = "x"; }), HasSubstr("real_ms"));
  EXPECT_THAT(refused([](Json& row) { row["ttft"]["real_ms"] = -1; }), HasSubstr("real_ms"));
  EXPECT_THAT(refused([](Json& row) { row["spans"][0].erase("verdict"); }), HasSubstr("verdict"));
  EXPECT_THAT(refused([](Json& row) { row["equality"]["equal"] = 1; }), HasSubstr("equal"));
  EXPECT_THAT(refused([](Json& row) { row = 3; }), HasSubstr("line 2"));
  EXPECT_EQ(refused([](Json&) {}), "not refused");
  EXPECT_THAT(refusal([] { parse_compare_rows("\n\n", "f"); }), HasSubstr("no rows"));
}

TEST(CompareRows, DamagedRowsAreRefusedOrReadButNeverCrash) {
  const std::string rows = compare_row(0, "a").dump();
  const auto run = [](const std::string& text) {
    EXPECT_NO_THROW(LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size())) << text;
  };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    run(rows.substr(0, i));
    for (const char c : {'0', '"', '{', '[', ',', 'n', '\n', '\xff'}) {
      std::string damaged = rows;
      damaged[i] = c;
      run(damaged);
    }
  }
}

class BundleReport : public testing::Test {
 protected:
  void SetUp() override {
    const std::filesystem::path shipped =
        std::filesystem::path(REPREFILL_SOURCE_DIR) / "calibrate" / "profiles" / "a800-990pro";
    for (const char* name : {"meta.json", "model.json"}) write_text(folder_ / name, read_text(shipped / name));
  }
  void change_model(const std::function<void(Json&)>& change) {
    Json model = Json::parse(read_text(folder_ / "model.json"));
    change(model);
    write_text(folder_ / "model.json", model.dump());
  }
  TemporaryFolder folder_;
};

TEST_F(BundleReport, HasEveryNumberWithItsSource) {
  ASSERT_TRUE(is_bundle(folder_.path()));
  const Json data = bundle_data(folder_.path(), "test");
  ASSERT_EQ(data["parts"].size(), 4u);
  for (const Json& part : data["parts"]) {
    EXPECT_GE(part["numbers"].size(), 5u);
    for (const Json& number : part["numbers"]) EXPECT_NE(number["source"], "") << number;
  }
  EXPECT_THAT(data["warnings"].dump(),
              AllOf(HasSubstr("hypothetical"), HasSubstr("no fits"), HasSubstr("30 are missing")));
}

TEST_F(BundleReport, HasMeasuredAndFittedOfEachPoint) {
  change_model([](Json& model) {
    const Json point = {{"shape", {{"bytes", 4096}}}, {"measured", 100.0}, {"spread", 0.1},
                        {"converged", false},         {"fitted", 110.0},   {"held_out", 120.0}};
    model["fits"] = {{{"name", "reads"}, {"unit", "ns"}, {"rule", "a line"}, {"points", {point}}}};
  });
  const Json data = bundle_data(folder_.path(), "test");
  ASSERT_EQ(data["fits"].size(), 1u);
  EXPECT_EQ(data["fits"][0]["not_converged"], 1);
  EXPECT_NEAR(data["fits"][0]["residual_median"].get<double>(), 0.1, 1e-12);
  EXPECT_NEAR(data["fits"][0]["held_out"]["median"].get<double>(), 0.2, 1e-12);
  EXPECT_THAT(data["warnings"].dump(),
              AllOf(HasSubstr("reads: 1 of 1 points did not converge"), Not(HasSubstr("no fits"))));
}

TEST_F(BundleReport, ADamagedBundleIsRefused) {
  change_model([](Json& model) { model["fits"] = {{{"name", "reads"}}}; });
  EXPECT_THAT(refusal([&] { bundle_data(folder_.path(), "test"); }), HasSubstr("fits"));
  change_model([](Json& model) { model["gpu"].erase("sources"); });
  EXPECT_NE(refusal([&] { bundle_data(folder_.path(), "test"); }), "not refused");
}

}  // namespace
}  // namespace reprefill::study
