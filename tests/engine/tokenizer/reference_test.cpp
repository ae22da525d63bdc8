// The tokenizer against a slow one.
#include "tests/engine/tokenizer/reference.hpp"

#include <fstream>

#include "tests/engine/tokenizer/tokenizer_fixture.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;

/// vocab.json and merges.txt: not the file that the tokenizer under test reads.
ReferenceTokenizer published_reference(const std::filesystem::path& folder) {
  ReferenceTokenizer reference;
  const auto vocabulary = nlohmann::json::parse(read_text(folder / "vocab.json"));
  for (const auto& [token, id] : vocabulary.items()) {
    reference.id_of[bytes_of_token(token).value()] = id;
  }
  std::ifstream merges(folder / "merges.txt");
  int rank = 0;
  for (std::string left, right; merges >> left >> right;) {
    reference.ranks[{bytes_of_token(left).value(), bytes_of_token(right).value()}] = rank++;
  }
  const auto config = nlohmann::json::parse(read_text(folder / "tokenizer_config.json"));
  for (const auto& [id, token] : config["added_tokens_decoder"].items()) {
    reference.added[token["content"].get<std::string>()] = std::stoi(id);
  }
  return reference;
}

TEST(TokenizerReference, PublishedTokenizerGivesTheSameIdsOnRandomUnicode) {
  if (qwen_tokenizer() == nullptr) GTEST_SKIP() << kNoQwenFolder;
  const ReferenceTokenizer reference = published_reference(*find_qwen_folder());
  ASSERT_EQ(reference.ranks.size(), 151'387u);
  ASSERT_EQ(reference.added.size(), 22u);
  RandomStream random(1, 0, "reference");
  for (int round = 0; round < 4000; ++round) {
    const std::string text = random_text(random, random.below(40));
    ASSERT_EQ(qwen_tokenizer()->encode(text), reference.encode(text)) << testing::PrintToString(text);
  }
}

TEST(TokenizerReference, RandomTokenizersMergeAlike) {
  RandomStream random(2, 0, "merges");
  for (int round = 0; round < 60; ++round) {
    // Merges of tokens that are there already, over an alphabet of three: many overlap and tie.
    std::vector<std::string> tokens = {"a", "b", "c"};
    std::vector<std::pair<std::string, std::string>> merges;
    ReferenceTokenizer reference;
    for (std::uint64_t count = random.below(30); count > 0; --count) {
      const std::string left = tokens[random.below(tokens.size())], right = tokens[random.below(tokens.size())];
      if (left.size() + right.size() > 12 || reference.ranks.count({left, right}) != 0) continue;
      reference.ranks[{left, right}] = static_cast<int>(merges.size());
      merges.emplace_back(left, right);
      tokens.push_back(left + right);
    }
    const Json json = tiny_tokenizer(merges);
    for (const auto& [token, id] : json["model"]["vocab"].items()) reference.id_of[bytes_of_token(token).value()] = id;
    const Tokenizer tokenizer = parse(json);
    for (const std::size_t size : {0, 1, 2, 3, 7, 47, 48, 49, 50, 300}) {
      std::string text;
      for (std::size_t i = 0; i < size; ++i) text += static_cast<char>('a' + random.below(3));
      ASSERT_EQ(tokenizer.encode(text), reference.encode(text)) << json["model"]["merges"] << " " << text;
    }
  }
}

}  // namespace
}  // namespace reprefill::engine
