// Both readers, over the same file: every byte arrives, failures are named, nothing is written after the end.
#include <gmock/gmock.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <set>

#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "engine/io/buffered_reader.hpp"
#include "engine/io/direct_reader.hpp"
#include "engine/io/staging_arena.hpp"
#include "engine/io/storage_kind.hpp"

namespace reprefill::engine {
namespace {

constexpr std::size_t kFileBytes = 4u << 20;

/// A file of random bytes beside the build, where the disk is; open for direct reads where the file system has them.
class RandomFile {
 public:
  RandomFile() : path_(std::filesystem::current_path() / ("reader-test-" + std::to_string(::getpid()))) {
    bytes_.resize(kFileBytes);
    for (std::size_t i = 0; i < bytes_.size(); i += 8) {
      const std::uint64_t word = mix64(i);
      std::memcpy(bytes_.data() + i, &word, 8);
    }
    std::ofstream(path_, std::ios::binary).write(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
    direct_ = ::open(path_.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    buffered_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  }
  ~RandomFile() {
    if (direct_ >= 0) ::close(direct_);
    ::close(buffered_);
    std::filesystem::remove(path_);
  }
  int direct() const { return direct_; }
  int buffered() const { return buffered_; }
  std::string path() const { return path_.string(); }
  bool equals(std::uint64_t offset, const std::byte* data, std::size_t size) const {
    return std::memcmp(bytes_.data() + offset, data, size) == 0;
  }

 private:
  std::filesystem::path path_;
  std::string bytes_;
  int direct_ = -1, buffered_ = -1;
};

void wait_for(FileReader& reader, std::vector<FinishedJob>& finished, std::size_t count) {
  while (finished.size() < count) {
    pollfd descriptor{.fd = reader.event_fd(), .events = POLLIN, .revents = 0};
    ASSERT_GE(::poll(&descriptor, 1, 10000), 1) << "nothing finished within 10 s";
    reader.harvest(finished);
  }
}

enum class Kind { direct, direct_unregistered, buffered };

class Readers : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (GetParam() != Kind::buffered && file_.direct() < 0) GTEST_SKIP() << "no O_DIRECT here";
  }
  std::unique_ptr<FileReader> make(std::uint32_t depth = 8) {
    std::unique_ptr<FileReader> reader;
    if (GetParam() == Kind::buffered) {
      reader = std::make_unique<BufferedReader>(PageCache::drop);
    } else {
      reader = std::make_unique<DirectReader>(
          DirectReaderOptions{.queue_depth = depth,
                              .buffers = arena_.memory(),
                              .unregistered_buffers = GetParam() == Kind::direct_unregistered});
    }
    reader->add_file(GetParam() == Kind::buffered ? file_.buffered() : file_.direct(), file_.path());
    return reader;
  }
  RandomFile file_;
  StagingArena arena_{Bytes{8u << 20}};
};

TEST_P(Readers, EveryByteOfManyJobsArrives) {
  const auto reader = make();
  struct Job {
    std::vector<FileRange> ranges;
  };
  std::vector<Job> jobs(100);
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    for (std::uint64_t r = 0; r < 1 + j % 4; ++r) {
      const std::uint64_t dice = combine64(j, r);
      const std::uint64_t bytes = (1 + dice % 4) * 4096, offset = (dice >> 8) % ((kFileBytes - bytes) / 4096) * 4096;
      jobs[j].ranges.push_back(
          {.file = 0, .offset = offset, .bytes = Bytes{bytes}, .destination = arena_.allocate(Bytes{bytes})});
      ASSERT_NE(jobs[j].ranges.back().destination, nullptr);
    }
    reader->submit(&jobs[j], jobs[j].ranges, j % 3 == 0 ? ReadQueue::prefetch : ReadQueue::demand);
  }
  std::vector<FinishedJob> finished;
  wait_for(*reader, finished, jobs.size());
  std::set<void*> seen;
  for (const FinishedJob& job : finished) {
    EXPECT_TRUE(seen.insert(job.tag).second);
    EXPECT_FALSE(job.failure);
    EXPECT_LE(job.start, job.end);
    for (const FileRange& range : static_cast<Job*>(job.tag)->ranges) {
      EXPECT_TRUE(file_.equals(range.offset, range.destination, range.bytes.value));
    }
  }
}

TEST_P(Readers, AReadBeyondTheEndNamesTheFile) {
  const auto reader = make();
  const FileRange range{
      .file = 0, .offset = kFileBytes - 4096, .bytes = Bytes{8192}, .destination = arena_.allocate(Bytes{8192})};
  int tag = 0;
  reader->submit(&tag, {&range, 1}, ReadQueue::demand);
  std::vector<FinishedJob> finished;
  wait_for(*reader, finished, 1);
  ASSERT_TRUE(finished[0].failure);
  EXPECT_THAT([&] { std::rethrow_exception(finished[0].failure); },
              testing::ThrowsMessage<MachineError>(
                  testing::AllOf(testing::HasSubstr(file_.path()), testing::HasSubstr("ends before"))));
}

TEST_P(Readers, WhatTheKernelDoesNotHaveIsDropped) {
  const auto reader = make(1);
  std::vector<FileRange> ranges(200);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    ranges[i] = {.file = 0, .offset = i * 4096, .bytes = Bytes{4096}, .destination = arena_.allocate(Bytes{4096})};
  }
  int tag = 0;
  reader->submit(&tag, ranges, ReadQueue::prefetch);
  const DroppedRequests dropped = reader->drop_unsubmitted(&tag);
  EXPECT_GT(dropped.num_requests, 0u);
  EXPECT_EQ(dropped.bytes.value, dropped.num_requests * 4096);
  std::vector<FinishedJob> finished;
  wait_for(*reader, finished, 1);
  EXPECT_EQ(finished[0].num_dropped, dropped.num_requests);
  EXPECT_EQ(reader->drop_unsubmitted(&tag).num_requests, 0u);
}

