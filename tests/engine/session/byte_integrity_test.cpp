// Selections do not depend on caches: whatever tier a piece came from, the logits must be the same to the last bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/record/timeline.hpp"
#include "engine/store/verify.hpp"

#include "tests/engine/session/session_fixture.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using pipeline::PathKind;

class ByteIntegrity : public testing::TestWithParam<std::tuple<Variant, PathKind>> {
 protected:
  static void SetUpTestSuite() { small_ = new SmallModel; }
  static void TearDownTestSuite() { delete small_; }

  std::vector<RequestOutcome> serve(const Store& store, const SessionOptions& options) {
    Session session(small_->model, &store, options);
    const std::vector<Prompt> requests = some_requests();
    return session.serve(requests, {});
  }
  static void expect_same_logits(std::span<const RequestOutcome> a, std::span<const RequestOutcome> b,
                                 const char* what) {
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].first_logits, b[i].first_logits) << what << ", request " << i;
    }
  }
  static SmallModel* small_;
};
SmallModel* ByteIntegrity::small_ = nullptr;

TEST_P(ByteIntegrity, CachesInFlightAndBuffersChangeNoLogit) {
  const auto& [variant, path] = GetParam();
  const PrefixStore store(small_->model, variant, path);
  const SessionOptions options = session_options(variant, path);
  const auto expected = serve(*store, options);

  SessionOptions in_flight = options;
  in_flight.max_in_flight = 4;
  expect_same_logits(expected, serve(*store, in_flight), "four in flight");
  SessionOptions plain = options;
  plain.unregistered_buffers = true;
  plain.verify_reads = true;
  expect_same_logits(expected, serve(*store, plain), "unregistered buffers, verified reads");
  if (!variant.params.contains("gpu_cache")) return;
  SessionOptions uncached = options;
  uncached.system_params["gpu_cache"] = uncached.system_params["host_cache"] = "0 B";
  if (variant.system == "contiguous_kv") {
    uncached.system_params["prefetch_gpu"] = uncached.system_params["prefetch_host"] = "0 B";
  }
  expect_same_logits(expected, serve(*store, uncached), "no caches");
}

TEST_P(ByteIntegrity, TimeClassesSumToTtftAndSpansMakeATimeline) {
  const auto& [variant, path] = GetParam();
  const PrefixStore store(small_->model, variant, path);
  SessionOptions options = session_options(variant, path);
  options.keep_spans = true;
  options.max_in_flight = 2;
  std::vector<record::Span> spans;
  for (const RequestOutcome& outcome : serve(*store, options)) {
    EXPECT_EQ(outcome.time.total(), outcome.ttft()) << outcome.name;
    spans.insert(spans.end(), outcome.spans.begin(), outcome.spans.end());
  }
  EXPECT_EQ(record::check_timeline(record::make_timeline(spans)), std::vector<std::string>{});
}

INSTANTIATE_TEST_SUITE_P(AllSystems, ByteIntegrity,
                         testing::Combine(testing::ValuesIn(reprefill::test_support::all_variants()),
                                          testing::Values(PathKind::prototype, PathKind::direct)),
                         name_of);

class Engine : public testing::Test {
 protected:
  SmallModel small_;
};

