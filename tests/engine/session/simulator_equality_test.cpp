// The engine and the simulator, on the same requests and the importance that the engine recorded: bytes, reads and
// cache decisions are equal, system by system, on both software paths (design 4, semantics 3 and 8).
#include <gtest/gtest.h>

#include "tests/engine/session/simulated_run.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using pipeline::PathKind;

class SimulatorEquality : public testing::TestWithParam<std::tuple<Variant, PathKind>> {
 protected:
  static void SetUpTestSuite() { small_ = new SmallModel; }
  static void TearDownTestSuite() { delete small_; }
  static SmallModel* small_;
};
SmallModel* SimulatorEquality::small_ = nullptr;

TEST_P(SimulatorEquality, BytesReadsAndDecisionsAreTheEngines) {
  const auto& [variant, path] = GetParam();
  const PrefixStore store(small_->model, variant, path);
  expect_equal_runs(small_->model, *store, variant, path, some_requests());
}

INSTANTIATE_TEST_SUITE_P(AllSystems, SimulatorEquality,
                         testing::Combine(testing::ValuesIn(reprefill::test_support::all_variants()),
                                          testing::Values(PathKind::prototype, PathKind::direct)),
                         name_of);

}  // namespace
}  // namespace reprefill::engine
