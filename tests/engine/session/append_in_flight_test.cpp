// Several requests in flight that append: what is found is whole, nothing is stored twice, nothing leaks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "engine/session/appended_segments.hpp"
#include "engine/store/verify.hpp"
#include "tests/engine/session/conversation_fixture.hpp"
#include "tests/engine/session/invariants.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;
using namespace test_support;
using pipeline::Append;
using pipeline::AppendKv;
using pipeline::PathKind;

/// Three conversations, turn by turn, each going on with the answer before; one of them is asked twice.
std::vector<Prompt> conversations(std::uint32_t max_tokens) {
  constexpr std::size_t kNumConversations = 4, kTurns = 4;
  std::vector<Prompt> prompts;
  for (std::size_t turn = 0; turn < kTurns; ++turn) {
    for (std::size_t c = 0; c < kNumConversations; ++c) {
      Prompt prompt{.name = fmt::format("{}.{}", c, turn), .max_tokens = max_tokens};
      const std::uint64_t text = c == 3 ? 0 : c;  // the last one says what the first one says
      for (std::uint64_t i = 0; i < (turn == 0 ? 150u : 80u); ++i) {
        prompt.ids.push_back(static_cast<std::int32_t>(combine64(combine64(text, turn), i) % 256));
      }
      if (turn > 0) prompt.continues = prompts.size() - kNumConversations;
      prompts.push_back(std::move(prompt));
    }
  }
  return prompts;
}

class AppendInFlight : public testing::TestWithParam<std::tuple<Variant, PathKind>> {
 protected:
  static void SetUpTestSuite() { small_ = new SmallModel; }
  static void TearDownTestSuite() { delete small_; }

  static SessionOptions options_for(Append append, AppendKv append_kv, int in_flight) {
    const auto& [variant, path] = GetParam();
    SessionOptions options = session_options(variant, path);
    options.append = append;
    options.append_kv = append_kv;
    options.max_in_flight = in_flight;
    options.verify_reads = true;
    return options;
  }
  /// A file for each segment, every checksum sound. Returns what they hold of tokens.
  static std::uint64_t expect_sound_files(const Store& store) {
    std::uint64_t tokens = 0;
    VerifyReport report;
    for (const auto& entry : fs::directory_iterator(appended_path(store.folder()))) {
      const auto key = SegmentKey::from_hex(entry.path().filename().string());
      EXPECT_TRUE(key) << entry.path() << ": nothing is half written when all is served";
      const StoredLayout& layout = store.manifest().layouts.front();
      const fs::path path = entry.path() / layout_file_name(layout);
      verify_file(path, store.manifest(), layout, *key, Repair::no, report);
      tokens += read_header(StoreFile::open_to_read(path, DirectIo::off), store.manifest(), layout, *key).num_tokens;
    }
    EXPECT_TRUE(report.is_sound());
    return tokens;
  }
  static SmallModel* small_;
};
SmallModel* AppendInFlight::small_ = nullptr;

TEST_P(AppendInFlight, EverySegmentIsStoredOnceAndWhole) {
  const auto& [variant, path] = GetParam();
  const EmptyStore store(small_->model, variant, path);
  for (const Append append : {Append::suffix, Append::suffix_and_output}) {
    for (const AppendKv append_kv : {AppendKv::as_computed, AppendKv::recompute_exact}) {
      Session session(small_->model, &*store, options_for(append, append_kv, 3));
      const Json& params = session.resolved().at("params");
      const std::vector<Prompt> prompts = conversations(append == Append::suffix ? 2 : 20);
      std::set<std::uint32_t> segments;
      std::uint64_t appended_tokens = 0, reused_tokens = 0;
      Bytes appended_bytes;
      for (const RequestOutcome& outcome : session.serve(prompts, {})) {
        const pipeline::Request& request = outcome.request;
        if (variant.system != "hybrid") {  // computes a part of what it finds
          expect_bytes_add_up(request.account, params.value("leader_keys", "") == "reuse");
        }
        reused_tokens += request.stored_tokens;
        appended_bytes += request.account.appended;
        if (!request.append) continue;
        EXPECT_TRUE(segments.insert(request.append->segment.value).second) << outcome.name;
        appended_tokens += request.append->num_tokens;
      }
      EXPECT_GT(reused_tokens, 0u);
      EXPECT_EQ(session.append_counts().segments, segments.size());
      EXPECT_EQ(session.append_counts().writes, segments.size() * 10);
      EXPECT_EQ(session.append_counts().bytes, appended_bytes);
      EXPECT_EQ(expect_sound_files(*store), appended_tokens);
      const HeldMemory held = session.machine().held_memory();
      EXPECT_EQ(held.num_departing, 0u);
      EXPECT_EQ(held.num_open_layers, 0u);
      EXPECT_EQ(held.staging, Bytes{0});
    }
  }
}

