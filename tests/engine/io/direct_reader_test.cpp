// DirectReader's rules, on a ring that completes what and when the test says.
#include "engine/io/direct_reader.hpp"

#include <gmock/gmock.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "tests/engine/io/scripted_ring.hpp"

namespace reprefill::engine {
namespace {

constexpr std::uint64_t kBlock = 4096;

class ScriptedReader : public testing::Test {
 protected:
  explicit ScriptedReader(std::size_t file_bytes = 64 * kBlock)
      : content_(file_bytes, '\0'), memory_(file_bytes), descriptor_(::memfd_create("reader-test", MFD_CLOEXEC)) {
    for (std::size_t i = 0; i < content_.size(); ++i) content_[i] = static_cast<char>(mix64(i));
    EXPECT_EQ(::pwrite(descriptor_, content_.data(), content_.size(), 0), static_cast<ssize_t>(content_.size()));
  }
  ~ScriptedReader() override {
    reader_.reset();
    ::close(descriptor_);
  }

  DirectReader& make(std::uint32_t depth) {
    auto ring = std::make_unique<ScriptedRing>(script_);
    ring_ = ring.get();
    reader_ = std::make_unique<DirectReader>(std::move(ring), depth);
    reader_->add_file(descriptor_, "/stores/a/segment.kv");
    return *reader_;
  }
  /// Blocks [first, first + count) of the file, to the same place in memory.
  FileRange blocks(std::uint64_t first, std::uint64_t count = 1) {
    return {
        .file = 0, .offset = first * kBlock, .bytes = Bytes{count * kBlock}, .destination = &memory_[first * kBlock]};
  }
  bool has_arrived(const FileRange& range) const {
    return std::memcmp(range.destination, content_.data() + range.offset, range.bytes.value) == 0;
  }
  std::vector<FinishedJob> harvest() {
    std::vector<FinishedJob> finished;
    reader_->harvest(finished);
    return finished;
  }
  /// Completes everything, oldest first, until nothing is under way.
  std::vector<FinishedJob> run_to_end() {
    std::vector<FinishedJob> finished;
    while (!script_.waiting.empty()) {
      ring_->complete_all();
      reader_->harvest(finished);
    }
    return finished;
  }
  std::vector<std::uint64_t> begun_blocks() const {
    std::vector<std::uint64_t> blocks;
    for (const RingRead& read : script_.begun) blocks.push_back(read.offset / kBlock);
    return blocks;
  }
  bool is_readable() const {
    pollfd descriptor{.fd = reader_->event_fd(), .events = POLLIN, .revents = 0};
    return ::poll(&descriptor, 1, 0) == 1;
  }

  std::string content_;
  std::vector<std::byte> memory_;
  int descriptor_;
  RingScript script_;
  ScriptedRing* ring_ = nullptr;
  std::unique_ptr<DirectReader> reader_;
};

std::string message_of(const FinishedJob& job) {
  if (!job.failure) return "";
  try {
    std::rethrow_exception(job.failure);
  } catch (const MachineError& error) {
    return error.what();
  }
}

// ---- Order and depth

TEST_F(ScriptedReader, DemandIsBegunBeforePrefetchThatTheKernelDoesNotHave) {
  DirectReader& reader = make(2);
  const FileRange prefetch[] = {blocks(0), blocks(1), blocks(2), blocks(3)};
  const FileRange demand[] = {blocks(10), blocks(11)};
  int a = 0, b = 0;
  reader.submit(&a, prefetch, ReadQueue::prefetch);
  reader.submit(&b, demand, ReadQueue::demand);
  EXPECT_EQ(run_to_end().size(), 2u);
  EXPECT_THAT(begun_blocks(), testing::ElementsAre(0, 1, 10, 11, 2, 3));
  EXPECT_EQ(script_.most_waiting, 2u);
}

TEST_F(ScriptedReader, RequestsOfOnePriorityAreBegunInOrder) {
  DirectReader& reader = make(1);
  const FileRange first[] = {blocks(5), blocks(1)};
  const FileRange second[] = {blocks(3)};
  int a = 0, b = 0;
  reader.submit(&a, first, ReadQueue::prefetch);
  reader.submit(&b, second, ReadQueue::prefetch);
  run_to_end();
  EXPECT_THAT(begun_blocks(), testing::ElementsAre(5, 1, 3));
}

TEST_F(ScriptedReader, AJobFinishesOnceWithItsLastRequest) {
  DirectReader& reader = make(8);
  const FileRange ranges[] = {blocks(0), blocks(1), blocks(2)};
  int tag = 0;
  reader.submit(&tag, ranges, ReadQueue::demand);
  ring_->complete(2);
  ring_->complete(0);
  EXPECT_TRUE(harvest().empty());
  ring_->complete(0);
  const std::vector<FinishedJob> finished = harvest();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].tag, &tag);
  EXPECT_TRUE(harvest().empty());
}

