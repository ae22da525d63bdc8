// The tokenizer of Qwen2.5 as it was published.
#include <fstream>

#include "engine/tokenizer/unicode.hpp"
#include "tests/engine/tokenizer/tokenizer_fixture.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;

class PublishedTokenizer : public testing::Test {
 protected:
  void SetUp() override {
    if (qwen_tokenizer() == nullptr) GTEST_SKIP() << kNoQwenFolder;
  }
  static const Tokenizer& qwen() { return *qwen_tokenizer(); }

  /// {"text", "ids"} lines: ids are as given and decode to the text's NFC.
  static std::size_t check_lines(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::size_t count = 0;
    for (std::string line; std::getline(file, line);) {
      const Json json = Json::parse(line);
      if (!json.contains("text")) continue;
      const auto text = json["text"].get<std::string>();
      const auto ids = json["ids"].get<Ids>();
      EXPECT_EQ(qwen().encode(text), ids) << path << ": " << line.substr(0, 300);
      EXPECT_EQ(qwen().decode(ids), to_nfc(text)) << path << ": " << line.substr(0, 300);
      ++count;
    }
    return count;
  }
};

TEST_F(PublishedTokenizer, GivesTheIdsOfTheExamples) {
  EXPECT_EQ(check_lines(*find_qwen_folder() / "examples.jsonl"), 13u);
}

TEST_F(PublishedTokenizer, GivesTheIdsOfTheGoldenFiles) {
  for (const auto& [name, count] :
       {std::pair("tokenizer_qwen2.5.jsonl", 383u), std::pair("tokenizer_awkward.jsonl", 589u)}) {
    const std::filesystem::path golden = source_folder() / "tests/golden" / name;
    ASSERT_TRUE(std::filesystem::exists(golden)) << golden << ": make it with tests/golden/make_tokenizer_golden.*";
    EXPECT_EQ(check_lines(golden), count) << name;
  }
}