/// Whoever keeps everything computes what plain prefill computes, whatever of it was stored when it began.
TEST_P(AppendInFlight, AnswersOfSystemsThatKeepEverythingArePlainPrefillsToTheBit) {
  const auto& [variant, path] = GetParam();
  const EmptyStore store(small_->model, variant, path);
  Session session(small_->model, &*store, options_for(Append::suffix, AppendKv::as_computed, 4));
  if (session.system().prunes()) GTEST_SKIP() << "it prunes";
  std::vector<Prompt> prompts = conversations(1);
  const std::vector<RequestOutcome> found = session.serve(prompts, {});
  Session plain(small_->model, nullptr,
                session_options(Variant{.name = "recompute", .system = "recompute"}, PathKind::direct));
  const std::vector<RequestOutcome> expected = plain.serve(prompts, {});
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    if (variant.system == "hybrid") {  // sums in another order
      for (std::size_t id = 0; id < expected[i].first_logits.size(); ++id) {
        ASSERT_NEAR(found[i].first_logits[id], expected[i].first_logits[id], 0.05) << i;
      }
    } else {
      EXPECT_EQ(found[i].first_logits, expected[i].first_logits) << i;
    }
  }
}

TEST_P(AppendInFlight, OfOnePromptAtOnceIsAppendedOnce) {
  const auto& [variant, path] = GetParam();
  const EmptyStore store(small_->model, variant, path);
  Session session(small_->model, &*store, options_for(Append::suffix, AppendKv::as_computed, 4));
  const std::vector<Prompt> same(4, some_requests(1).front());
  std::vector<Prompt> longer(1, same.front());
  for (std::int32_t i = 0; i < 150; ++i) longer.front().ids.push_back(i);
  std::vector<Prompt> prompts = same;
  prompts.insert(prompts.begin() + 1, longer.front());
  const std::vector<RequestOutcome> outcomes = session.serve(prompts, {});
  EXPECT_EQ(session.append_counts().segments, 2u) << "the prompt, and what the longer one has behind it";
  EXPECT_EQ(outcomes[1].request.append->num_tokens, 128u) << "670 tokens are ten blocks, 820 are twelve";
  EXPECT_EQ(session.serve(longer, {}).front().request.stored_tokens, 768u);
}

TEST_P(AppendInFlight, ASessionThatEndsAtAnyLayerLeavesNothing) {
  const auto& [variant, path] = GetParam();
  const EmptyStore store(small_->model, variant, path);
  for (int end = 1; end < 130; end += 1 + end / 2) {
    {
      Session session(small_->model, &*store, options_for(Append::suffix, AppendKv::recompute_exact, 3));
      SessionCallbacks callbacks;
      int num_layers = 0;
      callbacks.on_attend = [&](const pipeline::Request&, int, const pipeline::KvView&) {
        if (++num_layers == end) throw Interrupted();
      };
      EXPECT_THROW(session.serve(conversations(2), callbacks), Interrupted) << end;
    }
    EXPECT_FALSE(fs::exists(appended_path(store.folder())));
  }
}

std::vector<Variant> some_variants() {
  std::vector<Variant> chosen;
  for (Variant& variant : reprefill::test_support::all_variants()) {
    for (const char* name : {"attention_store", "hybrid", "as_h2o_lfu", "impress_groups", "ckv_everything",
                             "ckv_whole_period", "ckv_pinned"}) {
      if (variant.name == name) chosen.push_back(std::move(variant));
    }
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(SomeSystems, AppendInFlight,
                         testing::Combine(testing::ValuesIn(some_variants()),
                                          testing::Values(PathKind::prototype, PathKind::direct)),
                         name_of);

}  // namespace
}  // namespace reprefill::engine