TEST_F(ScriptedReader, ATagMayBeUsedAgainOnceItsJobIsHarvested) {
  DirectReader& reader = make(1);
  const FileRange range = blocks(0);
  int tag = 0;
  for (int round = 0; round < 3; ++round) {
    reader.submit(&tag, {&range, 1}, ReadQueue::demand);
    EXPECT_THROW(reader.submit(&tag, {&range, 1}, ReadQueue::demand), InvariantError);
    EXPECT_EQ(run_to_end().size(), 1u);
  }
}

TEST_F(ScriptedReader, StartIsWhenTheKernelGotTheFirstRequest) {
  DirectReader& reader = make(1);
  const FileRange first = blocks(0), second = blocks(1);
  int a = 0, b = 0;
  reader.submit(&a, {&first, 1}, ReadQueue::demand);
  reader.submit(&b, {&second, 1}, ReadQueue::demand);
  ring_->complete(0);
  const auto before = std::chrono::steady_clock::now();
  const std::vector<FinishedJob> one = harvest();  // makes room for the second
  ring_->complete(0);
  const std::vector<FinishedJob> two = harvest();
  ASSERT_EQ(one.size(), 1u);
  ASSERT_EQ(two.size(), 1u);
  EXPECT_LE(one[0].start, before);
  EXPECT_GE(two[0].start, before);
  EXPECT_GE(two[0].end, two[0].start);
}

TEST_F(ScriptedReader, AJobWithoutRequestsFinishesAndWakes) {
  DirectReader& reader = make(1);
  int tag = 0;
  EXPECT_FALSE(is_readable());
  reader.submit(&tag, {}, ReadQueue::demand);
  EXPECT_TRUE(is_readable());
  EXPECT_EQ(harvest().size(), 1u);
  EXPECT_FALSE(is_readable());
}

TEST_F(ScriptedReader, AReadOfNothingIsNoError) {
  DirectReader& reader = make(1);
  FileRange range = blocks(0);
  range.bytes = Bytes{0};
  int tag = 0;
  reader.submit(&tag, {&range, 1}, ReadQueue::demand);
  const auto finished = run_to_end();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(message_of(finished[0]), "");
}

// ---- Dropping

TEST_F(ScriptedReader, WhatTheKernelHasRunsToItsEnd) {
  DirectReader& reader = make(2);
  const FileRange ranges[] = {blocks(0), blocks(1), blocks(2, 3), blocks(5)};
  int tag = 0;
  reader.submit(&tag, ranges, ReadQueue::prefetch);
  const DroppedRequests dropped = reader.drop_unsubmitted(&tag);
  EXPECT_EQ(dropped.num_requests, 2u);
  EXPECT_EQ(dropped.bytes, Bytes{4 * kBlock});
  EXPECT_EQ(reader.drop_unsubmitted(&tag).num_requests, 0u);
  const auto finished = run_to_end();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].num_dropped, 2u);
  EXPECT_THAT(begun_blocks(), testing::ElementsAre(0, 1));
  EXPECT_EQ(reader.drop_unsubmitted(&tag).num_requests, 0u);
}

