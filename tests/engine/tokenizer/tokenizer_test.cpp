// Tokenizers small enough to work out ids by hand. Byte b has the id b, merge i the id 256 + i.
#include "tests/engine/tokenizer/tokenizer_fixture.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using testing::HasSubstr;

Ids bytes_of(std::string_view text) {
  Ids ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

/// he ll hell hello Ġw
Json hello_tokenizer() {
  return tiny_tokenizer({{"h", "e"}, {"l", "l"}, {"he", "ll"}, {"hell", "o"}, {"\xc4\xa0", "w"}});
}

TEST(Tokenizer, MergesByRankWithinPieces) {
  const Tokenizer tokenizer = parse(hello_tokenizer());
  EXPECT_EQ(tokenizer.encode("hello world"), (Ids{259, 260, 'o', 'r', 'l', 'd'}));
  EXPECT_EQ(tokenizer.encode("hhello"), (Ids{'h', 259}));
  EXPECT_EQ(tokenizer.encode("hel lo"), (Ids{256, 'l', ' ', 'l', 'o'})) << "no merge across pieces";
}

TEST(Tokenizer, AnEmptyTextHasNoIds) {
  const Tokenizer tokenizer = parse(hello_tokenizer());
  EXPECT_TRUE(tokenizer.encode("").empty());
  EXPECT_EQ(tokenizer.decode({}), "");
}

TEST(Tokenizer, OfEqualPairsTheLeftmostIsMergedFirst) {
  const Tokenizer tokenizer = parse(tiny_tokenizer({{"a", "a"}}));
  EXPECT_EQ(tokenizer.encode("aaa"), (Ids{256, 'a'}));
  EXPECT_EQ(tokenizer.encode("baaab"), (Ids{'b', 256, 'a', 'b'}));
}

TEST(Tokenizer, TheLowerRankIsMergedFirstWhereverItStands) {
  const Tokenizer tokenizer = parse(tiny_tokenizer({{"b", "c"}, {"a", "b"}}));
  EXPECT_EQ(tokenizer.encode("abc"), (Ids{'a', 256}));
}

TEST(Tokenizer, LongPiecesAreMergedAsShortOnes) {
  const Tokenizer tokenizer = parse(tiny_tokenizer({{"a", "a"}, {"aa", "aa"}}));
  Ids wanted(25, 257);
  wanted.push_back('a');
  EXPECT_EQ(tokenizer.encode(std::string(101, 'a')), wanted);
}

TEST(Tokenizer, DigitsStandAloneAndBlanksJoinTheNextWord) {
  const Tokenizer tokenizer = parse(tiny_tokenizer({{"1", "2"}, {"\xc4\xa0", "\xc4\xa0"}, {"\xc4\xa0", "a"}}));
  EXPECT_EQ(tokenizer.encode("12"), (Ids{'1', '2'}));
  EXPECT_EQ(tokenizer.encode("   a"), (Ids{257, 258})) << "two blanks, then one with the word";
  EXPECT_EQ(tokenizer.encode("   "), (Ids{257, ' '}));
}

TEST(Tokenizer, NormalisesToNfcWhereTheFileSaysSo) {
  Json json = tiny_tokenizer({});
  EXPECT_EQ(parse(json).encode("e\xcc\x81"), (Ids{0xc3, 0xa9}));
  json["normalizer"] = nullptr;
  EXPECT_EQ(parse(json).encode("e\xcc\x81"), (Ids{'e', 0xcc, 0x81}));
}

TEST(Tokenizer, AddedTokensAreFoundBeforeAnythingElse) {
  const Tokenizer tokenizer = parse(hello_tokenizer());
  EXPECT_EQ(tokenizer.encode("he<|end|>llo<|end|>"), (Ids{256, 261, 257, 'o', 261}));
  EXPECT_EQ(tokenizer.encode("<|end|"), bytes_of("<|end|"));
}

TEST(Tokenizer, OfAddedTokensTheLeftmostIsFoundThenTheLongest) {
  Json json = tiny_tokenizer({});
  json["added_tokens"].push_back(added_token(257, "ab"));
  json["added_tokens"].push_back(added_token(258, "abc"));
  json["added_tokens"].push_back(added_token(259, "bcdef"));
  const Tokenizer tokenizer = parse(json);
  EXPECT_EQ(tokenizer.encode("abcdef"), (Ids{258, 'd', 'e', 'f'}));
  EXPECT_EQ(tokenizer.encode("xbcdef"), (Ids{'x', 259}));
  EXPECT_EQ(tokenizer.encode("ababc"), (Ids{257, 258}));
}

TEST(Tokenizer, AddedTokensAreFoundBeforeOrAfterNormalisationAsTheirFlagSays) {
  Json json = tiny_tokenizer({});
  const std::string composed = "\xe1\xb9\xa9", decomposed = "s\xcc\xa3\xcc\x87";  // U+1E69
  json["added_tokens"].push_back(added_token(257, composed));
  EXPECT_EQ(parse(json).encode(composed + decomposed), (Ids{257, 0xe1, 0xb9, 0xa9}));
  json["added_tokens"][1]["normalized"] = true;
  EXPECT_EQ(parse(json).encode(composed + decomposed), (Ids{257, 257}));
  json["added_tokens"][1]["content"] = decomposed;
  EXPECT_EQ(parse(json).encode(composed + decomposed), (Ids{257, 257})) << "the token's own text is normalised too";
  json["added_tokens"][1]["normalized"] = false;
  EXPECT_EQ(parse(json).encode(composed + decomposed), (Ids{0xe1, 0xb9, 0xa9, 257}));
}

TEST(Tokenizer, AnAddedTokenMayBeInTheVocabulary) {
  // As the trainers of Hugging Face's library write special tokens.
  Json json = tiny_tokenizer({});
  json["model"]["vocab"]["<|end|>"] = 256;
  const Tokenizer tokenizer = parse(json);
  EXPECT_EQ(tokenizer.num_ids(), 257);
  EXPECT_EQ(tokenizer.encode("a<|end|>"), (Ids{'a', 256}));
  EXPECT_EQ(tokenizer.decode(Ids{'a', 256}), "a<|end|>");
}

TEST(Tokenizer, AWholePieceOfTheVocabularyNeedsNoMergesWhereTheFileSaysSo) {
  Json json = tiny_tokenizer({{"a", "b"}});
  json["model"]["vocab"]["abc"] = 257;
  json["added_tokens"][0]["id"] = 258;
  EXPECT_EQ(parse(json).encode("abc"), (Ids{256, 'c'}));
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(parse(json).encode("abc abcd"), (Ids{257, ' ', 256, 'c', 'd'}));
}

TEST(Tokenizer, MergesMayBeWrittenAsPairs) {
  Json json = hello_tokenizer();
  for (Json& merge : json["model"]["merges"]) {
    const auto text = merge.get<std::string>();
    const std::size_t blank = text.find(' ');
    merge = Json::array({text.substr(0, blank), text.substr(blank + 1)});
  }
  EXPECT_EQ(parse(json).encode("hello world"), (Ids{259, 260, 'o', 'r', 'l', 'd'}));
}

TEST(Tokenizer, ControlCharactersAndNulAreOrdinaryText) {
  const Tokenizer tokenizer = parse(tiny_tokenizer({}));
  const std::string text("a\0b\x01\x7f", 5);
  EXPECT_EQ(tokenizer.encode(text), bytes_of(text));
  EXPECT_EQ(tokenizer.decode(bytes_of(text)), text);
}

TEST(Tokenizer, TextThatIsNotUtf8IsRefusedWithThePlace) {
  const Tokenizer tokenizer = parse(tiny_tokenizer({}));
  for (const std::string bad : {"ab\xff", "ab\xc3", "ab\xed\xa0\x80", "ab\xc0\x80", "ab\xf4\x90\x80\x80", "ab\x80"}) {
    try {
      tokenizer.encode(bad);
      ADD_FAILURE() << testing::PrintToString(bad);
    } catch (const ConfigError& error) {
      EXPECT_THAT(error.what(), HasSubstr("byte 2"));
    }
  }
}

TEST(Tokenizer, DecodingReplacesWhatIsNotUtf8) {
  const Tokenizer tokenizer = parse(tiny_tokenizer({}));
  EXPECT_EQ(tokenizer.decode(Ids{0xe4, 0xb8, 0xad}), "\xe4\xb8\xad") << "a character of three tokens";
  EXPECT_EQ(tokenizer.decode(Ids{0xe4, 0xb8}), "\xef\xbf\xbd") << "cut short: one replacement";
  EXPECT_EQ(tokenizer.decode(Ids{0xe4, 'a'}),
            "\xef\xbf\xbd"
            "a");
  EXPECT_EQ(tokenizer.decode(Ids{0xff, 0xff}), "\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(tokenizer.decode(Ids{0xed, 0xa0, 0x80}), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd") << "a surrogate";
}

TEST(Tokenizer, DecodingKeepsOrSkipsSpecialTokens) {
  const Tokenizer tokenizer = parse(tiny_tokenizer({}));
  EXPECT_EQ(tokenizer.decode(Ids{'a', 256, 'b'}), "a<|end|>b");
  EXPECT_EQ(tokenizer.decode(Ids{'a', 256, 'b'}, SpecialTokens::skip), "ab");
}

TEST(Tokenizer, IdsThatThereAreNotAreRefused) {
  const Tokenizer tokenizer = parse(tiny_tokenizer({}));
  EXPECT_THROW(tokenizer.decode(Ids{257}), ConfigError);
  EXPECT_THROW(tokenizer.decode(Ids{-1}), ConfigError);
  EXPECT_THROW(tokenizer.token_of(257), ConfigError);
}

TEST(StreamDecoder, HoldsBackACharacterUntilItIsWhole) {
  const Tokenizer tokenizer = parse(tiny_tokenizer({}));
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.add('a'), "a");
  EXPECT_EQ(decoder.add(0xf0), "");
  EXPECT_EQ(decoder.add(0x9f), "");
  EXPECT_EQ(decoder.add(0x98), "");
  EXPECT_EQ(decoder.add(0x80), "\xf0\x9f\x98\x80");
  EXPECT_EQ(decoder.add(0xe4), "");
  EXPECT_EQ(decoder.add('b'),
            "\xef\xbf\xbd"
            "b")
      << "no longer completable";
  EXPECT_EQ(decoder.add(0xe4), "");
  EXPECT_EQ(decoder.finish(), "\xef\xbf\xbd");
  EXPECT_EQ(decoder.finish(), "");
}

