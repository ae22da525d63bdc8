// What tokenizer.json may not say: each change makes another tokenizer, or none.
#include "tests/engine/tokenizer/tokenizer_fixture.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using testing::HasSubstr;

std::string problem_of(const std::string& text) {
  try {
    Tokenizer::parse(text, "tiny.json");
    return "no problem";
  } catch (const ConfigError& error) {
    return error.what();
  }
}

/// The problem of a sound file after a JSON merge patch at a JSON pointer.
std::string problem_with(const std::string& pointer, const Json& value) {
  Json json = tiny_tokenizer({{"a", "b"}, {"ab", "c"}});
  json[Json::json_pointer(pointer)] = value;
  return problem_of(json.dump());
}

struct Refusal {
  std::string pointer;
  Json value;
  std::string place;
};

TEST(TokenizerFile, RefusesWhateverWouldChangeIds) {
  const std::string split = "/pre_tokenizer/pretokenizers/0", bytes = "/pre_tokenizer/pretokenizers/1";
  const std::vector<Refusal> refusals = {
      {"/version", "2.0", "version"},
      {"/truncation", {{"max_length", 5}}, "truncation"},
      {"/padding", Json::object(), "padding"},
      {"/surprise", 1, "unknown key \"surprise\""},
      {"/normalizer", {{"type", "NFKC"}}, "normalizer.type"},
      {"/normalizer", {{"type", "NFC"}, {"strength", 2}}, "normalizer: unknown key"},
      {"/pre_tokenizer", nullptr, "pre_tokenizer"},
      {"/pre_tokenizer/type", "ByteLevel", "pre_tokenizer.type"},
      {"/pre_tokenizer/pretokenizers", Json::array(), "pre_tokenizer.pretokenizers"},
      {split + "/type", "Digits", "pre_tokenizer.pretokenizers[0].type"},
      {split + "/behavior", "Removed", "pretokenizers[0].behavior"},
      {split + "/invert", true, "pretokenizers[0].invert"},
      {split + "/pattern", {{"String", " "}}, "pretokenizers[0].pattern"},
      {bytes + "/add_prefix_space", true, "pretokenizers[1].add_prefix_space"},
      {bytes + "/use_regex", true, "pretokenizers[1].use_regex"},
      {"/post_processor", {{"type", "TemplateProcessing"}}, "post_processor.type"},
      {"/decoder", {{"type", "Metaspace"}}, "decoder.type"},
      {"/model/type", "Unigram", "model.type"},
      {"/model/dropout", 0.1, "model.dropout"},
      {"/model/unk_token", "<unk>", "model.unk_token"},
      {"/model/continuing_subword_prefix", "##", "model.continuing_subword_prefix"},
      {"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix"},
      {"/model/byte_fallback", true, "model.byte_fallback"},
      {"/model/ignore_merges", "yes", "model.ignore_merges"},
      {"/model/cache_capacity", 5, "model: unknown key"},
      {"/added_tokens/0/lstrip", true, "added_tokens[0].lstrip"},
      {"/added_tokens/0/rstrip", true, "added_tokens[0].rstrip"},
      {"/added_tokens/0/single_word", true, "added_tokens[0].single_word"},
      {"/added_tokens/0/content", "", "added_tokens[0]: an empty token"},
      {"/added_tokens/0/content", 5, "added_tokens[0].content"},
  };
  for (const Refusal& refusal : refusals) {
    const std::string problem = problem_with(refusal.pointer, refusal.value);
    EXPECT_THAT(problem, HasSubstr("tiny.json: ")) << refusal.pointer;
    EXPECT_THAT(problem, HasSubstr(refusal.place)) << refusal.pointer;
  }
}

TEST(TokenizerFile, RefusesTokenizersThatContradictThemselves) {
  const std::vector<Refusal> refusals = {
      {"/model/merges/0", "a x y", "model.merges[0]"},
      {"/model/merges/0", "ab", "model.merges[0]"},
      {"/model/merges/0", 7, "model.merges[0]"},
      {"/model/merges/0", Json::array({"a"}), "model.merges[0]"},
      {"/model/merges/0", Json::array({"a", 5}), "model.merges[0][1]"},
      {"/model/merges/1", "a c", "\"ac\" is not in the vocabulary"},
      {"/model/merges/1", "a zz", "is not in the vocabulary"},
      {"/model/merges/1", "a b", "are merged before"},
      {"/model/vocab/ab", 257, "have the id 257"},
      {"/model/vocab/ab", 5, "have the id 5"},
      {"/model/vocab/ab", -1, "expected an id"},
      {"/model/vocab/ab", 1.5, "expected an id"},
      {"/model/vocab/ab", "256", "expected an id"},
      {"/model/vocab/ab", 16'000'000, "a hole"},
      {"/model/vocab", Json::array(), "model.vocab"},
      {"/model/merges", nullptr, "model.merges"},
      {"/added_tokens/0/id", 257, "have the id 257"},
      {"/added_tokens/0/id", 300, "a hole"},
      {"/added_tokens/0/content", "ab", "has the id 258 here and 256 elsewhere"},
  };
  for (const Refusal& refusal : refusals) {
    EXPECT_THAT(problem_with(refusal.pointer, refusal.value), HasSubstr(refusal.place)) << refusal.pointer;
  }
}

TEST(TokenizerFile, RefusesHolesMissingBytesAndTokensAddedTwice) {
  Json hole = tiny_tokenizer({{"a", "b"}});
  hole["model"]["vocab"]["ab"] = 257;
  hole["added_tokens"] = Json::array({added_token(258, "x1")});
  EXPECT_THAT(problem_of(hole.dump()), HasSubstr("a hole"));
  Json byte = tiny_tokenizer({});
  byte["model"]["vocab"].erase("A");
  byte["model"]["vocab"]["AB"] = 65;
  EXPECT_THAT(problem_of(byte.dump()), HasSubstr("the byte 0x41"));
  Json twice = tiny_tokenizer({});
  twice["added_tokens"].push_back(twice["added_tokens"][0]);
  EXPECT_THAT(problem_of(twice.dump()), HasSubstr("added twice"));
  EXPECT_THAT(problem_of(R"({"version": "1.0", "version": "1.0"})"), HasSubstr("\"version\" is there twice"));
}

TEST(TokenizerFile, RefusesDuplicateKeysOfTheVocabulary) {
  std::string text = tiny_tokenizer({{"a", "b"}}).dump();
  text.replace(text.find("\"ab\":"), 5, "\"ab\":256,\"ab\":");
  EXPECT_NE(problem_of(text), "no problem");
}

TEST(TokenizerFile, RefusesWhatIsNotATokenizer) {
  for (const std::string text : {"", "[", "[]", "null", "5", "{}", "{\"model\": {}}", "\xff"}) {
    EXPECT_THAT(problem_of(text), HasSubstr("tiny.json: ")) << text;
  }
}

TEST(TokenizerFile, EveryTruncationIsRefused) {
  const std::string text = tiny_tokenizer({{"a", "b"}}).dump();
  for (std::size_t size = 0; size < text.size(); size += 13)
    EXPECT_NE(problem_of(text.substr(0, size)), "no problem") << size;
  EXPECT_EQ(problem_of(text), "no problem");
}

TEST(TokenizerFile, AMissingFileIsNamed) { EXPECT_THROW(Tokenizer::open("/nowhere/tokenizer.json"), ConfigError); }

}  // namespace
}  // namespace reprefill::engine