TEST_P(Readers, DemandOvertakesPrefetchThatTheKernelDoesNotHave) {
  const auto reader = make(1);
  std::vector<FileRange> prefetch(300);
  for (std::size_t i = 0; i < prefetch.size(); ++i) {
    prefetch[i] = {.file = 0, .offset = i * 4096, .bytes = Bytes{4096}, .destination = arena_.allocate(Bytes{4096})};
  }
  const FileRange demand{.file = 0, .offset = 0, .bytes = Bytes{4096}, .destination = arena_.allocate(Bytes{4096})};
  int prefetch_tag = 0, demand_tag = 0;
  reader->submit(&prefetch_tag, prefetch, ReadQueue::prefetch);
  reader->submit(&demand_tag, {&demand, 1}, ReadQueue::demand);
  std::vector<FinishedJob> finished;
  wait_for(*reader, finished, 2);
  EXPECT_EQ(finished[0].tag, &demand_tag);
}

TEST_P(Readers, MayEndWithReadsUnderWay) {
  for (int round = 0; round < 20; ++round) {
    const auto reader = make(64);
    std::vector<FileRange> ranges(64);
    StagingArena own(Bytes{64 * 16384});
    for (std::size_t i = 0; i < ranges.size(); ++i) {
      ranges[i] = {.file = 0, .offset = i * 16384, .bytes = Bytes{16384}, .destination = own.allocate(Bytes{16384})};
    }
    int tag = 0;
    reader->submit(&tag, ranges, ReadQueue::demand);
  }
}

INSTANTIATE_TEST_SUITE_P(OfEveryKind, Readers, testing::Values(Kind::direct, Kind::direct_unregistered, Kind::buffered),
                         [](const auto& info) {
                           return info.param == Kind::direct     ? "direct"
                                  : info.param == Kind::buffered ? "buffered"
                                                                 : "direct_unregistered";
                         });

TEST(DirectReader, TooLittleLockedMemoryNamesTheLimit) {
  // In a child, since limits cannot be raised again. Root may lock what it likes, so the child gives that up.
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit little{4u << 20, 4u << 20};
    if (::setrlimit(RLIMIT_MEMLOCK, &little) != 0 || ::setuid(65534) != 0) ::_exit(77);
    try {
      StagingArena arena(Bytes{64u << 20});
      DirectReader reader({.buffers = arena.memory()});
      ::_exit(1);
    } catch (const MachineError& error) {
      ::_exit(std::strstr(error.what(), "ulimit -l") != nullptr ? 0 : 2);
    }
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "limits cannot be changed here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(StorageKind, MemoryFileSystemsAreTold) {
  if (!std::filesystem::exists("/dev/shm")) GTEST_SKIP() << "no /dev/shm here";
  EXPECT_EQ(storage_kind("/dev/shm").is_memory, storage_kind("/dev/shm").file_system == "tmpfs");
  EXPECT_FALSE(storage_kind(std::filesystem::current_path()).file_system.empty());
  EXPECT_THROW(storage_kind("/no/such/path"), MachineError);
}

}  // namespace
}  // namespace reprefill::engine