TEST_F(ScriptedReader, AJobThatWasNeverBegunFinishesWhenItIsDropped) {
  DirectReader& reader = make(1);
  const FileRange first = blocks(0), second[] = {blocks(1), blocks(2)};
  int a = 0, b = 0;
  reader.submit(&a, {&first, 1}, ReadQueue::demand);
  reader.submit(&b, second, ReadQueue::prefetch);
  EXPECT_FALSE(is_readable());
  EXPECT_EQ(reader.drop_unsubmitted(&b).num_requests, 2u);
  EXPECT_TRUE(is_readable());
  const auto finished = harvest();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].tag, &b);
  EXPECT_LE(finished[0].start, finished[0].end);
  EXPECT_EQ(run_to_end().size(), 1u);
}

TEST_F(ScriptedReader, TheRestOfAShortReadIsNotDroppedAndNotOvertaken) {
  DirectReader& reader = make(1);
  script_.result = [&](const RingRead& read) {
    return static_cast<int>(script_.begun.size() == 1 ? kBlock : read.bytes);
  };
  const FileRange prefetch[] = {blocks(0, 2), blocks(4)};
  const FileRange demand = blocks(9);
  int a = 0, b = 0;
  reader.submit(&a, prefetch, ReadQueue::prefetch);
  reader.submit(&b, {&demand, 1}, ReadQueue::demand);
  ring_->complete(0);
  EXPECT_TRUE(harvest().empty());
  EXPECT_EQ(reader.drop_unsubmitted(&a).num_requests, 1u);
  EXPECT_EQ(run_to_end().size(), 2u);
  EXPECT_THAT(begun_blocks(), testing::ElementsAre(0, 1, 9));
  EXPECT_TRUE(has_arrived(prefetch[0]));
}

// ---- Short and failed reads

TEST_F(ScriptedReader, AReadCutAtAnyLengthIsContinuedFromABlocksBoundary) {
  for (int length = 1; length < static_cast<int>(3 * kBlock); ++length) {
    DirectReader& reader = make(1);
    script_.begun.clear();
    std::fill(memory_.begin(), memory_.end(), std::byte{0});
    bool is_first = true;
    script_.result = [&](const RingRead& read) {
      return std::exchange(is_first, false) ? length : static_cast<int>(read.bytes);
    };
    const FileRange range = blocks(7, 3);
    int tag = 0;
    reader.submit(&tag, {&range, 1}, ReadQueue::demand);
    const auto finished = run_to_end();
    ASSERT_EQ(finished.size(), 1u) << length;
    ASSERT_EQ(message_of(finished[0]), "") << length;
    ASSERT_TRUE(has_arrived(range)) << length;
    ASSERT_EQ(script_.begun.size(), 2u) << length;
    ASSERT_EQ(script_.begun[1].offset % kBlock, 0u) << length;
    ASSERT_EQ(script_.begun[1].offset - range.offset, static_cast<std::uint64_t>(length) / kBlock * kBlock);
    ASSERT_EQ(script_.begun[1].offset + script_.begun[1].bytes, range.offset + range.bytes.value);
  }
}