TEST_F(PublishedTokenizer, KnowsItsIdsAndTokens) {
  EXPECT_EQ(qwen().num_ids(), 151'665);
  EXPECT_EQ(qwen().special_ids().size(), 14u);
  EXPECT_EQ(qwen().id_of("<|im_end|>"), 151'645);
  EXPECT_TRUE(qwen().is_special(151'645));
  EXPECT_FALSE(qwen().is_special(*qwen().id_of("<tool_call>")));
  EXPECT_EQ(qwen().token_of(*qwen().id_of("\xc4\xa0the")), "\xc4\xa0the");
  EXPECT_EQ(qwen().token_bytes(*qwen().id_of("\xc4\xa0the")), " the");
  EXPECT_EQ(qwen().id_of("no such token"), std::nullopt);
  EXPECT_NO_THROW(qwen().check_against_vocab(151'936));
  EXPECT_NO_THROW(qwen().check_against_vocab(151'665));
  EXPECT_THROW(qwen().check_against_vocab(151'664), ConfigError);
}

TEST_F(PublishedTokenizer, TakesTheLongSAsAnSInContractions) {
  // Case folding is Unicode's: 's matches ' and U+017F, as in Oniguruma, so that no letter run begins there.
  const Ids ids = qwen().encode("it'\xc5\xbfx");
  EXPECT_EQ(qwen().decode(ids), "it'\xc5\xbfx");
  const Ids parts = qwen().encode("'\xc5\xbf"), rest = qwen().encode("x");
  Ids joined = qwen().encode("it");
  joined.insert(joined.end(), parts.begin(), parts.end());
  joined.insert(joined.end(), rest.begin(), rest.end());
  EXPECT_EQ(ids, joined);
}

TEST_F(PublishedTokenizer, DecodingGivesTheNormalisedTextBack) {
  RandomStream random(3, 0, "round trip");
  for (int round = 0; round < 3000; ++round) {
    const std::string text = random_text(random, random.below(30));
    EXPECT_EQ(qwen().decode(qwen().encode(text)), to_nfc(text)) << testing::PrintToString(text);
  }
}

TEST_F(PublishedTokenizer, EveryCodePointAloneComesBackNormalised) {
  for (int first = 0; first < 0x110000; first += 0x100) {
    if (first >= 0xd800 && first < 0xe000) continue;
    std::string text;
    for (int character = first; character < first + 0x100; ++character) {
      if (character < 0x80) {
        text += static_cast<char>(character);
      } else if (character < 0x800) {
        text += {static_cast<char>(0xc0 | character >> 6), static_cast<char>(0x80 | (character & 0x3f))};
      } else if (character < 0x10000) {
        text += {static_cast<char>(0xe0 | character >> 12), static_cast<char>(0x80 | (character >> 6 & 0x3f)),
                 static_cast<char>(0x80 | (character & 0x3f))};
      } else {
        text += {static_cast<char>(0xf0 | character >> 18), static_cast<char>(0x80 | (character >> 12 & 0x3f)),
                 static_cast<char>(0x80 | (character >> 6 & 0x3f)), static_cast<char>(0x80 | (character & 0x3f))};
      }
      text += ' ';
    }
    ASSERT_EQ(qwen().decode(qwen().encode(text)), to_nfc(text)) << first;
  }
}

TEST_F(PublishedTokenizer, StreamedTextIsTheDecodedTextWhereverCharactersAreCut) {
  RandomStream random(4, 0, "stream");
  for (int round = 0; round < 300; ++round) {
    Ids ids = qwen().encode(random_text(random, 20));
    for (std::int32_t& id : ids) {
      if (random.below(4) == 0) id = static_cast<std::int32_t>(random.below(256));  // single bytes: often no UTF-8
    }
    StreamDecoder decoder(qwen());
    std::string streamed;
    for (const std::int32_t id : ids) streamed += decoder.add(id);
    streamed += decoder.finish();
    EXPECT_EQ(streamed, qwen().decode(ids));
  }
}

TEST_F(PublishedTokenizer, TenMillionEqualCharactersAreNoLargeWork) {
  // Quadratic work would take days. Each kind goes through another alternative of the pattern.
  for (const std::string unit : {"a", " ", "\n", "-", "\xcc\x81", "\xe4\xb8\xad"}) {
    std::string text;
    for (int i = 0; i < 2'000'000; ++i) text += unit;
    const Ids ids = qwen().encode("x" + text + "x");
    EXPECT_EQ(qwen().decode(ids), to_nfc("x" + text + "x")) << unit;
  }
}

TEST_F(PublishedTokenizer, ChatTemplateWritesChatMl) {
  const std::vector<ChatMessage> messages = {{"user", "Hi"}, {"assistant", "Hello\n"}, {"user", "Bye"}};
  EXPECT_EQ(
      qwen().apply_chat_template(messages),
      "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello\n<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
      "<|im_start|>assistant\n");
  const std::vector<ChatMessage> own = {{"system", "Be brief."}, {"user", "Hi"}};
  EXPECT_EQ(qwen().apply_chat_template(own),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(qwen().encode("<|im_start|>system\n"), (Ids{151'644, 8948, 198}));
}

TEST_F(PublishedTokenizer, BaseModelsHaveTheirOwnDefaultSystemMessage) {
  const Json config = read_json_file(*find_qwen_folder() / "tokenizer_config.base.json");
  EXPECT_EQ(default_system_of(config["chat_template"].get<std::string>()), "You are a helpful assistant.");
}

TEST_F(PublishedTokenizer, AChangedTemplateIsNotTakenForThePublishedOne) {
  const Json config = read_json_file(*find_qwen_folder() / "tokenizer_config.json");
  auto text = config["chat_template"].get<std::string>();
  ASSERT_TRUE(default_system_of(text));
  text.replace(text.find("message.content"), 15, "message.subject");
  EXPECT_EQ(default_system_of(text), std::nullopt);
}

}  // namespace
}  // namespace reprefill::engine