TEST_F(Engine, AtBudgetOneEverySystemComputesPlainPrefill) {
  const Variant recompute{.name = "recompute", .system = "recompute"};
  const auto plain = [&] {
    Session session(small_.model, nullptr, session_options(recompute, PathKind::direct));
    const std::vector<Prompt> requests = some_requests(4);
    return session.serve(requests, {});
  }();
  const Json half_a_prefix = {
      {"prefetch_policy", "timeout"}, {"timeout_base", "0 s"}, {"timeout_per_1024_tokens", "1 ms"}};
  for (const auto& [system, params] :
       std::vector<std::pair<const char*, Json>>{{"attention_store", Json::object()},
                                                 {"lmcache_like", {{"kv_layout", {{"block_tokens", 64}}}}},
                                                 {"hicache_like", Json::object()},
                                                 {"hicache_like", {{"prefetch_policy", "best_effort"}}},
                                                 {"hicache_like", half_a_prefix},
                                                 {"resident", {{"budget", 1}}},
                                                 {"oracle", {{"budget", 1}}},
                                                 {"contiguous_kv", {{"budget", 1}}},
                                                 {"impress", {{"budget", 1}}},
                                                 {"as_h2o", {{"budget", 1}}}}) {
    const Variant variant{.name = system, .system = system, .params = params};
    const PrefixStore store(small_.model, variant, PathKind::direct);
    Session session(small_.model, &*store, session_options(variant, PathKind::direct));
    const std::vector<Prompt> requests = some_requests(4);
    const auto outcomes = session.serve(requests, {});
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      if (!session.system().timing_dependent()) {
        EXPECT_GT(outcomes[i].request.stored_tokens, 600u);
      }
      EXPECT_EQ(outcomes[i].first_logits, plain[i].first_logits) << system << ", request " << i;
    }
  }
}

TEST_F(Engine, ComputingTheFrontOfThePrefixChangesOnlyTheOrderOfSums) {
  const auto serve = [&](const Variant& variant) {
    const PrefixStore store(small_.model, variant, PathKind::direct);
    Session session(small_.model, &*store, session_options(variant, PathKind::direct));
    const std::vector<Prompt> requests = some_requests(4);
    return session.serve(requests, {});
  };
  const auto loaded = serve({.name = "as", .system = "attention_store"});
  for (const int split : {64, 192, 640, 5000}) {
    const auto hybrid = serve({.name = "hybrid", .system = "hybrid", .params = {{"split_tokens", split}}});
    for (std::size_t i = 0; i < loaded.size(); ++i) {
      const pipeline::Request& request = hybrid[i].request;
      EXPECT_EQ(request.front_tokens,
                std::min<std::uint32_t>(static_cast<std::uint32_t>(split), request.stored_tokens));
      EXPECT_EQ(request.own_tokens, 30 + request.front_tokens);
      EXPECT_EQ(request.account.payload_read + request.account.payload_gpu_hits,
                Bytes{10u * (request.stored_tokens - request.front_tokens) * 2 * 128});
      EXPECT_EQ(hybrid[i].generated, loaded[i].generated);
      for (std::size_t id = 0; id < loaded[i].first_logits.size(); ++id) {
        // fp32 sums in another order, and K and V of own tokens that round to the other bf16 neighbour.
        ASSERT_NEAR(hybrid[i].first_logits[id], loaded[i].first_logits[id], 0.05) << "split " << split;
      }
    }
  }
}

TEST_F(Engine, DamagedBytesChangeLogitsUnlessReadsAreVerified) {
  const Variant variant{.name = "as", .system = "attention_store"};
  const PrefixStore store(small_.model, variant, PathKind::direct);
  const auto serve_first = [&](bool verify) {
    SessionOptions options = session_options(variant, PathKind::direct);
    options.verify_reads = verify;
    Session session(small_.model, &*store, options);
    const std::vector<Prompt> requests = some_requests(1);
    return session.serve(requests, {}).front().first_logits;
  };
  const std::vector<float> sound = serve_first(true);
  const SegmentId segment = (*store).match(some_requests(1).front().ids).front().segment;
  {
    std::fstream file((*store).file_path(segment, 0), std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(kHeaderBytes) + 64);
    file.put('\x41').put('\x41');
  }
  EXPECT_NE(serve_first(false), sound);
  EXPECT_THROW(serve_first(true), StoreDamage);
}

