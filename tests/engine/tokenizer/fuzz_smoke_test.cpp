// The fuzz target, run on its corpus, on changed tokenizers and on texts.
#include <filesystem>

#include "core/base/files.hpp"
#include "tests/engine/tokenizer/tokenizer_fixture.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace reprefill::engine {
namespace {

using namespace test_support;

void run(const std::string& text) {
  EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()), 0);
}

TEST(TokenizerFuzz, SurvivesItsCorpus) {
  int count = 0;
  for (const auto& file :
       std::filesystem::directory_iterator(test_support::source_folder() / "tests/fuzz/corpus/tokenizer")) {
    run(std::string(read_whole_file(file.path(), 0).text()));
    ++count;
  }
  EXPECT_GE(count, 6);
}

TEST(TokenizerFuzz, SurvivesRandomChangesOfATokenizer) {
  const std::string sound = tiny_tokenizer({{"a", "b"}, {"ab", "c"}}).dump();
  RandomStream random(6, 0, "fuzz smoke");
  run("");
  run(sound);
  for (int round = 0; round < 3000; ++round) {
    std::string text = sound;
    for (std::uint64_t changes = 1 + random.below(4); changes > 0 && !text.empty(); --changes) {
      const std::size_t at = random.below(text.size());
      switch (random.below(3)) {
        case 0:
          text[at] = static_cast<char>(random.below(256));
          break;
        case 1:
          text.erase(at, 1 + random.below(8));
          break;
        default:
          text.insert(at, sound.substr(random.below(sound.size()), random.below(20)));
      }
    }
    run(text);
  }
}

TEST(TokenizerFuzz, SurvivesRandomTexts) {
  RandomStream random(7, 0, "fuzz smoke");
  for (int round = 0; round < 2000; ++round) {
    std::string text = random_text(random, random.below(20));
    for (std::uint64_t changes = random.below(3); changes > 0 && !text.empty(); --changes) {
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    }
    run(text);
  }
}

}  // namespace
}  // namespace reprefill::engine
