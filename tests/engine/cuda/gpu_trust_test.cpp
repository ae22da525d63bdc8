// What goes wrong on a GPU is told, and nothing of it is kept: whatever call fails first, and when a run is cancelled.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "engine/executor/cuda/cuda_executor.hpp"
#include "tests/engine/cuda/two_layers.hpp"
#include "tests/support/failing_gpu.hpp"
#include "tests/support/test_gpu.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using pipeline::PathKind;
using reprefill::test_support::GpuAccount;
using reprefill::test_support::make_failing_gpu;
using reprefill::test_support::make_test_gpu;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// A model and a store on disk, served by a GPU that fails.
class GpuTrust : public testing::TestWithParam<std::tuple<Variant, PathKind>> {
 protected:
  static void SetUpTestSuite() { model_ = new SmallModel(two_layers()); }
  static void TearDownTestSuite() {
    delete model_;
    model_ = nullptr;
  }
  void SetUp() override {
    if (!make_test_gpu()) GTEST_SKIP() << "no GPU";
  }

  const Variant& variant() const { return std::get<0>(GetParam()); }
  PathKind path() const { return std::get<1>(GetParam()); }
  PrefixStore make_store() const { return PrefixStore(model_->model, variant(), path()); }

  /// From opening the device to closing it.
  void run(const Store& store, const std::shared_ptr<GpuAccount>& account, const SessionCallbacks& callbacks,
           int max_in_flight) const {
    Model model;
    model.checkpoint = std::make_unique<Checkpoint>(Checkpoint::open(model_->folder()));
    model.tokenizer = std::make_unique<Tokenizer>(Tokenizer::open(model_->folder() / "tokenizer.json"));
    model.executor = std::make_unique<CudaExecutor>(*model.checkpoint, make_failing_gpu(make_test_gpu(), account));
    SessionOptions options = session_options(variant(), path());
    options.max_in_flight = max_in_flight;
    Session session(model, &store, options);
    session.serve(some_requests(2), callbacks);
  }

  static SmallModel* model_;
};
SmallModel* GpuTrust::model_ = nullptr;

TEST_P(GpuTrust, AnErrorInFlightEndsTheRunWithItsMessageAndReleasesEverything) {
  const PrefixStore store = make_store();
  const auto whole = std::make_shared<GpuAccount>();
  run(*store, whole, {}, 1);
  ASSERT_TRUE(whole->holds_nothing());
  const std::int64_t num_calls = whole->calls;
  constexpr std::int64_t kFailures = 12;
  // The first calls, where executor and session are made, one by one; then all over the run.
  for (std::int64_t i = 0; i < 2 * kFailures; ++i) {
    const auto account = std::make_shared<GpuAccount>();
    account->fail_at = i < kFailures ? i : num_calls * (i - kFailures) / kFailures;
    EXPECT_THAT([&] { run(*store, account, {}, i % 2 == 0 ? 1 : 2); },
                ThrowsMessage<MachineError>(HasSubstr("illegal memory access")))
        << account->fail_at << " of " << num_calls;
    EXPECT_TRUE(account->holds_nothing())
        << "failed at call " << account->fail_at << " of " << num_calls << ": " << account->allocations
        << " allocations, " << account->pinned << " pinned ranges, " << account->streams << " streams";
  }
}

TEST_P(GpuTrust, ACancelledRunReleasesEverything) {
  const PrefixStore store = make_store();
  std::atomic<bool> interrupted = false;
  SessionCallbacks callbacks{.interrupted = &interrupted};
  callbacks.on_attend = [&](const pipeline::Request&, int layer_idx, const pipeline::KvView&) {
    if (layer_idx == 1) interrupted = true;
  };
  const auto account = std::make_shared<GpuAccount>();
  EXPECT_THROW(run(*store, account, callbacks, 2), Interrupted);
  EXPECT_TRUE(account->holds_nothing());
}

INSTANTIATE_TEST_SUITE_P(Systems, GpuTrust,
                         testing::Values(std::tuple(variant_of("contiguous_kv"), PathKind::direct),
                                         std::tuple(variant_of("attention_store"), PathKind::prototype),
                                         std::tuple(variant_of("resident"), PathKind::direct)),
                         name_of);

}  // namespace
}  // namespace reprefill::engine
