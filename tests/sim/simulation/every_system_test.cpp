// Properties of every system with random parameters, over prefixes that share segments and grow.
#include <gtest/gtest.h>

#include "tests/sim/machines/scrambled_machine.hpp"
#include "tests/sim/simulation/mixed_requests.hpp"
#include "tests/sim/simulation/random_variants.hpp"

namespace reprefill {
namespace {

using namespace test_support;

constexpr std::uint32_t kNumRequests = 12;

std::string describe(const Variant& variant, PathKind path) {
  return fmt::format("{} on {}: {}", variant.system, enum_name(path), variant.params.dump());
}

/// Every field by name, so that a difference says which.
std::vector<std::pair<const char*, std::uint64_t>> fields(const RequestAccount& a) {
  static_assert(sizeof(RequestAccount) == 27 * sizeof(std::uint64_t), "name the new field here");
  return {{"identification_needed", a.identification_needed.value},
          {"identification_read", a.identification_read.value},
          {"identification_requested", a.identification_requested.value},
          {"identification_host_hits", a.identification_host_hits.value},
          {"payload_needed", a.payload_needed.value},
          {"payload_read", a.payload_read.value},
          {"payload_requested", a.payload_requested.value},
          {"payload_host_hits", a.payload_host_hits.value},
          {"payload_gpu_hits", a.payload_gpu_hits.value},
          {"payload_useful", a.payload_useful.value},
          {"payload_useful_from_reads", a.payload_useful_from_reads.value},
          {"prefetch_read", a.prefetch_read.value},
          {"prefetch_used", a.prefetch_used.value},
          {"prefetch_dropped", a.prefetch_dropped.value},
          {"needed_from_ssd_after_leader", a.needed_from_ssd_after_leader.value},
          {"num_reads", a.num_reads},
          {"pieces_needed", a.pieces_needed},
          {"pieces_gpu_hits", a.pieces_gpu_hits},
          {"pieces_host_hits", a.pieces_host_hits},
          {"prefetch_pieces_declined", a.prefetch_pieces_declined},
          {"num_identifications", a.num_identifications},
          {"num_fallback_layers", a.num_fallback_layers},
          {"kv_tokens_in_pieces", a.kv_tokens_in_pieces},
          {"kv_tokens_kept", a.kv_tokens_kept},
          {"kv_tokens_stored", a.kv_tokens_stored},
          {"appended", a.appended.value},
          {"approximate_tokens_reused", a.approximate_tokens_reused}};
}

class EverySystemAtRandom : public testing::TestWithParam<std::tuple<std::string, PathKind>> {
 protected:
  const std::string& system() const { return std::get<0>(GetParam()); }
  PathKind path() const { return std::get<1>(GetParam()); }
  VariantGenerator generator(std::uint64_t seed) const {
    return VariantGenerator(combine64(seed, hash_name(system()) + static_cast<std::uint64_t>(path())));
  }
  const sim::Profile profile_ = datasheet_profile();
};

TEST_P(EverySystemAtRandom, DecidesAndReadsTheSameOnTheScrambledMachine) {
  VariantGenerator variants = generator(1);
  for (int round = 0; round < 5; ++round) {
    const Variant variant = variants.next(system());
    SCOPED_TRACE(describe(variant, path()));
    MixedBench simulated(variant, path()), scrambled(variant, path());
    SimulatedBench virtual_time(simulated, profile_);
    ScrambledMachine threads(scrambled.environment, scrambled.importance(), scrambled.system->store_layout(),
                             static_cast<std::uint64_t>(round));
    for (std::uint32_t i = 0; i < kNumRequests; ++i) {
      Request a = mixed_request(*simulated.system, i), b = mixed_request(*scrambled.system, i);
      pipeline::Task first = simulated.system->serve(virtual_time.machine, a);
      first.start();
      ASSERT_TRUE(virtual_time.drive(first)) << "deadlock";
      first.check();
      pipeline::Task second = scrambled.system->serve(threads, b);
      second.start();
      threads.drive(second);
      second.check();  // what is still under way overlaps the next request
      ASSERT_EQ(fields(a.account), fields(b.account)) << "request " << i;
    }
    threads.drain();
    ASSERT_EQ(simulated.decisions.digest(), scrambled.decisions.digest());
    ASSERT_EQ(simulated.decisions.decisions(), scrambled.decisions.decisions());
  }
}

/// Keys of a leader's pieces that no tier held and that `leader_keys: reuse` therefore did not read: those are the
/// pieces that the cache decided about as loaded.
Bytes reused_keys(const Variant& variant, std::span<const cache::Move> decisions) {
  Bytes reused;
  if (variant.params.value("leader_keys", "") != "reuse") return reused;
  for (const cache::Move& move : decisions) {
    const bool loaded = move.decision == cache::Decision::entered_gpu ||
                        move.decision == cache::Decision::entered_host || move.decision == cache::Decision::bypassed;
    if (!loaded || move.key.layer_idx() % variant.params["period_layers"].get<int>() != 0) continue;
    if (move.key.kind() == PieceKind::key) reused += move.bytes;
    if (move.key.kind() == PieceKind::key_value) reused += Bytes{move.bytes.value / 2};
  }
  return reused;
}

Bytes loaded_by_decisions(std::span<const cache::Move> decisions) {
  Bytes loaded;
  for (const cache::Move& move : decisions) {
    if (move.decision == cache::Decision::entered_gpu || move.decision == cache::Decision::entered_host ||
        move.decision == cache::Decision::bypassed) {
      loaded += move.bytes;
    }
  }
  return loaded;
}

TEST_P(EverySystemAtRandom, ConservesBytes) {
  // One request in flight. Every needed byte was found in a tier, or came from the SSD by demand or by a prefetch that
  // was used, or is a leader's key that scoring had brought already:
  //   needed = GPU hits + host hits + (read - prefetch read) + prefetch used + reused keys
  // and what no tier held is what the cache decided about as loaded: entered a tier or bypassed both.
  VariantGenerator variants = generator(2);
  for (int round = 0; round < 12; ++round) {
    const Variant variant = variants.next(system());
    SCOPED_TRACE(describe(variant, path()));
    MixedBench bench(variant, path());
    SimulatedBench machine(bench, profile_);
    std::size_t first_decision = 0;
    for (std::uint32_t i = 0; i < kNumRequests; ++i) {
      Request request = mixed_request(*bench.system, i);
      pipeline::Task task = bench.system->serve(machine.machine, request);
      task.start();
      ASSERT_TRUE(machine.drive(task)) << "deadlock";
      task.check();
      const RequestAccount& a = request.account;
      const auto decisions = std::span(bench.decisions.decisions()).subspan(first_decision);
      first_decision = bench.decisions.decisions().size();
      const Bytes hits = a.payload_gpu_hits + a.payload_host_hits;
      ASSERT_EQ(a.payload_needed,
                hits + (a.payload_read - a.prefetch_read) + a.prefetch_used + reused_keys(variant, decisions));
      ASSERT_EQ(a.payload_needed, hits + loaded_by_decisions(decisions));
      ASSERT_EQ(a.identification_needed, a.identification_read + a.identification_host_hits);
      ASSERT_LE(a.prefetch_used, a.prefetch_read);
      ASSERT_LE(a.prefetch_used, a.needed_from_ssd_after_leader);
      ASSERT_LE(a.payload_useful_from_reads, a.payload_useful);
      ASSERT_LE(a.payload_useful_from_reads, a.payload_read);
      ASSERT_LE(a.payload_useful, a.payload_needed);
      ASSERT_LE(a.payload_read, a.payload_requested) << "alignment only adds, and no piece is read twice";
      ASSERT_LE(a.pieces_gpu_hits + a.pieces_host_hits, a.pieces_needed);
      ASSERT_LE(a.kv_tokens_kept, a.kv_tokens_in_pieces);
      // Tokens of a part of a reordered segment lie anywhere in it.
      std::uint64_t tokens_of_segments = 0;
      for (const SegmentSpan& span : request.stored_prefix) tokens_of_segments += mixed_segment_tokens(span.segment);
      const bool reordered = bench.system->reordering() != nullptr;
      ASSERT_LE(a.kv_tokens_in_pieces, reordered ? 2 * 10 * tokens_of_segments : a.kv_tokens_stored);
      const auto kept_or_whole = system() == "resident" ? a.kv_tokens_kept : a.kv_tokens_in_pieces;
      ASSERT_EQ(kept_or_whole > 0, request.stored_tokens > request.front_tokens);
      const std::uint64_t layers = 10;
      const Bytes appended{request.append ? layers * kAppendedTokens * 256 : 0};
      ASSERT_GE(a.appended, appended) << "K and V of every layer, and slabs beside";
      ASSERT_EQ(a.appended > Bytes{0}, request.append.has_value());
      if (cache::TieredCache* cache = bench.system->cache()) cache->check_invariants();
    }
    while (machine.simulation.step()) machine.machine.resume_ready();
    ASSERT_EQ(machine.machine.num_unfinished(), 0u) << "all background work ends";
  }
}

TEST_P(EverySystemAtRandom, ChargesEveryNanosecondOnceWithSeveralRequestsInFlight) {
  VariantGenerator variants = generator(3);
  for (const int in_flight : {1, 2, 4, 2, 4}) {
    const Variant variant = variants.next(system());
    SCOPED_TRACE(describe(variant, path()));
    MixedBench bench(variant, path(), in_flight);
    SimulatedBench machine(bench, profile_);
    std::deque<Served> requests;
    for (std::uint32_t i = 0; i < kNumRequests; ++i) {
      requests.push_back({.request = mixed_request(*bench.system, i), .task = {}});
    }
    ASSERT_TRUE(serve_all(bench, machine, requests)) << "deadlock";
    for (const Served& served : requests) {
      std::vector<record::Span> mine;
      for (const record::Span& span : machine.spans.spans) {
        if (span.request == served.request.id) mine.push_back(span);
      }
      // Arrived long before it was admitted: the wait counts as queueing.
      const Nanoseconds arrival = served.admission - Nanoseconds{std::min<std::int64_t>(served.admission.value, 777)};
      const record::TimeBreakdown time = record::classify_time(arrival, served.admission, served.first_token, mine);
      EXPECT_EQ(time.total(), served.first_token - arrival);
      EXPECT_LE(time.identification, served.first_token - arrival);
      EXPECT_GE(time[record::TimeClass::queueing], served.admission - arrival);
      if (in_flight > 1) continue;
      // Alone, it queues behind nothing but what the requests before it left running: cache updates, demotions.
      Nanoseconds left_over{0};
      for (const record::Span& span : machine.spans.spans) {
        if (span.request == served.request.id) continue;
        left_over +=
            std::max(Nanoseconds{0}, std::min(span.end, served.first_token) - std::max(span.start, served.admission));
      }
      EXPECT_LE(time[record::TimeClass::queueing], served.admission - arrival + left_over);
    }
  }
}

TEST_P(EverySystemAtRandom, FinishesWithTheSmallestLegalBuffers) {
  // Workspace and staging as `check` allows at the least, tiers and prefetch buffers of nothing or of a piece, one read
  // at a time, on prefixes that requests in flight share.
  VariantGenerator variants = generator(4);
  for (int round = 0; round < 24; ++round) {
    Variant variant = variants.next(system());
    const int in_flight = 1 << round % 3;
    shrink_buffers(variant, path(), kLongestPrefix, in_flight);
    if (round % 2 == 0 && variant.params.contains("gpu_cache_bytes")) {
      variant.params["gpu_cache_bytes"] = variant.params["host_cache_bytes"] = 0;
    }
    SCOPED_TRACE(describe(variant, path()) + fmt::format(" {} in flight", in_flight));
    MixedBench bench(variant, path(), in_flight);
    bench.environment.path.queue_depth = round % 4 < 2 ? 1 : 128;
    SimulatedBench machine(bench, profile_);
    std::deque<Served> requests;
    for (std::uint32_t i = 0; i < kNumRequests; ++i) {
      requests.push_back({.request = mixed_request(*bench.system, i), .task = {}});
    }
    bool finished = false;
    EXPECT_NO_THROW(finished = serve_all(bench, machine, requests));
    EXPECT_TRUE(finished) << "deadlock";
  }
}

std::string test_name(const testing::TestParamInfo<std::tuple<std::string, PathKind>>& info) {
  return std::get<0>(info.param) + "_" + enum_name(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Variants, EverySystemAtRandom,
                         testing::Combine(testing::ValuesIn(every_system()),
                                          testing::Values(PathKind::prototype, PathKind::direct)),
                         test_name);

}  // namespace
}  // namespace reprefill
