// Every system on the simulated and on the scrambled machine, and torn down at every point.
#include <gtest/gtest.h>

#include "core/layout/byte_accounts.hpp"
#include "core/record/time_classes.hpp"
#include "core/record/timeline.hpp"
#include "tests/sim/machines/machines_fixture.hpp"
#include "tests/sim/machines/scrambled_machine.hpp"

namespace reprefill {
namespace {

using namespace test_support;
using pipeline::PathKind;
using pipeline::RequestAccount;

constexpr std::uint32_t kNumRequests = 12;

class EverySystem : public testing::TestWithParam<std::tuple<Variant, PathKind>> {
 protected:
  Variant variant() const { return std::get<0>(GetParam()); }
  PathKind path() const { return std::get<1>(GetParam()); }
  const sim::Profile profile_ = datasheet_profile();
};

void expect_equal(const RequestAccount& a, const RequestAccount& b) {
  EXPECT_EQ(a.identification_needed, b.identification_needed);
  EXPECT_EQ(a.identification_read, b.identification_read);
  EXPECT_EQ(a.identification_requested, b.identification_requested);
  EXPECT_EQ(a.identification_host_hits, b.identification_host_hits);
  EXPECT_EQ(a.payload_needed, b.payload_needed);
  EXPECT_EQ(a.payload_read, b.payload_read);
  EXPECT_EQ(a.payload_requested, b.payload_requested);
  EXPECT_EQ(a.payload_host_hits, b.payload_host_hits);
  EXPECT_EQ(a.payload_gpu_hits, b.payload_gpu_hits);
  EXPECT_EQ(a.payload_useful, b.payload_useful);
  EXPECT_EQ(a.payload_useful_from_reads, b.payload_useful_from_reads);
  EXPECT_EQ(a.prefetch_read, b.prefetch_read);
  EXPECT_EQ(a.prefetch_used, b.prefetch_used);
  EXPECT_EQ(a.num_reads, b.num_reads);
  EXPECT_EQ(a.pieces_needed, b.pieces_needed);
  EXPECT_EQ(a.num_fallback_layers, b.num_fallback_layers);
  EXPECT_EQ(a.prefetch_pieces_declined, b.prefetch_pieces_declined);
}

TEST_P(EverySystem, DecidesAndReadsTheSameOnTheScrambledMachine) {
  Bench simulated(variant(), path()), scrambled(variant(), path());
  SimulatedBench virtual_time(simulated, profile_);
  ScrambledMachine threads(scrambled.environment, scrambled.importance(), scrambled.system->store_layout(), 5);
  for (std::uint32_t i = 0; i < kNumRequests; ++i) {
    pipeline::Request a = simulated.request(i), b = scrambled.request(i);
    pipeline::Task first = simulated.system->serve(virtual_time.machine, a);
    first.start();
    ASSERT_TRUE(virtual_time.drive(first));
    first.check();
    pipeline::Task second = scrambled.system->serve(threads, b);
    second.start();
    threads.drive(second);
    second.check();
    threads.drain();
    expect_equal(a.account, b.account);
  }
  EXPECT_EQ(simulated.decisions.decisions(), scrambled.decisions.decisions());
}

TEST_P(EverySystem, CanBeDestroyedAtEverySuspensionPoint) {
  for (int num_steps = 0; num_steps < 4000; num_steps += 1 + num_steps / 8) {
    Bench bench(variant(), path());
    SimulatedBench virtual_time(bench, profile_);
    pipeline::Request request = bench.request(1);
    pipeline::Task task = bench.system->serve(virtual_time.machine, request);
    task.start();
    int step = 0;
    for (; step < num_steps && !task.done(); ++step) {
      virtual_time.machine.resume_ready();
      if (!virtual_time.simulation.step()) break;
    }
    if (task.done()) return;  // destroyed at every point before
  }
}

TEST_P(EverySystem, ChargesEveryNanosecondOfTtftOnceAndLeavesAWellFormedTimeline) {
  Bench bench(variant(), path());
  SimulatedBench virtual_time(bench, profile_);
  for (std::uint32_t i = 0; i < 4; ++i) {
    const Nanoseconds arrival = virtual_time.simulation.now();
    virtual_time.spans.spans.clear();
    pipeline::Request request = bench.request(i);
    pipeline::Task task = bench.system->serve(virtual_time.machine, request);
    task.start();
    ASSERT_TRUE(virtual_time.drive(task));
    const Nanoseconds now = virtual_time.simulation.now();
    std::vector<record::Span> mine;
    for (const record::Span& span : virtual_time.spans.spans) {
      EXPECT_LE(span.issued, span.ready);
      EXPECT_LE(span.ready, span.start);
      EXPECT_LE(span.start, span.end);
      if (span.request == i) mine.push_back(span);
    }
    const record::TimeBreakdown time = record::classify_time(arrival, arrival, now, mine);
    EXPECT_EQ(time.total(), now - arrival);
    EXPECT_EQ(record::check_timeline(record::make_timeline(virtual_time.spans.spans)), std::vector<std::string>{});
  }
}

TEST_P(EverySystem, ConservesBytesBetweenTiers) {
  Bench bench(variant(), path());
  SimulatedBench virtual_time(bench, profile_);
  for (std::uint32_t i = 0; i < kNumRequests; ++i) {
    pipeline::Request request = bench.request(i);
    pipeline::Task task = bench.system->serve(virtual_time.machine, request);
    task.start();
    ASSERT_TRUE(virtual_time.drive(task));
    const RequestAccount& account = request.account;
    // What was needed was in a tier, was prefetched and used, or was read on demand; with leader_keys reuse a leader's
    // pieces are read without their keys, so reads may be smaller than needs there.
    const Bytes demand = account.payload_read - account.prefetch_read;
    const Bytes found = account.payload_gpu_hits + account.payload_host_hits + account.prefetch_used + demand;
    const bool reuses_keys = variant().system == "contiguous_kv" &&
                             (path() == PathKind::direct || variant().params.value("leader_keys", "") == "reuse");
    if (reuses_keys && !variant().params.contains("leader_keys") && path() == PathKind::prototype) continue;
    if (reuses_keys) {
      EXPECT_LE(found, account.payload_needed);
    } else {
      EXPECT_EQ(found, account.payload_needed);
    }
    EXPECT_GE(account.payload_requested, account.payload_read);
    EXPECT_LE(account.prefetch_used, account.prefetch_read);
    EXPECT_LE(account.payload_useful_from_reads, account.payload_read);
    if (cache::TieredCache* cache = bench.system->cache()) cache->check_invariants();
  }
}

TEST_P(EverySystem, FinishesWithSeveralRequestsInFlight) {
  Bench bench(variant(), path(), 3);
  SimulatedBench virtual_time(bench, profile_);
  std::vector<pipeline::Request> requests;
  for (std::uint32_t i = 0; i < 3; ++i) requests.push_back(bench.request(i));
  std::vector<pipeline::Task> tasks;
  for (pipeline::Request& request : requests) {
    tasks.push_back(bench.system->serve(virtual_time.machine, request));
    tasks.back().start();
  }
  for (pipeline::Task& task : tasks) {
    ASSERT_TRUE(virtual_time.drive(task)) << "deadlock";
    task.check();
  }
}

std::string test_name(const testing::TestParamInfo<std::tuple<Variant, PathKind>>& info) {
  return std::get<0>(info.param).name + "_" + enum_name(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Variants, EverySystem,
                         testing::Combine(testing::ValuesIn(all_variants()),
                                          testing::Values(PathKind::prototype, PathKind::direct)),
                         test_name);

// ---- the smallest legal buffers ----

TEST(SmallestBuffers, WorkspaceAndStagingOfOneLayerDoNotDeadlock) {
  const sim::Profile profile = datasheet_profile();
  for (const PathKind path : {PathKind::prototype, PathKind::direct}) {
    for (const char* system : {"attention_store", "as_h2o", "impress", "contiguous_kv"}) {
      const Bench probe({"probe", system, Json::object()}, path);
      const Bytes layer = probe.system->one_layer_working_set(kStoredTokens);
      const Bytes largest_read = probe.system->largest_read(kStoredTokens);
      Json params = {{"workspace_bytes", std::max<std::uint64_t>(4096, layer.value)},
                     {"staging_bytes", std::max<std::uint64_t>(4096, largest_read.value)},
                     {"gpu_cache", "0 B"},
                     {"host_cache", "0 B"}};
      Bench bench({system, system, params}, path);
      bench.environment.path.queue_depth = 1;
      SimulatedBench virtual_time(bench, profile);
      pipeline::Request request = bench.request(0);
      pipeline::Task task = bench.system->serve(virtual_time.machine, request);
      task.start();
      EXPECT_TRUE(virtual_time.drive(task)) << system << " deadlocks on " << enum_name(path);
    }
  }
}

// ---- byte accounts and closed forms on a cold request ----

RequestAccount cold_request(const Variant& variant, PathKind path, Nanoseconds* ttft = nullptr,
                            const sim::Profile& profile = datasheet_profile()) {
  Bench bench(variant, path);
  SimulatedBench virtual_time(bench, profile);
  pipeline::Request request = bench.request(0);
  pipeline::Task task = bench.system->serve(virtual_time.machine, request);
  task.start();
  EXPECT_TRUE(virtual_time.drive(task));
  if (ttft != nullptr) *ttft = virtual_time.simulation.now();
  return request.account;
}

/// Formulas of reference 7 with n = stored tokens and no hits. K of one token in one layer: 2 x 32 x 2 = 128 B.
constexpr std::uint64_t kTensor = 128, kLayers = 10;

TEST(ByteAccounts, AttentionStoreReadsAllKeysAndValues) {
  const RequestAccount account = cold_request({"as", "attention_store", Json::object()}, PathKind::prototype);
  EXPECT_EQ(account.payload_read, Bytes{2 * kTensor * kStoredTokens * kLayers});
}

TEST(ByteAccounts, AsH2oReadsAllKeysAndTheTouchedValueBlocks) {
  const RequestAccount account = cold_request({"h2o", "as_h2o", Json::object()}, PathKind::prototype);
  const Bytes keys{kTensor * kStoredTokens * kLayers};
  EXPECT_GT(account.payload_read, keys);
  EXPECT_LE(account.payload_read, 2 * keys);
  EXPECT_EQ((account.payload_read - keys).value % (64 * kTensor), 0u);
  EXPECT_EQ(account.kv_tokens_in_pieces * kTensor, account.payload_read.value);
}

TEST(ByteAccounts, ImpressReadsProbeKeysAndTheTouchedBlocks) {
  const RequestAccount account = cold_request({"impress", "impress", Json::object()}, PathKind::prototype);
  EXPECT_EQ(account.identification_read, Bytes{kTensor / 2 * kStoredTokens * kLayers});  // one of two KV heads
  EXPECT_EQ(account.kv_tokens_in_pieces * kTensor, account.payload_read.value);
}

TEST(ByteAccounts, ContiguousKvReadsLeaderKeysAndTheChosenChunks) {
  // 10 layers in periods of 8: two leaders. 640 tokens are 40 chunks, 5 % of them are 2.
  const Json plain = {{"inter_prefetch", false}};
  const std::uint64_t chunks = 2 * 16 * 2 * kTensor;  // K and V of two chunks in one layer
  RequestAccount account = cold_request({"ckv", "contiguous_kv", plain}, PathKind::prototype);
  EXPECT_EQ(account.identification_read, Bytes{kTensor * kStoredTokens * 2});
  EXPECT_EQ(account.payload_read, Bytes{chunks * kLayers});
  const Json reuse = {{"inter_prefetch", false}, {"leader_keys", "reuse"}};
  account = cold_request({"ckv", "contiguous_kv", reuse}, PathKind::prototype);
  EXPECT_EQ(account.payload_read, Bytes{chunks * kLayers - 2 * chunks / 2});  // half a leader's payload is keys
}

TEST(ByteAccounts, PrefetchWasteIsWhatTheNextSelectionDidNotWant) {
  const RequestAccount account = cold_request({"ckv", "contiguous_kv", {{"budget", 0.25}}}, PathKind::prototype);
  const std::uint64_t layer = 10 * 16 * 2 * kTensor;
  EXPECT_EQ(account.prefetch_read, Bytes{2 * layer});  // the second period has two layers, fewer than a subperiod
  EXPECT_EQ(account.payload_read, Bytes{kLayers * layer} + account.prefetch_read - account.prefetch_used);
}

TEST(ClosedForms, AnUnloadedSerialPrototypeIsTheSumOfItsStages) {
  // attention_store without look-ahead on the prototype path: nothing overlaps, so TTFT is a sum.
  const sim::Profile profile = datasheet_profile();
  Nanoseconds ttft{0};
  cold_request({"as", "attention_store", {{"lookahead_layers", 0}}}, PathKind::prototype, &ttft);
  Nanoseconds resident{0};
  cold_request({"resident", "resident", Json::object()}, PathKind::prototype, &resident);
  const std::int64_t objects = 2 * kStoredTokens / 64;
  const Bytes object{64 * kTensor};
  const Nanoseconds read =
      (Nanoseconds{85'000} + profile.ssd.read_latency) + transfer_time(object, profile.ssd.read_bandwidth);
  const Nanoseconds copy = profile.link.copy_latency * objects +
                           transfer_time(static_cast<std::uint64_t>(objects) * object, profile.link.copy_bandwidth);
  const ModelGeometry model = small_model();
  const OperationCosts costs(model);
  const sim::OperationModel gpu(profile.gpu);
  // Projection of a layer overlaps its reads: it needs only the layer before.
  const Nanoseconds hidden = (gpu.overhead() + gpu.gemm(costs.project(30))) * static_cast<std::int64_t>(kLayers);
  const Nanoseconds io = (read * objects + copy) * static_cast<std::int64_t>(kLayers);
  EXPECT_EQ(ttft, resident + io - hidden);
}

TEST(ClosedForms, KeysThatAreReadOnePeriodAheadAreReadOnceAndSaveTime) {
  Nanoseconds in_turn{0}, ahead{0};
  const Json plain = {{"inter_prefetch", false}};
  const Json early = {{"inter_prefetch", false}, {"identify_keys_prefetch", true}};
  const RequestAccount before = cold_request({"ckv", "contiguous_kv", plain}, PathKind::prototype, &in_turn);
  RequestAccount after = cold_request({"ckv", "contiguous_kv", early}, PathKind::prototype, &ahead);
  expect_equal(before, after);
  EXPECT_LT(ahead, in_turn);
  // Without room in the prefetch buffers they are read in their turn.
  Json no_room = early;
  no_room["prefetch_gpu"] = no_room["prefetch_host"] = "0 B";
  after = cold_request({"ckv", "contiguous_kv", no_room}, PathKind::prototype);
  EXPECT_EQ(after.identification_read, before.identification_read);
  EXPECT_GT(after.prefetch_pieces_declined, 0u);
}

TEST(ClosedForms, AFasterSsdOrASmallerBudgetIsNeverSlowerForALoneColdRequestWithoutPrefetch) {
  const Json params = {{"intra_prefetch", false}, {"inter_prefetch", false}};
  for (const PathKind path : {PathKind::prototype, PathKind::direct}) {
    Nanoseconds last{INT64_MAX};
    for (const double gigabytes : {0.5, 1.0, 3.0, 7.0, 14.0}) {
      sim::Profile profile = datasheet_profile();
      profile.ssd.read_bandwidth = BytesPerSecond{gigabytes * 1e9};
      Nanoseconds ttft{0};
      cold_request({"ckv", "contiguous_kv", params}, path, &ttft, profile);
      EXPECT_LE(ttft, last);
      last = ttft;
    }
    last = Nanoseconds{0};
    for (const double budget : {0.05, 0.1, 0.25, 0.5, 1.0}) {
      Json with_budget = params;
      with_budget["budget"] = budget;
      Nanoseconds ttft{0};
      cold_request({"ckv", "contiguous_kv", with_budget}, path, &ttft);
      EXPECT_GE(ttft, last);
      last = ttft;
    }
  }
}

}  // namespace
}  // namespace reprefill