TEST_F(Engine, AReplayedRunReadsWhatItReadBefore) {
  const Variant variant{.name = "ckv", .system = "contiguous_kv", .params = {{"budget", 0.25}}};
  const PrefixStore store(small_.model, variant, PathKind::direct);
  const TemporaryFolder folder;
  const std::vector<Prompt> requests = some_requests();
  SessionOptions options = session_options(variant, PathKind::direct);
  Session session(small_.model, &*store, options);
  ImportanceRecorder recorder(folder / "run.rimp", {.mode = RecordMode::as_run,
                                                    .geometry = small_.model.checkpoint->geometry(),
                                                    .recorded_under = {"contiguous_kv", "0.25", 16}});
  const auto first = session.serve(requests, {}, &recorder);
  recorder.finish();
  const auto importance = traces::RecordedImportance::open(folder / "run.rimp");
  options.selections = &importance;
  Session replay(small_.model, &*store, options);
  const auto second = replay.serve(requests, {});
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].request.account, second[i].request.account);
    EXPECT_EQ(first[i].first_logits, second[i].first_logits);
  }
  EXPECT_EQ(session.decisions().digest(), replay.decisions().digest());
}

TEST_F(Engine, TheOracleIsRefusedWithoutSelectionsToKnow) {
  const Variant variant{.name = "oracle", .system = "oracle"};
  const PrefixStore store(small_.model, variant, PathKind::direct);
  SessionOptions options = session_options(variant, PathKind::direct);
  options.selections = nullptr;
  EXPECT_THROW(Session(small_.model, &*store, options), ConfigError);
}

TEST_F(Engine, BackgroundReorderingIsRefusedByName) {
  const Variant plain{.name = "impress", .system = "impress"};
  Variant reordered = plain;
  reordered.params["reorder"] = {{"io", "background"}};
  const PrefixStore store(small_.model, plain, PathKind::direct);
  EXPECT_THAT([&] { Session(small_.model, &*store, session_options(reordered, PathKind::direct)); },
              testing::ThrowsMessage<ConfigError>(testing::HasSubstr("reorder.io: found background")));
}

Variant reordered_impress(Json params = Json::object()) {
  params["reorder"]["io"] = "offline";
  return {.name = "reordered", .system = "impress", .params = std::move(params)};
}

/// Whether a session opens, and if not, why.
std::string refusal(Model& model, const Store& store, const Variant& variant) {
  try {
    Session(model, &store, session_options(variant, PathKind::direct));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "none";
}

TEST_F(Engine, OfflineReorderingNeedsAStoreThatWasReorderedTheSameWay) {
  const PrefixStore plain(small_.model, {.name = "impress", .system = "impress"}, PathKind::direct);
  EXPECT_THAT(refusal(small_.model, *plain, reordered_impress()),
              testing::AllOf(testing::HasSubstr("store.json: layouts: found layer-apart-64+probe0-2;"),
                             testing::HasSubstr("expected layer-apart-64+probe0-2+reordered"),
                             testing::HasSubstr("reprefill store reorder --store " + plain.folder().string())));
  const PrefixStore store(small_.model, reordered_impress(), PathKind::direct);
  EXPECT_EQ(refusal(small_.model, *store, reordered_impress()), "none");
  EXPECT_THAT(refusal(small_.model, *store, reordered_impress({{"reorder", {{"calibration_requests", 7}}}})),
              testing::AllOf(testing::HasSubstr("layer-apart-64+probe0-2+reordered.kv: found an order from 4 requests"),
                             testing::HasSubstr("reorder.calibration_requests = 7")));
  {
    StoreWriter writer(store.folder(), (*store).manifest());
    build_prefix(*small_.model.executor, writer, std::vector<std::int32_t>(128, 7));
  }
  EXPECT_THAT(refusal(small_.model, Store::open(store.folder()), reordered_impress()),
              testing::HasSubstr("found the tokens' own order (appended since"));
}

TEST_F(Engine, ReadingAReorderedLayoutDoesNotDependOnItsOrder) {
  // Everything is loaded, in two orders: other sums, the same tokens.
  Variant plain{.name = "impress", .system = "impress", .params = {{"budget", 1}}};
  Variant reordered = reordered_impress({{"budget", 1}});
  std::vector<Prompt> requests = some_requests(6);
  for (Prompt& request : requests) request.max_tokens = 6;
  for (const PathKind path : {PathKind::prototype, PathKind::direct}) {
    const PrefixStore store(small_.model, reordered, path);  // has both copies
    Session in_own_order(small_.model, &*store, session_options(plain, path));
    SessionOptions options = session_options(reordered, path);
    options.verify_reads = true;
    Session in_stored_order(small_.model, &*store, options);
    const auto expected = in_own_order.serve(requests, {}), outcomes = in_stored_order.serve(requests, {});
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(outcomes[i].generated, expected[i].generated) << enum_name(path) << ", request " << i;
      EXPECT_EQ(outcomes[i].request.account.payload_read, expected[i].request.account.payload_read);
      for (std::size_t id = 0; id < expected[i].first_logits.size(); ++id) {
        ASSERT_NEAR(outcomes[i].first_logits[id], expected[i].first_logits[id], 0.05) << "request " << i;
      }
    }
  }
}

