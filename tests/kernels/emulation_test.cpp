// The emulated device must catch what hardware would not forgive, or passing on it means little.
#include "kernels/emulation/device_emulation.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/base/tiles.cuh"

namespace reprefill::kernels::emulation {
namespace {

constexpr GridShape kOneBlock{.blocks = {1, 1, 1}, .block_threads = 64, .shared_bytes = 256};

TEST(EmulatedDevice, EveryThreadOfEveryBlockRunsOnce) {
  std::vector<int> runs(3 * 2 * 64);
  run_grid({.blocks = {3, 2, 1}, .block_threads = 64},
           [&] { ++runs[(block_index().y * 3 + block_index().x) * 64 + thread_index().x]; });
  EXPECT_EQ(runs, std::vector<int>(runs.size(), 1));
}

TEST(EmulatedDevice, ABarrierSeparatesWritesFromReads) {
  int wrong = 0;
  run_grid(kOneBlock, [&] {
    auto* words = reinterpret_cast<unsigned*>(dynamic_shared());
    words[thread_index().x] = thread_index().x;
    block_barrier();
    wrong += words[63 - thread_index().x] != 63 - thread_index().x;
  });
  EXPECT_EQ(wrong, 0);
}

TEST(EmulatedDevice, WithoutTheBarrierUnwrittenMemoryIsRead) {
  int wrong = 0;
  run_grid(kOneBlock, [&] {
    auto* words = reinterpret_cast<unsigned*>(dynamic_shared());
    words[thread_index().x] = thread_index().x;
    wrong += words[63 - thread_index().x] != 63 - thread_index().x;
  });
  EXPECT_GT(wrong, 0);
}

TEST(EmulatedDevice, ACopyThatIsNotWaitedForHasNotArrived) {
  const std::vector<unsigned> source(64 * 4, 5);
  unsigned early = 0, late = 0;
  run_grid({.blocks = {1, 1, 1}, .block_threads = 64, .shared_bytes = 1024}, [&] {
    std::byte* to = dynamic_shared() + thread_index().x * 16;
    device::copy_async(to, source.data() + thread_index().x * 4, true);
    device::commit_copies();
    early += *reinterpret_cast<unsigned*>(to) == 5;
    device::wait_copies<0>();
    late += *reinterpret_cast<unsigned*>(to) == 5;
  });
  EXPECT_EQ(early, 0u);
  EXPECT_EQ(late, 64u);
}

TEST(EmulatedDevice, AThreadThatSkipsABarrierIsAnError) {
  EXPECT_THROW(run_grid(kOneBlock,
                        [] {
                          if (thread_index().x != 7) block_barrier();
                        }),
               InvariantError);
}

TEST(EmulatedDevice, LanesInDifferentCollectivesAreAnError) {
  EXPECT_THROW(run_grid(kOneBlock,
                        [] {
                          if (lane() == 0)
                            __shfl_xor_sync(~0u, 1, 1);
                          else
                            __shfl_xor_sync(~0u, 1.0f, 1);
                        }),
               InvariantError);
}

TEST(EmulatedDevice, ShufflesAndBallotsMoveValuesBetweenLanes) {
  run_grid(kOneBlock, [] {
    const int own = static_cast<int>(lane());
    EXPECT_EQ(__shfl_xor_sync(~0u, own, 3), own ^ 3);
    EXPECT_EQ(__shfl_up_sync(~0u, own, 2u), own < 2 ? own : own - 2);
    EXPECT_EQ(__shfl_sync(~0u, own, 9), 9);
    EXPECT_EQ(__ballot_sync(~0u, own % 2 == 0), 0x55555555u);
  });
}

TEST(FastDivide, IsExactForEverySlotAndPageSize) {
  for (std::uint32_t divisor = 1; divisor <= kMaxPageTokens; ++divisor) {
    const auto division = device::FastDivide::by(divisor);
    std::uint32_t wrong = 0;
    for (std::uint32_t quotient = 0; quotient * divisor <= kMaxSlots; quotient += 1 + quotient / 1000) {
      const std::uint32_t first = quotient * divisor;
      wrong += division.quotient(first) != quotient;
      wrong += division.quotient(first + divisor - 1) != quotient;
    }
    EXPECT_EQ(wrong, 0u) << divisor;
  }
}

/// a = row index times something, b = identity: the product is a itself, wherever fragments put their elements.
TEST(EmulatedDevice, MatrixFragmentsMultiplyAsAMatrixProduct) {
  std::vector<BFloat16> a(16 * 16), b(8 * 16);
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) a[row * 16 + k] = BFloat16::round(static_cast<float>(row * 16 + k));
  }
  for (int n = 0; n < 8; ++n) b[n * 16 + n + 4] = BFloat16::round(1);  // picks column n + 4 of a
  run_grid({.blocks = {1, 1, 1}, .block_threads = 32}, [&] {
    const int own = static_cast<int>(lane());
    std::uint32_t a_fragments[4], b_fragments[4];
    device::load_matrices(a_fragments, a.data() + (own % 16) * 16 + (own / 16) * 8);
    device::load_matrices(b_fragments, b.data() + (own % 8) * 16 + ((own / 8) % 2) * 8);
    float c[4] = {0.5f, 0.5f, 0.5f, 0.5f};
    device::multiply_add(c, a_fragments, b_fragments[0], b_fragments[1]);
    for (int i = 0; i < 4; ++i) {
      const int row = own / 4 + (i / 2) * 8, column = own % 4 * 2 + i % 2;
      EXPECT_EQ(c[i], static_cast<float>(row * 16 + column + 4) + 0.5f);
    }
  });
}

}  // namespace
}  // namespace reprefill::kernels::emulation
