#include "core/base/text_table.hpp"

#include <gtest/gtest.h>

#include "core/base/error.hpp"

namespace reprefill {
namespace {

TEST(TextTable, AlignsNumbersRightAndWordsLeft) {
  TextTable table({"name", "ms"});
  table.add_row({"a", "1.5"});
  table.add_row({"longer", "100"});
  EXPECT_EQ(table.to_text(),
            "name     ms\n"
            "------  ---\n"
            "a       1.5\n"
            "longer  100\n");
}

TEST(TextTable, AlignsByCharactersAndNotByBytes) {
  TextTable table({"time", "source"});
  table.add_row({"130 µs", "a"});
  table.add_row({"1 ms", "b"});
  EXPECT_EQ(table.to_text(),
            "time    source\n"
            "------  ------\n"
            "130 µs  a\n"
            "1 ms    b\n");
}

TEST(TextTable, EscapesBarsInMarkdown) {
  TextTable table({"choice", "n"});
  table.add_row({"a|b", "-"});
  EXPECT_EQ(table.to_markdown(), "| choice | n |\n| --- | ---: |\n| a\\|b | - |\n");
}

TEST(TextTable, RefusesRowsOfAnotherLength) {
  TextTable table({"one"});
  EXPECT_THROW(table.add_row({"a", "b"}), InvariantError);
}

}  // namespace
}  // namespace reprefill