class ChatTemplate : public testing::Test {
 protected:
  /// The tokenizer beside a tokenizer_config.json.
  Tokenizer open_with(const Json& config) {
    write_text(folder_ / "tokenizer.json", tiny_tokenizer({}).dump());
    write_text(folder_ / "tokenizer_config.json", config.dump());
    return Tokenizer::open(folder_ / "tokenizer.json");
  }
  std::string problem_of(const Tokenizer& tokenizer, const std::vector<ChatMessage>& messages) {
    try {
      return "no problem, but " + tokenizer.apply_chat_template(messages);
    } catch (const ConfigError& error) {
      return error.what();
    }
  }
  TemporaryFolder folder_;
};

const std::string kQwen2Template =
    R"({% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";

TEST_F(ChatTemplate, OfQwen2IsKnownToo) {
  const std::vector<ChatMessage> messages = {{"user", "Hi"}};
  EXPECT_EQ(open_with({{"chat_template", kQwen2Template}}).apply_chat_template(messages),
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(ChatTemplate, MayLieInAFileOfItsOwn) {
  write_text(folder_ / "chat_template.jinja", kQwen2Template);
  EXPECT_THAT(open_with(Json::object()).apply_chat_template(std::vector<ChatMessage>{{"user", "Hi"}}),
              HasSubstr("Be kind."));
}

TEST_F(ChatTemplate, ThatIsMissingOrUnknownIsRefusedWhenItIsNeeded) {
  EXPECT_THAT(problem_of(open_with(Json::object()), {{"user", "Hi"}}), HasSubstr("no chat_template"));
  EXPECT_THAT(problem_of(open_with({{"chat_template", "{{ messages }}"}}), {{"user", "Hi"}}), HasSubstr("ChatML"));
  EXPECT_THAT(problem_of(parse(tiny_tokenizer({})), {{"user", "Hi"}}), HasSubstr("no tokenizer_config.json"));
}

TEST_F(ChatTemplate, RefusesToolCallsAndNoMessages) {
  const Tokenizer tokenizer = open_with({{"chat_template", kQwen2Template}});
  EXPECT_THAT(problem_of(tokenizer, {{"tool", "42"}}), HasSubstr("allowed: system, user, assistant"));
  EXPECT_THAT(problem_of(tokenizer, {}), HasSubstr("at least one"));
}

TEST_F(ChatTemplate, AConfigThatContradictsTheTokenizerIsRefused) {
  EXPECT_THROW(open_with({{"add_bos_token", true}}), ConfigError);
  EXPECT_THROW(open_with({{"add_prefix_space", true}}), ConfigError);
  EXPECT_NO_THROW(
      open_with({{"add_bos_token", nullptr}, {"added_tokens_decoder", {{"256", {{"content", "<|end|>"}}}}}}));
  EXPECT_THROW(open_with({{"added_tokens_decoder", {{"255", {{"content", "<|end|>"}}}}}}), ConfigError);
  EXPECT_THROW(open_with({{"added_tokens_decoder", {{"256", {{"content", "<|stop|>"}}}}}}), ConfigError);
}

TEST(Tokenizer, WithMoreIdsThanTheEmbeddingHasRowsIsRefused) {
  const Tokenizer tokenizer = parse(tiny_tokenizer({}));
  EXPECT_NO_THROW(tokenizer.check_against_vocab(257));
  EXPECT_THROW(tokenizer.check_against_vocab(256), ConfigError);
}

}  // namespace
}  // namespace reprefill::engine
