#include "study/eval/task.hpp"

#include <gmock/gmock.h>

#include <fstream>

#include "core/base/error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::study {
namespace {

class Task : public testing::Test {
 protected:
  std::vector<TaskItem> read(const std::string& text) {
    std::ofstream(folder_ / "task.jsonl") << text;
    return read_task(folder_ / "task.jsonl");
  }
  void expect_refused(const std::string& text, const std::string& message) {
    try {
      read(text);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const ConfigError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(message));
    }
  }
  test_support::TemporaryFolder folder_;
};

TEST_F(Task, AnswersAreChoicesOrTheirNumbers) {
  const auto items = read(R"({"prefix": "p", "suffix": "s", "choices": [" a", " b"], "answer": " b"})"
                          "\n\n"
                          R"({"id": 7, "kind": "k", "prefix": "", "suffix": "s", "choices": ["x", "y"], "answer": 0})");
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].answer, 1u);
  EXPECT_EQ(items[0].name, "0");
  EXPECT_EQ(items[1].answer, 0u);
  EXPECT_EQ(items[1].name, "7");
  EXPECT_EQ(items[1].kind, "k");
}

TEST_F(Task, SpansLieInThePrefix) {
  const auto items = read(
      R"({"prefix": "abcd", "suffix": "s", "choices": ["x", "y"], "answer": 1, "answer_spans": [[1, 3], [4, 4]]})");
  ASSERT_EQ(items[0].answer_spans.size(), 2u);
  EXPECT_EQ(items[0].answer_spans[0].end, 3u);
  expect_refused(R"({"prefix": "abcd", "suffix": "s", "choices": ["x", "y"], "answer": 1, "answer_spans": [[1, 5]]})",
                 "answer_spans[0][1]");
  expect_refused(R"({"prefix": "abcd", "suffix": "s", "choices": ["x", "y"], "answer": 1, "answer_spans": [[3, 1]]})",
                 "answer_spans[0][1]");
}

TEST_F(Task, RefusesWhatCannotBeJudged) {
  expect_refused(R"({"prefix": "p", "suffix": "s", "choices": ["x"], "answer": 0})", "at least two choices");
  expect_refused(R"({"prefix": "p", "suffix": "s", "choices": ["x", ""], "answer": 0})", "choices[1]");
  expect_refused(R"({"prefix": "p", "suffix": "", "choices": ["x", "y"], "answer": 0})", "suffix");
  expect_refused(R"({"prefix": "p", "suffix": "s", "choices": ["x", "y"], "answer": "z"})", "answer");
  expect_refused(R"({"prefix": "p", "suffix": "s", "choices": ["x", "y"], "answer": 2})", "answer");
  expect_refused(R"({"prefix": "p", "sufix": "s", "choices": ["x", "y"], "answer": 0})", "did you mean suffix");
  expect_refused("\n", "no items");
  expect_refused("{", "line 1");
}

}  // namespace
}  // namespace reprefill::study