TEST_F(Engine, SystemsWithoutReorderingReadTheOtherCopyOfAReorderedStore) {
  const Variant attention_store{.name = "as", .system = "attention_store"};
  const auto logits = [&](const Store& store) {
    Session session(small_.model, &store, session_options(attention_store, PathKind::direct));
    const std::vector<Prompt> requests = some_requests(2);
    return session.serve(requests, {}).back().first_logits;
  };
  const PrefixStore reordered(small_.model, reordered_impress(), PathKind::direct);
  const PrefixStore plain(small_.model, attention_store, PathKind::direct);
  EXPECT_EQ(logits(*reordered), logits(*plain));
  StoreScan scan = scan_store(reordered.folder());
  std::erase_if(scan.manifest.layouts, [](const StoredLayout& layout) { return !layout.permutation; });
  EXPECT_THAT(refusal(small_.model, Store(std::move(scan)), attention_store),
              testing::HasSubstr("has no layout layer-apart-64 (it has layer-apart-64+probe0-2+reordered)"));
}

TEST_F(Engine, ByTheImportanceOfItsOwnRequestsAStoreIsReadInFewerBlocks) {
  const Json params = {{"budget", 0.1}, {"similarity_exponent", 100}};  // no layer loads everything
  const Variant plain{.name = "impress", .system = "impress", .params = params};
  const PrefixStore store(small_.model, plain, PathKind::direct);
  const std::vector<Prompt> requests = some_requests(5);
  const TemporaryFolder folder;
  pipeline::RequestAccount before, after;
  {
    Session session(small_.model, &*store, session_options(plain, PathKind::direct));
    ImportanceRecorder recorder(folder / "run.rimp", {.mode = RecordMode::as_run,
                                                      .geometry = small_.model.checkpoint->geometry(),
                                                      .recorded_under = {"impress", "0.1", 1}});
    for (const RequestOutcome& outcome : session.serve(requests, {}, &recorder)) before += outcome.request.account;
    recorder.finish();
  }
  const auto importance = traces::RecordedImportance::open(folder / "run.rimp");
  const auto orders_of = [&](std::uint32_t count) {
    return [&, count](const Store& opened) {
      std::vector<pipeline::CalibrationRequest> recorded;
      for (const std::uint64_t number : importance.requests()) {
        recorded.push_back(calibration_request(opened, requests[number].ids, number));
      }
      return orders_from_recording(opened, importance, recorded, count, "requests.jsonl");
    };
  };
  EXPECT_THAT([&] { reorder_store(store.folder(), {.calibration_requests = 3}, orders_of(3)); },
              testing::ThrowsMessage<ConfigError>(
                  testing::MatchesRegex("requests.jsonl: found [12] requests on segment [0-9a-f]+; expected 3: .*")));
  EXPECT_EQ(Store::open(store.folder()).manifest().layouts.size(), 1u);
  reorder_store(store.folder(), {.calibration_requests = 1}, orders_of(1));
  Variant reordered = reordered_impress(params);
  reordered.params["reorder"]["calibration_requests"] = 1;
  const Store opened = Store::open(store.folder());
  SessionOptions options = session_options(reordered, PathKind::direct);
  options.selections = &importance;  // the same choices
  Session session(small_.model, &opened, options);
  for (const RequestOutcome& outcome : session.serve(requests, {})) after += outcome.request.account;
  EXPECT_EQ(after.kv_tokens_kept, before.kv_tokens_kept);
  EXPECT_EQ(after.num_fallback_layers, 0u);
  EXPECT_LT(2 * after.kv_tokens_in_pieces, before.kv_tokens_in_pieces);
}

