// Several requests in flight: nothing leaks, bytes add up, and a session may end at any moment.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/store/verify.hpp"
#include "tests/engine/session/invariants.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using pipeline::PathKind;

class InFlight : public testing::TestWithParam<std::tuple<Variant, PathKind>> {
 protected:
  static void SetUpTestSuite() { small_ = new SmallModel; }
  static void TearDownTestSuite() { delete small_; }
  static SmallModel* small_;
};
SmallModel* InFlight::small_ = nullptr;

TEST_P(InFlight, BytesAddUpAndOnlyTheTiersHoldMemoryAfterwards) {
  const auto& [variant, path] = GetParam();
  const PrefixStore store(small_->model, variant, path);
  for (const int in_flight : {1, 4}) {
    SessionOptions options = session_options(variant, path);
    options.max_in_flight = in_flight;
    Session session(small_->model, &*store, options);
    const Json& params = session.resolved().at("params");
    for (int round = 0; round < 2; ++round) {
      std::vector<Prompt> requests = some_requests();
      requests[3].max_tokens = 3;  // its views outlive its first token
      for (const RequestOutcome& outcome : session.serve(requests, {})) {
        expect_bytes_add_up(outcome.request.account, params.value("leader_keys", "") == "reuse");
      }
      expect_only_tiers_hold_memory(session, pinned_keys(session, *store));
    }
  }
}

TEST_P(InFlight, ASessionMayEndAtAnyLayerOfAnyRequest) {
  const auto& [variant, path] = GetParam();
  const PrefixStore store(small_->model, variant, path);
  SessionOptions options = session_options(variant, path);
  options.max_in_flight = 3;
  const std::vector<Prompt> requests = some_requests(5);
  for (int end = 1; end < 50; end += 1 + end / 4) {
    Session session(small_->model, &*store, options);
    SessionCallbacks callbacks;
    int num_layers = 0;
    callbacks.on_attend = [&](const pipeline::Request&, int, const pipeline::KvView&) {
      if (++num_layers == end) throw Interrupted();
    };
    EXPECT_THROW(session.serve(requests, callbacks), Interrupted) << end;
    EXPECT_THROW(session.serve(requests, {}), InvariantError) << "what was under way is lost";
  }
}

/// Those that differ in what is under way when they end.
std::vector<Variant> some_variants() {
  std::vector<Variant> chosen;
  for (Variant& variant : reprefill::test_support::all_variants()) {
    for (const char* name : {"attention_store", "as_h2o_lfu", "impress_union", "impress_lru", "ckv_whole_period",
                             "ckv_reuse", "ckv_pinned", "ckv_unaligned_reuse", "ckv_no_buffers", "ckv_no_cache"}) {
      if (variant.name == name) chosen.push_back(std::move(variant));
    }
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(SomeSystems, InFlight,
                         testing::Combine(testing::ValuesIn(some_variants()),
                                          testing::Values(PathKind::prototype, PathKind::direct)),
                         name_of);

/// The session's machine ends with reads of the others under way, and one of them decoding.
TEST(SessionFailure, DamageAmongSeveralInFlightEndsTheSessionCleanly) {
  SmallModel small;
  const Variant variant{.name = "as", .system = "attention_store"};
  for (const PathKind path : {PathKind::prototype, PathKind::direct}) {
    const PrefixStore store(small.model, variant, path);
    const std::vector<Prompt> requests = [] {
      std::vector<Prompt> all = some_requests(6);
      for (Prompt& request : all) request.max_tokens = 5;  // one decodes while another's read fails
      return all;
    }();
    // The second request's prefix, in its last layer.
    const SegmentId segment = (*store).match(requests[1].ids).front().segment;
    {
      const std::filesystem::path file = (*store).file_path(segment, 0);
      std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
      const std::uint64_t payload = 10ull * 2 * 128 * (*store).segment(segment).num_tokens();  // layers, K and V, bytes
      stream.seekp(static_cast<std::streamoff>(kHeaderBytes + payload - 100));
      stream.put('\x41').put('\x41');
    }
    SessionOptions options = session_options(variant, path);
    options.verify_reads = true;
    options.max_in_flight = 3;
    Session session(small.model, &*store, options);
    EXPECT_THROW(session.serve(requests, {}), StoreDamage) << enum_name(path);
  }
}

TEST(SessionFailure, ASessionThatServesNothingEnds) {
  SmallModel small;
  const Variant variant{.name = "ckv", .system = "contiguous_kv", .params = {{"identify_cache", "pinned_host"}}};
  const PrefixStore store(small.model, variant, PathKind::direct);
  Session session(small.model, &*store, session_options(variant, PathKind::direct));
  EXPECT_TRUE(session.serve({}, {}).empty());
}

TEST(SessionFailure, AnInterruptEndsTheCall) {
  SmallModel small;
  const Variant variant{.name = "as", .system = "attention_store"};
  const PrefixStore store(small.model, variant, PathKind::direct);
  Session session(small.model, &*store, session_options(variant, PathKind::direct));
  const std::vector<Prompt> requests = some_requests(6);
  std::atomic<bool> interrupted = false;
  SessionCallbacks callbacks;
  callbacks.interrupted = &interrupted;
  std::size_t num_done = 0;
  callbacks.on_outcome = [&](const RequestOutcome&) { interrupted = ++num_done == 2; };
  EXPECT_THROW(session.serve(requests, callbacks), Interrupted);
  EXPECT_EQ(num_done, 2u);
}

}  // namespace
}  // namespace reprefill::engine
