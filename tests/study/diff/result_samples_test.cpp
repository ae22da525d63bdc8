// What a result folder gives to pair, and what it is refused for.
#include "study/diff/result_samples.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/base/random.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::study {
namespace {

using testing::HasSubstr;

Json sweep_row(const std::string& label, int replica, double ttft_ms) {
  return {{"schema_version", 3},
          {"label", label},
          {"axes", {{"budget", 0.05}, {"chunk_tokens", nullptr}}},
          {"replica", replica},
          {"ttft", {{"mean_ttft_ms", ttft_ms}, {"p95_ttft_ms", nullptr}}}};
}

Json compare_row(std::vector<double> real_ms) {
  Json row = {{"schema_version", 1}, {"kind", "compare"}, {"label", "a"}, {"axes", Json::object()}};
  row["ttft"] = {{"real_ms", real_ms.empty() ? 0.0 : real_ms.front()}};
  row["requests"] = Json::array();
  for (std::size_t i = 0; i < real_ms.size(); ++i) {
    row["requests"].push_back({{"name", std::to_string(i + 5)}, {"real_ms", real_ms[i]}});
  }
  return row;
}

std::string lines(const std::vector<Json>& rows) {
  std::string text;
  for (const Json& row : rows) text += row.dump() + "\n";
  return text;
}

std::string refused(const std::string& text, const SampleOptions& options = {}) {
  try {
    parse_result_samples(text, "r.jsonl", options);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ResultSamples, RowsOfASweepAreReplicasOfPoints) {
  const ResultSamples samples =
      parse_result_samples(lines({sweep_row("a", 0, 1), sweep_row("a", 1, 2), sweep_row("b", 0, 3)}), "r", {});
  EXPECT_EQ(samples.kind, "sweep");
  EXPECT_EQ(samples.schema_version, 3);
  EXPECT_EQ(samples.pair_by, PairBy::point);
  ASSERT_EQ(samples.points.size(), 2u);
  EXPECT_EQ(samples.points[0].label, "a");
  EXPECT_EQ(samples.points[0].axes, (Json{{"budget", 0.05}}));  // the other one collapsed
  ASSERT_EQ(samples.points[0].samples.size(), 2u);
  EXPECT_EQ(samples.points[0].samples[1].pair, "replica 1");
  EXPECT_EQ(samples.points[0].samples[1].value, 2);
}

TEST(ResultSamples, RequestsArePairedWhereAllRowsHaveThem) {
  Json with = sweep_row("a", 0, 1.5);
  with["requests"] = {{"ttft_ms", {1.0, 2.0}}};
  const ResultSamples samples = parse_result_samples(lines({with}), "r", {});
  EXPECT_EQ(samples.pair_by, PairBy::request);
  ASSERT_EQ(samples.points[0].samples.size(), 2u);
  EXPECT_EQ(samples.points[0].samples[1].pair, "replica 0 request 1");
  const std::string mixed = lines({with, sweep_row("b", 0, 3)});
  EXPECT_EQ(parse_result_samples(mixed, "r", {}).pair_by, PairBy::point);
  EXPECT_THAT(refused(mixed, {.pair_by = PairBy::request}),
              HasSubstr("r.jsonl:2: --by request: the row has no requests"));
  EXPECT_EQ(parse_result_samples(lines({with}), "r", {.pair_by = PairBy::point}).points[0].samples.size(), 1u);
}

TEST(ResultSamples, RequestsOfAComparisonKeepTheirNumbers) {
  const ResultSamples samples = parse_result_samples(lines({compare_row({1, 2})}), "r", {});
  EXPECT_EQ(samples.kind, "compare");
  EXPECT_EQ(samples.points[0].label, "a");
  EXPECT_EQ(samples.points[0].samples[0].pair, "replica 0 request 5");
  // Only distributions were compared: the mean is what there is.
  const ResultSamples means = parse_result_samples(lines({compare_row({})}), "r", {});
  EXPECT_EQ(means.pair_by, PairBy::point);
  EXPECT_EQ(means.points[0].samples.size(), 1u);
}

TEST(ResultSamples, AMetricIsAPathInTheRow) {
  const ResultSamples samples =
      parse_result_samples(lines({sweep_row("a", 0, 7)}), "r", {.metric = "ttft.mean_ttft_ms"});
  EXPECT_EQ(samples.points[0].samples[0].value, 7);
  EXPECT_THAT(refused(lines({sweep_row("a", 0, 7)}), {.metric = "ttft.p95_ttft_ms"}), HasSubstr("found null"));
  EXPECT_THAT(refused(lines({sweep_row("a", 0, 7)}), {.metric = "ttft.nonsense"}), HasSubstr("nonsense"));
  EXPECT_THAT(refused(lines({sweep_row("a", 0, 7)}), {.metric = "label"}), HasSubstr("label: found \"a\""));
  EXPECT_THAT(refused(lines({sweep_row("a", 0, 7)}), {.metric = "label.x"}), HasSubstr("r.jsonl:1"));
  EXPECT_THAT(refused(lines({sweep_row("a", 0, 7)}), {.metric = "."}), HasSubstr("r.jsonl:1"));
}

TEST(ResultSamples, DamagedAndMixedFilesAreRefusedWithTheLine) {
  EXPECT_THAT(refused(""), HasSubstr("no rows"));
  EXPECT_THAT(refused("\n\n"), HasSubstr("no rows"));
  EXPECT_THAT(refused("{\"schema_version\": 3"), HasSubstr("r.jsonl:1"));
  EXPECT_THAT(refused("[]"), HasSubstr("r.jsonl:1"));
  EXPECT_THAT(refused("{}"), HasSubstr("schema_version"));
  Json old = sweep_row("a", 1, 2);
  old["schema_version"] = 2;
  EXPECT_THAT(refused(lines({sweep_row("a", 0, 1), old})),
              HasSubstr("r.jsonl:2: a sweep row of schema 2 among sweep rows of schema 3"));
  Json other = sweep_row("a", 0, 2);
  other["kind"] = "poem";
  EXPECT_THAT(refused(lines({other})), HasSubstr("\"sweep\" or \"compare\""));
}

TEST(ResultSamples, AFolderWithoutResultsSaysWhatToDo) {
  const test_support::TemporaryFolder folder;
  const auto message = [&] {
    try {
      read_result_samples(folder / "out", {});
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(message(), HasSubstr("expected a result folder"));
  std::filesystem::create_directories(folder / "out");
  std::ofstream(folder / "out" / "journal.jsonl") << "";
  EXPECT_THAT(message(), HasSubstr("--resume"));
  std::ofstream(folder / "out" / "results.jsonl") << lines({sweep_row("a", 0, 1)});
  EXPECT_EQ(read_result_samples(folder / "out", {}).points.size(), 1u);
}

}  // namespace
}  // namespace reprefill::study

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace reprefill::study {
namespace {

TEST(ResultSamplesFuzz, SurvivesRandomChangesOfRows) {
  Json with = sweep_row("a", 0, 1.5);
  with["requests"] = {{"ttft_ms", {1.0, 2.0}}};
  const std::string sound[] = {lines({sweep_row("a", 0, 1), sweep_row("b", 0, 2)}), lines({with, with}),
                               lines({compare_row({1, 2})})};
  RandomStream random(8, 0, "fuzz smoke");
  for (int round = 0; round < 3000; ++round) {
    std::string text = sound[random.below(3)];
    for (std::uint64_t changes = random.below(4); changes > 0 && !text.empty(); --changes) {
      const std::size_t at = random.below(text.size());
      if (random.below(2) == 0) {
        text[at] = "0123456789.-eE\"[]{}:,n"[random.below(22)];
      } else {
        text.erase(at, 1 + random.below(12));
      }
    }
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()), 0);
  }
}

}  // namespace
}  // namespace reprefill::study
