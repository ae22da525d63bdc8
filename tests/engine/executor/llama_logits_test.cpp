// Logits and greedy tokens against llama.cpp: tests/golden/make_llama_logits.{py,js} made the files, which are
// committed.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/engine/executor/executor_fixture.hpp"
#include "tests/support/shared_data.hpp"

namespace reprefill::engine::test {
namespace {

// Of log-probabilities, in nats; logits of these models spread by 4 to 6.5 around their mean. fp32: the order of
// summation and llama.cpp's own exp; 4e-5 at the worst of 5,760 when this was written. bf16: each element of K and V is
// off by up to 2^-9 of itself, llama.cpp's are fp32; 0.08 at the worst.
constexpr double kFp32Bound = 2e-4;
constexpr double kBf16Bound = 1.5e-1;

struct Golden {
  std::vector<std::int32_t> prompt;
  std::vector<std::uint32_t> positions;
  std::vector<std::vector<double>> logits;  // [positions][vocab]
  std::vector<std::int32_t> top, greedy;
  std::vector<double> top_margins, greedy_margins;
};

Golden read_golden(const std::filesystem::path& folder) {
  std::ifstream file(folder / "golden.json");
  const auto json = nlohmann::json::parse(file);
  Golden golden;
  json.at("prompt").get_to(golden.prompt);
  json.at("positions").get_to(golden.positions);
  json.at("logits").get_to(golden.logits);
  json.at("top").get_to(golden.top);
  json.at("top_margins").get_to(golden.top_margins);
  json.at("greedy").get_to(golden.greedy);
  json.at("greedy_margins").get_to(golden.greedy_margins);
  return golden;
}

template <typename Logit>
std::vector<double> log_softmax(std::span<const Logit> logits) {
  const double highest = static_cast<double>(*std::ranges::max_element(logits));
  double sum = 0;
  for (const Logit logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  std::vector<double> out;
  for (const Logit logit : logits) out.push_back(static_cast<double>(logit) - highest - std::log(sum));
  return out;
}

/// The largest difference of log-probabilities at the kept positions; infinite where one is not a number.
double worst_difference(const Golden& golden, CpuExecutor& executor, Sequence& sequence) {
  double worst = 0;
  for (std::size_t i = 0; i < golden.positions.size(); ++i) {
    const std::vector<float> logits = all_logits(executor, sequence, {golden.positions[i], 1});
    const std::vector<double> actual = log_softmax(std::span(logits));
    const std::vector<double> expected = log_softmax(std::span(golden.logits[i]));
    EXPECT_EQ(actual.size(), expected.size());
    for (std::size_t id = 0; id < actual.size(); ++id) {
      const double difference = std::abs(actual[id] - expected[id]);
      worst = std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(worst, difference);
    }
  }
  return worst;
}

std::filesystem::path golden_folder(const std::string& model) {
  return test_support::source_folder() / "tests" / "golden" / "llama_logits" / model;
}

struct Agreement {
  std::size_t tokens = 0;
  std::size_t decided = 0;  // of these, whose golden margin exceeds twice the bound
  std::size_t right = 0;    // of these, whose token is the golden one

  void count(std::int32_t actual, std::int32_t expected, double margin, double bound) {
    ++tokens;
    if (margin <= 2 * bound) return;
    ++decided;
    if (actual == expected) ++right;
  }
};

Agreement top_agreement(const Golden& golden, CpuExecutor& executor, Sequence& sequence, double bound) {
  const auto vocab = static_cast<std::size_t>(executor.checkpoint().geometry().vocab);
  const std::vector<float> logits = all_logits(executor, sequence, {0, sequence.num_own_tokens()});
  Agreement agreement;
  for (std::size_t i = 0; i < golden.top.size(); ++i) {
    agreement.count(argmax(std::span(logits).subspan(i * vocab, vocab)), golden.top[i], golden.top_margins[i], bound);
  }
  return agreement;
}

struct Continuation {
  std::vector<std::int32_t> tokens;
  std::vector<std::vector<float>> logits;  // of each step
};

/// Each step continues the golden text, so that one near tie does not spoil the rest. The first `stored` tokens of the
/// prompt are a stored prefix, of which all is kept.
Continuation continue_golden(const Golden& golden, CpuExecutor& executor, std::uint32_t stored) {
  StoredPrefix prefix;
  if (stored > 0) {
    const auto whole = prefill(executor, std::span(golden.prompt).first(stored));
    prefix = StoredPrefix(executor, *whole, stored, 16);
  }
  const std::vector<KvView> views = prefix.views(executor.checkpoint().geometry().num_layers);
  const auto sequence = prefill(executor, std::span(golden.prompt).subspan(stored), views, stored);
  std::vector<float> logits = last_logits(executor, *sequence);
  Continuation continuation;
  for (std::size_t step = 0; step < golden.greedy.size(); ++step) {
    if (step > 0) logits = decode_logits(executor, *sequence, golden.greedy[step - 1], views);
    continuation.tokens.push_back(argmax(logits));
    continuation.logits.push_back(logits);
  }
  return continuation;
}

/// A golden model, run with K and V of one type.
struct Case {
  std::string model;
  KvType kv_type;
  double bound() const { return kv_type == KvType::fp32 ? kFp32Bound : kBf16Bound; }
  std::string name() const { return model + (kv_type == KvType::fp32 ? "_fp32" : "_bf16"); }
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name(); }
};

class LlamaLogits : public testing::TestWithParam<Case> {
 protected:
  const std::filesystem::path folder = golden_folder(GetParam().model);
  const Golden golden = read_golden(folder);
  const Checkpoint checkpoint = Checkpoint::open(folder);
  CpuExecutor executor{checkpoint, {.num_threads = 2, .kv_type = GetParam().kv_type}};
  const double bound = GetParam().bound();

