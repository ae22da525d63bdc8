// `reprefill tokenize` as a user calls it.
#include "tests/engine/tokenizer/tokenizer_fixture.hpp"
#include "tests/support/program.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using testing::HasSubstr;

class TokenizeVerb : public testing::Test {
 protected:
  void SetUp() override { write_text(folder_ / "tokenizer.json", tiny_tokenizer({{"a", "b"}}).dump()); }
  ProgramResult tokenize(const std::string& input, const std::string& options = "") {
    write_text(folder_ / "in.jsonl", input);
    const std::string folder = folder_.path().string();
    return run_program("tokenize --tokenizer " + folder + "/tokenizer.json " + options + " < " + folder + "/in.jsonl");
  }
  TemporaryFolder folder_;
};

TEST_F(TokenizeVerb, WritesIdsLineByLine) {
  const ProgramResult result = tokenize("{\"text\": \"abc\"}\n\n{\"text\": \"\"}\n{\"text\": \"\\u0000<|end|>\"}");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(result.output, "{\"ids\":[256,99]}\n{\"ids\":[]}\n{\"ids\":[0,257]}\n");
}

TEST_F(TokenizeVerb, DecodesWhatItWrote) {
  const std::string lines = "{\"text\":\"abc \xc3\xa9\\n\"}\n{\"text\":\"<|end|>\"}\n";
  const ProgramResult result = tokenize(tokenize(lines).output, "--decode");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  EXPECT_EQ(result.output, lines);
}

TEST_F(TokenizeVerb, ErrorsNameTheLine) {
  const std::vector<std::pair<std::string, std::string>> cases = {{"{\"text\": 5}", "text"},
                                                                  {"{\"txt\": \"a\"}", "txt"},
                                                                  {"[]", "line 2"},
                                                                  {"{", "line 2"},
                                                                  {"{\"text\": \"\xff\"}", "line 2"}};
  for (const auto& [line, problem] : cases) {
    const ProgramResult result = tokenize("{\"text\": \"ab\"}\n" + line + "\n");
    EXPECT_EQ(result.exit_code, 2) << line;
    EXPECT_THAT(result.output, HasSubstr("standard input: line 2")) << line;
    EXPECT_THAT(result.output, HasSubstr(problem)) << line;
    EXPECT_THAT(result.output, HasSubstr("{\"ids\":[256]}")) << "lines before it are written";
  }
  for (const std::string line : {"{\"ids\": [258]}", "{\"ids\": [-1]}", "{\"ids\": [\"a\"]}", "{\"ids\": 5}", "{}"}) {
    const ProgramResult result = tokenize(line, "--decode");
    EXPECT_EQ(result.exit_code, 2) << line;
    EXPECT_THAT(result.output, HasSubstr("standard input: line 1")) << line;
  }
}

TEST_F(TokenizeVerb, AMissingOrBadTokenizerIsAnInputError) {
  EXPECT_EQ(run_program("tokenize < /dev/null").exit_code, 2);
  EXPECT_EQ(run_program("tokenize --tokenizer /nowhere.json < /dev/null").exit_code, 2);
  EXPECT_EQ(run_program("tokenize --help").exit_code, 0);
}

}  // namespace
}  // namespace reprefill::engine
