#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/json.hpp"
#include "tests/support/program.hpp"

namespace reprefill {
namespace {

using test_support::ProgramResult;
using test_support::run_program;
using test_support::TemporaryFolder;
using testing::HasSubstr;

class StoreVerbs : public testing::Test {
 protected:
  std::string store() const { return (folder_ / "store").string(); }
  Json list() const { return Json::parse(run_program("store list --json --store " + store()).output); }
  ProgramResult synthesize(const std::string& more) const {
    return run_program("store synthesize --quiet --model qwen2.5-0.5b --store " + store() + " " + more);
  }
  TemporaryFolder folder_;
};

TEST_F(StoreVerbs, AStoreIsMadeListedVerifiedDamagedRepairedAndEmptied) {
  ASSERT_EQ(synthesize("--prefixes 2 --tokens 128 --segments-per-prefix 2").exit_code, 0);
  Json json = list();
  EXPECT_EQ(json["segments"].size(), 4u);
  EXPECT_EQ(json["layouts"], Json({"layer-adjacent-16+ident8", "layer-apart-64+probe0-2"}));
  EXPECT_THAT(run_program("store list --store " + store()).output, HasSubstr("4 segments, 256 tokens"));
  EXPECT_EQ(run_program("store verify --quiet --store " + store()).exit_code, 0);

  const std::string root = json["segments"][0]["key"].get<std::string>();
  const std::string file = store() + "/segments/" + root + "/layer-apart-64+probe0-2.kv";
  std::string bytes = test_support::read_text(file);
  const std::size_t probe_keys = 4096 + 2 * 24 * 16384;  // behind 24 layers of K and V: 64 tokens x 2 heads x 64 x 2
  bytes[probe_keys] = static_cast<char>(bytes[probe_keys] ^ 1);
  test_support::write_text(file, bytes);
  const ProgramResult damaged = run_program("store verify --quiet --store " + store());
  EXPECT_EQ(damaged.exit_code, 3);
  EXPECT_THAT(damaged.output, HasSubstr(file + ": damaged probe_keys of layer 0, bytes 790528 to 794623"));
  EXPECT_EQ(run_program("store verify --quiet --repair --store " + store()).exit_code, 0);
  EXPECT_EQ(run_program("store verify --quiet --store " + store()).exit_code, 0);

  EXPECT_EQ(run_program("store remove --store " + store() + " " + root).exit_code, 2) << "it has a child";
  EXPECT_EQ(run_program("store remove --recursive --store " + store() + " " + root.substr(0, 8)).exit_code, 0);
  EXPECT_EQ(list()["segments"].size(), 2u);
  EXPECT_EQ(run_program("store remove --all --store " + store()).exit_code, 0);
  EXPECT_EQ(list()["segments"].size(), 0u);
}

TEST_F(StoreVerbs, MistakesAreExplained) {
  const auto expect = [](const ProgramResult& result, const char* text) {
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(text));
  };
  expect(run_program("store list --store " + store()), "is not a store");
  expect(synthesize("--layouts layer-apart-48"), "192");
  expect(synthesize("--layouts nonsense"), "layer-adjacent-16+ident8");
  expect(synthesize("--tokens 10"), "whole blocks");
  expect(synthesize("--prefixes 1000000 --tokens 1000000"), "are free");
  ASSERT_EQ(synthesize("--tokens 64").exit_code, 0);
  expect(synthesize("--tokens 64 --layouts layer-apart-64"), "use the same, or another folder");
  expect(run_program("store remove --store " + store()), "--all");
  expect(run_program("store remove --store " + store() + " abc"), "too short");
}

}  // namespace
}  // namespace reprefill
