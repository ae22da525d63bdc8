// Logits and greedy tokens against Hugging Face transformers: tests/golden/make_logits_golden.py made the files.
#include <filesystem>
#include <fstream>
#include <iostream>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/engine/executor/comparison.hpp"
#include "tests/engine/executor/executor_fixture.hpp"
#include "tests/support/shared_data.hpp"

namespace reprefill::engine::test {
namespace {

// Both in units of the root mean square of the model's logits. fp32 against fp32 in another order of summation: as
// cpu_executor_test, with room for transformers' own rounding. With K and V in bf16 each element is off by up to 2^-9
// of itself; on random models of this shape fp32 and bf16 KV differ by 0.02 to 0.03 at the worst of 35,000 logits.
constexpr double kFp32Bound = 2e-4;
constexpr double kBf16Bound = 5e-2;

struct Golden {
  std::vector<std::int32_t> prompt, greedy;
  std::vector<std::uint32_t> positions;
  std::vector<std::vector<double>> logits;
  std::vector<double> margins;
  double rms = 0;
};

Golden read_golden(const std::filesystem::path& path) {
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file);
  Golden golden;
  json.at("prompt").get_to(golden.prompt);
  json.at("greedy").get_to(golden.greedy);
  json.at("positions").get_to(golden.positions);
  json.at("logits").get_to(golden.logits);
  json.at("margins").get_to(golden.margins);
  json.at("rms").get_to(golden.rms);
  return golden;
}

std::filesystem::path golden_folder() { return test_support::source_folder() / "tests" / "golden" / "logits"; }

std::vector<std::filesystem::path> models() {
  std::vector<std::filesystem::path> folders;
  if (!std::filesystem::is_directory(golden_folder())) return folders;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder())) {
    if (entry.is_directory()) folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  return folders;
}

#define REPREFILL_SKIP_WITHOUT_GOLDEN()                \
  if (!std::filesystem::is_directory(golden_folder())) \
  GTEST_SKIP() << "no " << golden_folder() << ": make_logits_golden.py"

double worst_error(const Golden& golden, CpuExecutor& executor, Sequence& sequence) {
  double worst = 0;
  for (std::size_t i = 0; i < golden.positions.size(); ++i) {
    const std::vector<float> logits = all_logits(executor, sequence, {golden.positions[i], 1});
    EXPECT_EQ(logits.size(), golden.logits[i].size());
    for (std::size_t j = 0; j < logits.size(); ++j) {
      const double error = std::abs(static_cast<double>(logits[j]) - golden.logits[i][j]) / golden.rms;
      worst = std::max(worst, std::isnan(error) ? std::numeric_limits<double>::infinity() : error);
    }
  }
  return worst;
}

struct Agreement {
  std::size_t decided = 0;  // steps whose margin exceeds twice the bound
  std::size_t right = 0;    // of these
};

/// Each step continues the golden text, so that one near tie does not spoil the rest. `stored` tokens of the prompt are
/// a stored prefix, of which all is kept.
Agreement greedy_agreement(const Golden& golden, CpuExecutor& executor, std::uint32_t stored, double bound) {
  const int num_layers = executor.checkpoint().geometry().num_layers;
  StoredPrefix prefix;
  if (stored > 0) {
    const auto whole = prefill(executor, std::span(golden.prompt).first(stored));
    prefix = StoredPrefix(executor, *whole, stored, 16);
  }
  const std::vector<KvView> views = prefix.views(num_layers);
  const auto sequence = prefill(executor, std::span(golden.prompt).subspan(stored), views, stored);
  std::vector<float> logits = last_logits(executor, *sequence);
  Agreement agreement;
  for (std::size_t step = 0; step < golden.greedy.size(); ++step) {
    if (step > 0) logits = decode_logits(executor, *sequence, golden.greedy[step - 1], views);
    if (golden.margins[step] <= 2 * bound * golden.rms) continue;
    ++agreement.decided;
    if (argmax(logits) == golden.greedy[step]) ++agreement.right;
  }
  return agreement;
}

TEST(GoldenLogits, OfTransformersAreWithinTheBound) {
  REPREFILL_SKIP_WITHOUT_GOLDEN();
  ASSERT_FALSE(models().empty());
  for (const auto& folder : models()) {
    const Golden golden = read_golden(folder / "golden.json");
    const Checkpoint checkpoint = Checkpoint::open(folder);
    for (const KvType type : {KvType::fp32, KvType::bf16}) {
      const double bound = type == KvType::fp32 ? kFp32Bound : kBf16Bound;
      CpuExecutor executor(checkpoint, {.num_threads = 2, .kv_type = type});
      const auto sequence = prefill(executor, golden.prompt);
      const double error = worst_error(golden, executor, *sequence);
      std::cout << folder.filename().string() << ", " << (type == KvType::fp32 ? "fp32" : "bf16") << " KV: error "
                << error << " of rms, bound " << bound << '\n';
      EXPECT_LT(error, bound) << folder;
    }
  }
}

TEST(GoldenLogits, GreedyTokensAreThoseOfTransformersWhereTheMarginDecides) {
  REPREFILL_SKIP_WITHOUT_GOLDEN();
  for (const auto& folder : models()) {
    const Golden golden = read_golden(folder / "golden.json");
    const Checkpoint checkpoint = Checkpoint::open(folder);
    for (const KvType type : {KvType::fp32, KvType::bf16}) {
      CpuExecutor executor(checkpoint, {.num_threads = 2, .kv_type = type});
      for (const std::uint32_t stored : {0u, 64u}) {
        const Agreement agreement =
            greedy_agreement(golden, executor, stored, type == KvType::fp32 ? kFp32Bound : kBf16Bound);
        std::cout << folder.filename().string() << ", " << (type == KvType::fp32 ? "fp32" : "bf16") << " KV, " << stored
                  << " stored: " << agreement.right << " of " << agreement.decided << " decided of "
                  << golden.greedy.size() << " tokens\n";
        EXPECT_EQ(agreement.right, agreement.decided) << folder;
        EXPECT_GT(agreement.decided, 0u) << folder;
      }
    }
  }
}

}  // namespace
}  // namespace reprefill::engine::test
