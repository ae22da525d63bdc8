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

/// Stores of random KV, ordered by generated importance: no model is needed.
class ReorderVerb : public StoreVerbs {
 protected:
  static constexpr const char* kReordered = "layer-apart-64+probe0-2+reordered";
  ProgramResult reorder(const std::string& more) const {
    return run_program("store reorder --quiet --store " + store() + " " + more);
  }
  std::string reordered_file() const {
    return store() + "/segments/" + list()["segments"][0]["key"].get<std::string>() + "/" + kReordered + ".kv";
  }
  ProgramResult verify(const std::string& more = "") const {
    return run_program("store verify --quiet --store " + store() + " " + more);
  }
};

TEST_F(ReorderVerb, AStoreIsReorderedListedVerifiedDamagedAndReorderedAgain) {
  ASSERT_EQ(synthesize("--prefixes 2 --tokens 256 --segments-per-prefix 2").exit_code, 0);
  const ProgramResult result = reorder("--importance preset:impress-opt");
  ASSERT_EQ(result.exit_code, 0) << result.output;
  // 512 tokens in 24 layers, K and V of 256 bytes each.
  EXPECT_THAT(result.output, HasSubstr(std::string(kReordered) +
                                       " of 4 segments, ordered by 4 requests each; 6291456 bytes of KV read"));
  EXPECT_EQ(list()["layouts"], Json({"layer-adjacent-16+ident8", "layer-apart-64+probe0-2", kReordered}));
  EXPECT_EQ(verify().exit_code, 0);
  const std::string sound = test_support::read_text(reordered_file());

  std::string damaged = sound;
  const std::size_t permutation = 4096 + 2 * 24 * 128 * 256 + 24 * 128 * 128;  // behind payload and probe keys
  damaged[permutation + 9] = static_cast<char>(damaged[permutation + 9] ^ 1);
  test_support::write_text(reordered_file(), damaged);
  const ProgramResult found = verify("--repair");
  EXPECT_EQ(found.exit_code, 3);
  EXPECT_THAT(found.output, HasSubstr(reordered_file() + ": damaged permutation, bytes"));

  ASSERT_EQ(reorder("--importance preset:impress-opt").exit_code, 0);
  EXPECT_EQ(test_support::read_text(reordered_file()), sound) << "the same importance, the same order";
  ASSERT_EQ(reorder("--importance preset:impress-opt --calibration-requests 2").exit_code, 0);
  EXPECT_NE(test_support::read_text(reordered_file()), sound);
  EXPECT_EQ(verify().exit_code, 0);
}

TEST_F(ReorderVerb, SynthesisGoesOnInAReorderedStore) {
  ASSERT_EQ(synthesize("--prefixes 1 --tokens 64").exit_code, 0);
  ASSERT_EQ(reorder("--importance preset:impress-opt").exit_code, 0);
  const ProgramResult more = synthesize("--prefixes 1 --tokens 64 --seed 2");
  EXPECT_EQ(more.exit_code, 0) << more.output;
  EXPECT_EQ(list()["segments"].size(), 2u);
  EXPECT_EQ(verify().exit_code, 0);
}

TEST_F(ReorderVerb, AKilledReorderingLeavesTheStoreAsItWas) {
  ASSERT_EQ(synthesize("--prefixes 4 --tokens 512").exit_code, 0);
  const Json before = list();
  const std::string command =
      std::string(REPREFILL_PROGRAM) + " store reorder --quiet --store " + store() + " --importance preset:impress-opt";
  for (const char* seconds : {"0.01", "0.05", "0.1", "0.2", "0.4"}) {
    test_support::run_command(std::string("timeout --signal=KILL ") + seconds + " " + command);
    const Json after = list();
    EXPECT_EQ(after["segments"].size(), 4u);
    EXPECT_EQ(after["problems"], Json::array());
    EXPECT_EQ(verify().exit_code, 0);
  }
  ASSERT_EQ(reorder("--importance preset:impress-opt").exit_code, 0);
  EXPECT_EQ(list()["leftovers"], Json::array());
  EXPECT_EQ(list()["layouts"].size(), before["layouts"].size() + 1);
}

TEST_F(ReorderVerb, MistakesAreExplainedAndChangeNothing) {
  const auto expect = [](const ProgramResult& result, const std::string& text) {
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_THAT(result.output, HasSubstr(text));
  };
  expect(reorder("--importance preset:impress-opt"), "is not a store");
  ASSERT_EQ(synthesize("--tokens 64").exit_code, 0);
  const Json before = list();
  expect(reorder(""), "--importance");
  expect(reorder("--importance preset:impres-opt"), "impress-opt");
  expect(reorder("--importance preset:impress-opt --requests r.jsonl"), "--requests: a preset");
  expect(reorder("--importance preset:impress-opt --calibration-requests 0"), "--calibration-requests");
  expect(reorder("--importance preset:impress-opt --layout layer-adjacent-16+ident8"),
         "--layout: found layer-adjacent-16+ident8; expected one of the store's layouts with probe keys: "
         "layer-apart-64+probe0-2");
  expect(reorder("--importance /nowhere.rimp"), "--requests: a recording has no tokens");
  expect(reorder("--importance /nowhere.rimp --requests r.jsonl --model ."), "/nowhere.rimp");
  expect(synthesize("--layouts layer-apart-64+probe0-2,layer-apart-64+probe0-2+reordered"),
         "--layouts layer-apart-64+probe0-2+reordered: is written by `reprefill store reorder`");
  EXPECT_EQ(list(), before);
}

}  // namespace
}  // namespace reprefill