TEST_F(ScriptedReader, EveryByteArrivesWhateverTheKernelDoesAndInWhichOrder) {
  for (const std::uint32_t depth : {1u, 3u, 16u}) {
    RandomStream random(depth, 0, "ring");
    script_.result = [&](const RingRead& read) -> int {
      switch (random.below(6)) {
        case 0:
          return -EINTR;
        case 1:
          return -EAGAIN;
        case 2:
          return static_cast<int>(1 + random.below(read.bytes));
        default:
          return static_cast<int>(read.bytes);
      }
    };
    script_.submit = [&](std::size_t prepared) -> int {
      switch (random.below(5)) {
        case 0:
          return -EINTR;
        case 1:
          return -EAGAIN;
        case 2:
          return -EBUSY;
        default:
          return static_cast<int>(1 + random.below(prepared));
      }
    };
    script_.most_waiting = 0;
    DirectReader& reader = make(depth);
    std::vector<std::vector<FileRange>> jobs;
    for (std::uint64_t at = 0; at < 64;) {  // all of the file, in jobs of up to three reads of up to four blocks
      auto& job = jobs.emplace_back();
      for (std::uint64_t r = 1 + random.below(3); r > 0 && at < 64; --r) {
        const std::uint64_t count = std::min<std::uint64_t>(1 + random.below(4), 64 - at);
        job.push_back(blocks(at, count));
        at += count;
      }
    }
    std::fill(memory_.begin(), memory_.end(), std::byte{0});
    std::vector<FinishedJob> finished;
    std::size_t num_submitted = 0;
    while (finished.size() < jobs.size()) {
      if (num_submitted < jobs.size() && random.below(2) == 0) {
        const auto queue = random.below(2) == 0 ? ReadQueue::demand : ReadQueue::prefetch;
        reader.submit(&jobs[num_submitted], jobs[num_submitted], queue);
        ++num_submitted;
      }
      if (!script_.waiting.empty()) ring_->complete(random.below(script_.waiting.size()));
      if (random.below(3) == 0) reader.harvest(finished);
    }
    std::set<void*> tags;
    for (const FinishedJob& job : finished) {
      EXPECT_TRUE(tags.insert(job.tag).second);
      EXPECT_EQ(message_of(job), "");
    }
    EXPECT_EQ(std::memcmp(memory_.data(), content_.data(), content_.size()), 0);
    EXPECT_LE(script_.most_waiting, depth);
  }
}

TEST_F(ScriptedReader, AnErrorFailsItsOwnJobOnlyAndNamesFileOffsetAndErrno) {
  DirectReader& reader = make(4);
  script_.result = [](const RingRead& read) { return read.offset == kBlock ? -EIO : static_cast<int>(read.bytes); };
  const FileRange bad[] = {blocks(0), blocks(1), blocks(2)};
  const FileRange good = blocks(3);
  int a = 0, b = 0;
  reader.submit(&a, bad, ReadQueue::demand);
  reader.submit(&b, {&good, 1}, ReadQueue::demand);
  ring_->complete(1);
  EXPECT_TRUE(harvest().empty());  // the kernel still writes to the job's memory
  const auto finished = run_to_end();
  ASSERT_EQ(finished.size(), 2u);
  const FinishedJob& failed = finished[finished[0].tag == &a ? 0 : 1];
  const FinishedJob& other = finished[finished[0].tag == &a ? 1 : 0];
  EXPECT_EQ(message_of(failed),
            "/stores/a/segment.kv: io_uring read of 4096 bytes at offset 4096: EIO (Input/output error)");
  EXPECT_EQ(message_of(other), "");
  EXPECT_TRUE(has_arrived(good));
}

TEST_F(ScriptedReader, AKernelThatNeverDeliversIsAnErrorNotALoop) {
  for (const int result : {-EAGAIN, 1}) {
    DirectReader& reader = make(1);
    script_.result = [&](const RingRead&) { return result; };
    const FileRange range = blocks(0, 2);
    int tag = 0;
    reader.submit(&tag, {&range, 1}, ReadQueue::demand);
    const auto finished = run_to_end();
    ASSERT_EQ(finished.size(), 1u);
    EXPECT_THAT(message_of(finished[0]), testing::HasSubstr("no progress in 1000 attempts"));
    EXPECT_THAT(message_of(finished[0]), testing::HasSubstr(result < 0 ? "EAGAIN" : "1 bytes"));
  }
}

