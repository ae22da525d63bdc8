// The emulated GPU refuses what a real one would not survive.
#include "tests/support/emulated_gpu.hpp"

#include <gtest/gtest.h>

#include "core/base/error.hpp"
#include "engine/gpu/gpu_memory.hpp"

namespace reprefill::test_support {
namespace {

using engine::GpuBlockCache;
using engine::PinnedArray;

TEST(EmulatedGpu, MemoryIsCountedAndRunsOut) {
  const auto gpu = make_emulated_gpu(Bytes{4096});
  std::byte* first = gpu->allocate(Bytes{4000});
  EXPECT_EQ(gpu->free_memory(), Bytes{0});
  EXPECT_THROW(gpu->allocate(Bytes{1}), MachineError);
  gpu->release(first);
  EXPECT_EQ(gpu->free_memory(), Bytes{4096});
}

TEST(EmulatedGpu, GatherTakesPinnedAndDeviceMemoryOnly) {
  const auto gpu = make_emulated_gpu();
  alignas(16) std::byte plain[16] = {std::byte{7}};
  std::byte* to = gpu->allocate(Bytes{16});
  const kernels::GatherPiece piece{.from = plain, .to = to, .bytes = 16};
  const kernels::GatherPieces pieces{.pieces = &piece, .num_pieces = 1, .max_piece_bytes = 16};
  EXPECT_THROW(gpu->gather(pieces, nullptr), MachineError);
  gpu->pin(plain, Bytes{16});
  gpu->gather(pieces, nullptr);
  EXPECT_EQ(to[0], std::byte{7});
  gpu->unpin(plain);
  gpu->release(to);
}

TEST(GpuBlockCache, BlocksComeBackAndAreUsedAgain) {
  const auto gpu = make_emulated_gpu();
  GpuBlockCache cache(*gpu, GpuBlockCache::Kind::pinned);
  std::byte* data = nullptr;
  {
    const auto block = cache.take(Bytes{5000});
    data = block.get();
    EXPECT_TRUE(gpu->can_read(data + 4999));
    EXPECT_NE(cache.take(Bytes{5000}).get(), data);
  }
  const auto first = cache.take(Bytes{8192}), second = cache.take(Bytes{5000});
  EXPECT_TRUE(first.get() == data || second.get() == data) << "both are of the size that 5000 is rounded to";
}

TEST(UploadRing, WhatIsSentIsThereAndGrowsWithTheLargest) {
  const auto gpu = make_emulated_gpu();
  engine::UploadRing ring(*gpu, nullptr);
  for (std::size_t size : {1u, 5000u, 100u, 70000u}) {
    for (int i = 0; i < 70; ++i) {
      std::byte* host = ring.begin(Bytes{size});
      for (std::size_t at = 0; at < size; ++at) host[at] = static_cast<std::byte>(at + static_cast<std::size_t>(i));
      const std::byte* device = ring.send();
      ASSERT_EQ(device[size - 1], static_cast<std::byte>(size - 1 + static_cast<std::size_t>(i)));
    }
  }
}

}  // namespace
}  // namespace reprefill::test_support
