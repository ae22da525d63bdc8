// What a GPU, its memory or its driver cannot do is refused with names and numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "engine/executor/cuda/cuda_executor.hpp"
#include "engine/gpu/device_check.hpp"
#include "tests/engine/cuda/two_layers.hpp"
#include "tests/support/emulated_gpu.hpp"
#include "tests/support/failing_gpu.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using pipeline::PathKind;
using reprefill::test_support::GpuAccount;
using reprefill::test_support::make_emulated_gpu;
using reprefill::test_support::make_failing_gpu;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(GpuTooSmall, ForTheWeightsIsSaidInNumbers) {
  const SmallModel model(two_layers());
  EXPECT_THAT([&] { CudaExecutor(*model.model.checkpoint, make_emulated_gpu(Bytes{100'000})); },
              ThrowsMessage<ConfigError>(testing::AllOf(HasSubstr("for weights and"), HasSubstr("100000 are free"))));
}

TEST(GpuTooSmall, ForTheTiersIsSaidInNumbersAndReleasesEverything) {
  const Variant variant = variant_of("contiguous_kv");
  SmallModel model(two_layers());
  const PrefixStore store(model.model, variant, PathKind::direct);
  const GpuMemoryPlan plan = plan_gpu_memory(*model.model.checkpoint);
  const auto account = std::make_shared<GpuAccount>();
  model.model.executor = std::make_unique<CudaExecutor>(
      *model.model.checkpoint,
      make_failing_gpu(make_emulated_gpu(plan.weights + plan.activations + Bytes{200'000}), account));
  EXPECT_THAT([&] { Session(model.model, &*store, session_options(variant, PathKind::direct)); },
              ThrowsMessage<ConfigError>(HasSubstr("tiers and workspace need")));
  model.model.executor.reset();
  EXPECT_TRUE(account->holds_nothing());
}

GpuFacts an_h100() {
  return {.driver_version = 13000,
          .runtime_version = 13000,
          .num_devices = 2,
          .name = "NVIDIA H100",
          .compute_major = 9,
          .compute_minor = 0};
}

TEST(GpuFactsOfTheDriver, OneThatWorksPasses) {
  check_gpus(an_h100(), 0);
  check_gpus(an_h100(), 1);
  check_architecture(an_h100());
}

TEST(GpuFactsOfTheDriver, ADriverOlderThanTheToolkitIsNamedWithBothVersions) {
  GpuFacts facts = an_h100();
  facts.driver_is_too_old = true;
  facts.driver_version = 12040;
  facts.num_devices = 0;
  EXPECT_THAT([&] { check_gpus(facts, 0); },
              ThrowsMessage<MachineError>(HasSubstr("supports CUDA 12.4, this program needs 13.0: update the driver")));
  facts.driver_version = 0;
  EXPECT_THAT([&] { check_gpus(facts, 0); }, ThrowsMessage<MachineError>(HasSubstr("has no NVIDIA driver")));
}

TEST(GpuFactsOfTheDriver, NoDeviceAndAnIndexBeyondTheLastAreSaid) {
  GpuFacts facts = an_h100();
  EXPECT_THAT([&] { check_gpus(facts, 2); }, ThrowsMessage<ConfigError>(HasSubstr("--gpu 2: this machine has 2 GPUs")));
  EXPECT_THROW(check_gpus(facts, -1), ConfigError);
  facts.num_devices = 0;
  EXPECT_THAT([&] { check_gpus(facts, 0); }, ThrowsMessage<MachineError>(HasSubstr("no NVIDIA GPU")));
}

TEST(GpuFactsOfTheDriver, AnArchitectureBeforeAmpereIsRefusedByName) {
  GpuFacts facts = an_h100();
  facts.name = "Tesla T4";
  facts.compute_major = 7;
  facts.compute_minor = 5;
  EXPECT_THAT([&] { check_architecture(facts); },
              ThrowsMessage<MachineError>(HasSubstr("Tesla T4 has compute capability 7.5; the kernels need 8.0")));
  facts.compute_major = 8;
  facts.compute_minor = 0;
  check_architecture(facts);
}

}  // namespace
}  // namespace reprefill::engine