TEST_F(ScriptedReader, SubmissionThatFailsThrowsAndLeavesNothingBehind) {
  DirectReader& reader = make(4);
  const FileRange ranges[] = {blocks(0), blocks(1), blocks(2)};
  int tag = 0, num_calls = 0;
  script_.submit = [&](std::size_t) { return ++num_calls == 1 ? 2 : -EBADF; };
  EXPECT_THAT([&] { reader.submit(&tag, ranges, ReadQueue::demand); },
              testing::ThrowsMessage<MachineError>(testing::HasSubstr("io_uring_submit: EBADF")));
  reader_.reset();  // waits for the two that were taken, and for no more
  EXPECT_TRUE(script_.waiting.empty());
}

TEST_F(ScriptedReader, SubmissionThatIsNeverTakenIsAnErrorNotALoop) {
  DirectReader& reader = make(1);
  const FileRange range = blocks(0);
  int tag = 0;
  script_.submit = [](std::size_t) { return -EBUSY; };
  EXPECT_THROW(reader.submit(&tag, {&range, 1}, ReadQueue::demand), MachineError);
}

TEST_F(ScriptedReader, ItsEndWaitsForWhatTheKernelHas) {
  DirectReader& reader = make(8);
  std::vector<FileRange> ranges;
  for (std::uint64_t i = 0; i < 32; ++i) ranges.push_back(blocks(i));
  int tag = 0;
  reader.submit(&tag, ranges, ReadQueue::demand);
  ring_->complete(3);  // a completion that nobody harvests
  reader_.reset();
  EXPECT_TRUE(script_.waiting.empty());
  EXPECT_EQ(script_.begun.size(), 8u);
}

TEST_F(ScriptedReader, WhatIsTooLargeForOneReadIsReadInParts) {
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
  DirectReader& reader = make(2);
  ASSERT_EQ(::ftruncate(descriptor_, 6 * kGiB), 0);  // a hole; nothing is written
  script_.moves_bytes = false;
  // Addresses only: nothing is behind them.
  void* memory = ::mmap(nullptr, 5 * kGiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const FileRange range{
      .file = 0, .offset = 0, .bytes = Bytes{5 * kGiB}, .destination = static_cast<std::byte*>(memory)};
  int tag = 0;
  reader.submit(&tag, {&range, 1}, ReadQueue::demand);
  const auto finished = run_to_end();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(message_of(finished[0]), "");
  ASSERT_EQ(script_.begun.size(), 5u);
  for (std::uint64_t i = 0; i < 5; ++i) EXPECT_EQ(script_.begun[i].offset, i * kGiB);
  ::munmap(memory, 5 * kGiB);
}

class ReaderOfAnOddFile : public ScriptedReader {
 protected:
  ReaderOfAnOddFile() : ScriptedReader(3 * kBlock + 1234) {}
};

TEST_F(ReaderOfAnOddFile, AFileThatEndsWithinTheReadIsAnErrorWithTheEnd) {
  DirectReader& reader = make(1);
  memory_.resize(5 * kBlock);
  const FileRange beyond[] = {blocks(1, 3), blocks(4)};
  int tags[2];
  for (int i = 0; i < 2; ++i) reader.submit(&tags[i], {&beyond[i], 1}, ReadQueue::demand);
  const auto finished = run_to_end();
  ASSERT_EQ(finished.size(), 2u);
  EXPECT_THAT(message_of(finished[0]),
              testing::HasSubstr("12288 bytes at offset 4096: the file ends before, at 13522"));
  EXPECT_THAT(message_of(finished[1]), testing::HasSubstr("at offset 16384: the file ends before"));
  EXPECT_EQ(script_.begun.size(), 2u);
}

TEST(DirectReaderOptions, RefusesADepthThatTheKernelDoesNotHave) {
  for (const std::uint32_t depth : {0u, 32769u}) {
    EXPECT_THAT([&] { DirectReader reader({.queue_depth = depth}); },
                testing::ThrowsMessage<ConfigError>(testing::HasSubstr("queue_depth: found " + std::to_string(depth))));
  }
}

}  // namespace
}  // namespace reprefill::engine
