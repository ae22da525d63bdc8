#include "sim/events/frame_pool.hpp"

#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "sim/events/process.hpp"

namespace reprefill::sim {
namespace {

using detail::FramePool;

TEST(FramePool, HandsOutAFreedFrameOfTheSameSizeAgain) {
  void* first = FramePool::allocate(300);
  FramePool::release(first, 300);
  void* second = FramePool::allocate(310);  // the same class of sizes
  EXPECT_EQ(second, first);
  std::memset(second, 1, 310);
  FramePool::release(second, 310);
}

TEST(FramePool, FramesInUseNeverOverlap) {
  std::vector<std::pair<unsigned char*, std::size_t>> frames;
  for (const std::size_t size : {1, 63, 64, 65, 128, 1000, 2047, 2048, 2049, 5000}) {
    for (int i = 0; i < 20; ++i) {
      auto* frame = static_cast<unsigned char*>(FramePool::allocate(size));
      std::memset(frame, static_cast<int>(frames.size()), size);
      frames.emplace_back(frame, size);
      if (i % 3 == 0) {
        FramePool::release(frame, size);
        frames.pop_back();
      }
    }
  }
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const auto [frame, size] = frames[i];
    EXPECT_EQ(frame[0], static_cast<unsigned char>(i));
    EXPECT_EQ(frame[size - 1], static_cast<unsigned char>(i));
    FramePool::release(frame, size);
  }
}

TEST(FramePool, AFrameMayBeFreedOnAnotherThread) {
  std::vector<void*> frames;
  for (int i = 0; i < 100; ++i) frames.push_back(FramePool::allocate(200));
  std::thread([&frames] {
    for (void* frame : frames) FramePool::release(frame, 200);
    EXPECT_EQ(FramePool::allocate(200), frames.back());
    FramePool::release(frames.back(), 200);
  }).join();
}

Process short_lived(Simulation& simulation) { co_await simulation.delay(Nanoseconds{1}); }

TEST(FramePool, SimulationsOnSeveralThreadsDoNotMeet) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      Simulation simulation;
      for (int round = 0; round < 50; ++round) {
        for (int j = 0; j < 20; ++j) simulation.spawn(short_lived(simulation));
        simulation.run();
      }
      EXPECT_EQ(simulation.num_timed_events(), 1000u);
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace reprefill::sim