  void expect_agreement(const Agreement& agreement, std::string_view what) const {
    std::cout << GetParam().name() << ", " << what << ": " << agreement.right << " right of " << agreement.decided
              << " decided of " << agreement.tokens << " tokens ("
              << 100 * agreement.decided / std::max<std::size_t>(agreement.tokens, 1) << " % decided)\n";
    EXPECT_EQ(agreement.right, agreement.decided);
    EXPECT_GT(agreement.decided, agreement.tokens / 2);  // else the comparison says little
  }
};

TEST_P(LlamaLogits, LogProbabilitiesAreWithinTheBound) {
  const auto sequence = prefill(executor, golden.prompt);
  const double difference = worst_difference(golden, executor, *sequence);
  std::cout << GetParam().name() << ": worst difference " << difference << " nats, bound " << bound << '\n';
  EXPECT_LT(difference, bound);
}

TEST_P(LlamaLogits, TheTopTokenOfEachPromptPositionIsLlamasWhereTheMarginDecides) {
  const auto sequence = prefill(executor, golden.prompt);
  expect_agreement(top_agreement(golden, executor, *sequence, bound), "prompt");
}

TEST_P(LlamaLogits, GreedyTokensAreLlamasWhereTheMarginDecides) {
  const auto half = static_cast<std::uint32_t>(golden.prompt.size() / 2);
  const auto all_but_one = static_cast<std::uint32_t>(golden.prompt.size() - 1);
  for (const std::uint32_t stored : {0u, half, all_but_one}) {
    const Continuation continuation = continue_golden(golden, executor, stored);
    Agreement agreement;
    for (std::size_t i = 0; i < golden.greedy.size(); ++i) {
      agreement.count(continuation.tokens[i], golden.greedy[i], golden.greedy_margins[i], bound);
    }
    expect_agreement(agreement, fmt::format("greedy with {} stored", stored));
  }
}

TEST_P(LlamaLogits, FullPrefixRePrefillGivesTheTokensOfPlainPrefill) {
  const Continuation plain = continue_golden(golden, executor, 0);
  for (const std::uint32_t stored : {1u, 16u, static_cast<std::uint32_t>(golden.prompt.size() - 1)}) {
    const Continuation resumed = continue_golden(golden, executor, stored);
    EXPECT_EQ(resumed.tokens, plain.tokens) << stored << " stored";
    EXPECT_EQ(resumed.logits, plain.logits) << stored << " stored";  // cpu_executor.hpp promises the very bits
  }
}

/// The fp32 difference once config.json says something else.
double difference_with(const nlohmann::json& change) {
  const std::filesystem::path original = golden_folder("gqa2_dim64_tied_yarn");
  const test_support::TemporaryFolder folder;
  std::filesystem::copy(original / "model.safetensors", folder.path());
  std::ifstream file(original / "config.json");
  auto config = nlohmann::json::parse(file);
  config.merge_patch(change);
  std::ofstream(folder.path() / "config.json") << config;
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  CpuExecutor executor(checkpoint, {.num_threads = 2, .kv_type = KvType::fp32});
  const Golden golden = read_golden(original);
  const auto sequence = prefill(executor, golden.prompt);
  return worst_difference(golden, executor, *sequence);
}

TEST(LlamaLogitsComparison, ASlightlyWrongConfigurationIsOutsideTheBound) {
  EXPECT_LT(difference_with(nlohmann::json::object()), kFp32Bound);
  EXPECT_GT(difference_with({{"rope_theta", 10010}}), kFp32Bound);
  EXPECT_GT(difference_with({{"rms_norm_eps", 2e-6}}), kFp32Bound);
  EXPECT_GT(difference_with({{"rope_scaling", {{"factor", 4.01}}}}), kFp32Bound);
  EXPECT_GT(difference_with({{"rope_scaling", {{"original_max_position_embeddings", 96}}}}), kFp32Bound);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* model : {"gqa2_dim128_untied", "gqa2_dim64_tied_four_layers", "gqa2_dim64_tied_yarn",
                            "gqa3_dim64_untied_sharded", "gqa7_dim64_tied"}) {
    for (const KvType type : {KvType::fp32, KvType::bf16}) all.push_back({model, type});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Models, LlamaLogits, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name(); });

}  // namespace
}  // namespace reprefill::engine::test
