#include "calibrate/meter/sample_journal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.hpp"

namespace reprefill::calibrate {
namespace {

using record::ResultFolder;
using testing::HasSubstr;
using testing::ThrowsMessage;

const Json kPlan = {{"cells", {"a", "b"}}, {"machine", "x"}};

SampleStore::Turn turn_of(std::vector<double> values, Json extra = nullptr) {
  SampleStore::Turn turn{.samples = {}, .spent_s = 0.25};
  for (const double value : values) turn.samples.push_back({.values = {value}, .extra = extra});
  return turn;
}

TEST(SampleJournal, WhatWasTakenComesBackExactlyAndInOrder) {
  const test_support::TemporaryFolder folder;
  {
    SampleJournal journal(folder / "raw", kPlan, ResultFolder::Mode::fresh);
    journal.append("a", turn_of({1.0 / 3, 2}));
    journal.append("b", turn_of({5}, {{"histogram", {1, 2}}}));
    journal.append("a", turn_of({4}));
  }
  const SampleJournal journal(folder / "raw", kPlan, ResultFolder::Mode::resume);
  const auto turns = journal.turns_of("a");
  ASSERT_EQ(turns.size(), 2u);
  EXPECT_EQ(turns[0].samples[0].values[0], 1.0 / 3);
  EXPECT_EQ(turns[1].samples[0].values[0], 4);
  EXPECT_EQ(turns[0].spent_s, 0.25);
  EXPECT_EQ(journal.turns_of("b")[0].samples[0].extra["histogram"][1], 2);
  EXPECT_TRUE(journal.turns_of("c").empty());
}

TEST(SampleJournal, ATornLastTurnIsTakenAgain) {
  const test_support::TemporaryFolder folder;
  {
    SampleJournal journal(folder / "raw", kPlan, ResultFolder::Mode::fresh);
    journal.append("a", turn_of({1}));
    journal.append("a", turn_of({2}));
  }
  const auto file = folder / "raw" / "journal.jsonl";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 5);
  SampleJournal journal(folder / "raw", kPlan, ResultFolder::Mode::resume);
  EXPECT_EQ(journal.turns_of("a").size(), 1u);
  journal.append("a", turn_of({3}));
  EXPECT_EQ(journal.num_turns(), 2u);
}

TEST(SampleJournal, AnotherPlanIsRefusedWithTheDifference) {
  const test_support::TemporaryFolder folder;
  { SampleJournal(folder / "raw", kPlan, ResultFolder::Mode::fresh).append("a", turn_of({1})); }
  Json other = kPlan;
  other["machine"] = "y";
  EXPECT_THAT([&] { SampleJournal(folder / "raw", other, ResultFolder::Mode::resume); },
              ThrowsMessage<ConfigError>(HasSubstr("/machine was \"x\" and is \"y\"")));
}

}  // namespace
}  // namespace reprefill::calibrate