TEST_F(Engine, DroppedPrefetchChangesNoLogit) {
  const Variant kept{.name = "kept", .system = "contiguous_kv", .params = {{"budget", 0.1}}};
  Variant dropped = kept;
  dropped.params["prefetch_drop"] = "unsubmitted";
  for (const PathKind path : {PathKind::prototype, PathKind::direct}) {
    const PrefixStore store(small_.model, kept, path);
    const std::vector<Prompt> requests = some_requests();
    Session first(small_.model, &*store, session_options(kept, path));
    Session second(small_.model, &*store, session_options(dropped, path));
    const auto expected = first.serve(requests, {}), outcomes = second.serve(requests, {});
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(expected[i].first_logits, outcomes[i].first_logits) << enum_name(path) << ", request " << i;
    }
  }
}

TEST_F(Engine, FullImportanceIsAttentionMass) {
  const Variant variant{.name = "as", .system = "attention_store"};
  const PrefixStore store(small_.model, variant, PathKind::direct);
  const TemporaryFolder folder;
  Session session(small_.model, &*store, session_options(variant, PathKind::direct));
  ImportanceRecorder recorder(folder / "full.rimp",
                              {.mode = RecordMode::full, .geometry = small_.model.checkpoint->geometry()});
  const std::vector<Prompt> requests = some_requests(2);
  const auto outcomes = session.serve(requests, {}, &recorder);
  recorder.finish();
  const auto importance = traces::RecordedImportance::open(folder / "full.rimp");
  for (const RequestOutcome& outcome : outcomes) {
    const pipeline::Request& request = outcome.request;
    std::vector<float> scores(2 * request.stored_tokens);
    for (int layer = 0; layer < 10; ++layer) {
      importance.unit_scores({.request = request.importance_id,
                              .prefix = request.stored_prefix,
                              .layer_idx = layer,
                              .grouping = traces::HeadGrouping::per_kv_head},
                             1, scores);
      double mass = 0;
      for (const float score : scores) mass += static_cast<double>(score);
      // Eight query heads, each own token spreads a mass of 1 over prefix and own tokens.
      EXPECT_GT(mass, 0);
      EXPECT_LT(mass, 8.0 * request.own_tokens);
    }
  }
}

TEST_F(Engine, ASessionMayEndInTheMiddleOfARequest) {
  const Variant variant{.name = "as", .system = "attention_store"};
  const PrefixStore store(small_.model, variant, PathKind::direct);
  Session session(small_.model, &*store, session_options(variant, PathKind::direct));
  const std::vector<Prompt> requests = some_requests(3);
  SessionCallbacks callbacks;
  int num_layers = 0;
  callbacks.on_attend = [&](const pipeline::Request&, int, const pipeline::KvView&) {
    if (++num_layers == 13) throw Interrupted();
  };
  EXPECT_THROW(session.serve(requests, callbacks), Interrupted);
}

}  // namespace
}  // namespace reprefill::engine
