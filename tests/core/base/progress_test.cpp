#include "core/base/progress.hpp"

#include <gtest/gtest.h>

namespace reprefill {
namespace {

TEST(Progress, WeighsTheTimeLeftByCost) {
  Progress progress("sweep", {1, 1, 8}, ProgressMode::quiet);
  EXPECT_EQ(progress.text(0), "sweep: 0/3 points, 0 %, 0 s");
  progress.done(0);
  progress.done(1);
  EXPECT_EQ(progress.text(10), "sweep: 2/3 points, 20 %, 10 s, about 40 s left");
  progress.done(2);
  EXPECT_EQ(progress.text(50), "sweep: 3/3 points, 100 %, 50 s");
}

}  // namespace
}  // namespace reprefill
