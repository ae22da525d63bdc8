// Runs the fuzz target's entry point, with any compiler, over its corpus and over deterministic mutations of it.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/base/random.hpp"
#include "tests/support/shared_data.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace reprefill::traces {
namespace {

std::vector<std::string> corpus() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry :
       std::filesystem::directory_iterator(test_support::source_folder() / "tests/fuzz/corpus/trace_formats")) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> inputs;
  for (const std::filesystem::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

void run(const std::string& input) {
  // A copy of exactly this size, so that a memory checker sees a read past the end.
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  ASSERT_NO_THROW(LLVMFuzzerTestOneInput(bytes.data(), bytes.size())) << input.substr(0, 400);
}

/// Changes, inserts, removes or repeats a few bytes, or splices in a piece of another input.
std::string mutate(std::string input, const std::vector<std::string>& others, RandomStream& random) {
  static constexpr std::string_view kTelling = "{}[]\",:\n\r\\0129-.eE tfn\xEF\xBB\xBF\xFF";
  for (std::uint64_t left = 1 + random.below(4); left > 0; --left) {
    const std::size_t at = random.below(input.size() + 1);
    switch (random.below(5)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(random.below(256));
        break;
      case 1:
        input.insert(at, 1, kTelling[random.below(kTelling.size())]);
        break;
      case 2:
        input.erase(at, 1 + random.below(20));
        break;
      case 3:
        input.insert(at, input.substr(at, random.below(100)));
        break;
      default: {
        const std::string& other = others[random.below(others.size())];
        input.insert(at, other.substr(random.below(other.size() + 1), random.below(200)));
      }
    }
  }
  return input;
}

TEST(TraceFormatsFuzz, SurvivesItsCorpus) {
  const std::vector<std::string> inputs = corpus();
  ASSERT_GE(inputs.size(), 20u);
  for (const std::string& input : inputs) run(input);
}

TEST(TraceFormatsFuzz, SurvivesMutationsOfItsCorpus) {
  const std::vector<std::string> inputs = corpus();
  RandomStream random(1, 0, "trace_formats_fuzz_smoke_test");
  for (int round = 0; round < 5000; ++round) run(mutate(inputs[random.below(inputs.size())], inputs, random));
}

}  // namespace
}  // namespace reprefill::traces
