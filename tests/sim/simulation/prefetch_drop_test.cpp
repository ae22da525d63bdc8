// `prefetch_drop: unsubmitted`: what is taken back in time is not read, and nothing else changes.
#include <gtest/gtest.h>

#include "tests/sim/simulation/mixed_requests.hpp"
#include "tests/sim/simulation/random_variants.hpp"

namespace reprefill {
namespace {

using namespace test_support;

constexpr std::uint32_t kNumRequests = 12;

/// One variant under one rule, request after request, until all background work is done.
struct Served12 {
  std::vector<RequestAccount> accounts;
  std::vector<cache::Move> decisions;
  Bytes read_by_device;
};

Served12 serve(Variant variant, const char* rule, PathKind path, std::uint32_t queue_depth,
               const sim::Profile& profile) {
  variant.params["prefetch_drop"] = rule;
  MixedBench bench(variant, path);
  bench.environment.path.queue_depth = queue_depth;
  SimulatedBench machine(bench, profile);
  Served12 served;
  std::deque<Request> requests;
  for (std::uint32_t i = 0; i < kNumRequests; ++i) {
    Request& request = requests.emplace_back(mixed_request(*bench.system, i));
    pipeline::Task task = bench.system->serve(machine.machine, request);
    task.start();
    REPREFILL_CHECK(machine.drive(task), "deadlock");
    task.check();
    served.accounts.push_back(request.account);
  }
  while (machine.simulation.step()) machine.machine.resume_ready();
  REPREFILL_CHECK(machine.machine.num_unfinished() == 0, "background work never ends");
  for (const record::Span& span : machine.spans.spans) {
    const bool reads = span.resource == record::Resource::ssd_demand || span.resource == record::Resource::ssd_prefetch;
    if (reads) served.read_by_device += span.bytes;
  }
  served.decisions = bench.decisions.decisions();
  return served;
}

/// What must not depend on the rule: one read a piece merges nothing, so that requested bytes and reads may differ.
RequestAccount without_requests(RequestAccount account) {
  account.payload_requested = Bytes{0};
  account.num_reads = 0;
  return account;
}

class PrefetchDrop : public testing::TestWithParam<PathKind> {
 protected:
  const sim::Profile profile_ = datasheet_profile();
};

TEST_P(PrefetchDrop, DroppedBytesAreNotReadAndReadPlusDroppedIsWhatWasIssued) {
  VariantGenerator variants(18);
  Bytes dropped;
  for (int round = 0; round < 30; ++round) {
    Variant variant = variants.next("contiguous_kv");
    variant.params["inter_prefetch"] = true;
    const std::uint32_t queue_depth = round % 3 == 0 ? 128 : 1;
    SCOPED_TRACE(variant.params.dump());
    const Served12 never = serve(variant, "never", GetParam(), queue_depth, profile_);
    const Served12 unsubmitted = serve(variant, "unsubmitted", GetParam(), queue_depth, profile_);
    Bytes requested;
    for (std::uint32_t i = 0; i < kNumRequests; ++i) {
      RequestAccount account = unsubmitted.accounts[i];
      requested += account.payload_requested + account.identification_requested;
      ASSERT_LE(account.payload_read, account.payload_requested);
      ASSERT_LE(account.prefetch_used, account.prefetch_read) << "what is used is never dropped";
      dropped += account.prefetch_dropped;
      ASSERT_EQ(never.accounts[i].prefetch_dropped, Bytes{0});
      account.payload_read += account.prefetch_dropped;
      account.prefetch_read += account.prefetch_dropped;
      account.prefetch_dropped = Bytes{0};
      ASSERT_EQ(without_requests(account), without_requests(never.accounts[i])) << "request " << i;
    }
    ASSERT_EQ(unsubmitted.read_by_device, requested) << "the device saw what the accounts say, and no more";
    ASSERT_EQ(unsubmitted.decisions, never.decisions) << "one request in flight: only time may differ";
  }
  EXPECT_GT(dropped, Bytes{0}) << "else this has tested nothing";
}

INSTANTIATE_TEST_SUITE_P(Paths, PrefetchDrop, testing::Values(PathKind::prototype, PathKind::direct),
                         [](const auto& info) { return enum_name(info.param); });

}  // namespace
}  // namespace reprefill
