// Both readers, over the same file: every byte arrives, failures are named, nothing is written after the end.
#include <gmock/gmock.h>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <fstream>
#include <optional>
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
  // BufferedReader's thread may have read all before demand is even asked for, on a busy machine; not every time.
  bool has_overtaken = false;
  for (int attempt = 0; attempt < 100 && !has_overtaken; ++attempt) {
    int prefetch_tag = 0, demand_tag = 0;
    reader->submit(&prefetch_tag, prefetch, ReadQueue::prefetch);
    reader->submit(&demand_tag, {&demand, 1}, ReadQueue::demand);
    std::vector<FinishedJob> finished;
    wait_for(*reader, finished, 2);
    has_overtaken = finished[0].tag == &demand_tag;
  }
  EXPECT_TRUE(has_overtaken);
}

TEST_P(Readers, SeveralFilesAndReadersAtOnceKeepTheirBytesApart) {
  constexpr std::size_t kNumReaders = 3, kNumFiles = 20;
  std::vector<std::unique_ptr<FileReader>> readers;
  std::vector<std::vector<FileRange>> jobs(kNumReaders);
  for (std::size_t r = 0; r < kNumReaders; ++r) {
    readers.push_back(make(4));
    for (std::size_t f = 1; f < kNumFiles; ++f) {  // the same file again, under further numbers
      EXPECT_EQ(readers[r]->add_file(GetParam() == Kind::buffered ? file_.buffered() : file_.direct(), file_.path()),
                static_cast<int>(f));
    }
    for (std::size_t i = 0; i < 60; ++i) {
      jobs[r].push_back({.file = static_cast<int>(i % kNumFiles),
                         .offset = combine64(r, i) % (kFileBytes / 4096) * 4096,
                         .bytes = Bytes{4096},
                         .destination = arena_.allocate(Bytes{4096})});
    }
  }
  for (std::size_t r = 0; r < kNumReaders; ++r) readers[r]->submit(&jobs[r], jobs[r], ReadQueue::demand);
  for (std::size_t r = 0; r < kNumReaders; ++r) {
    std::vector<FinishedJob> finished;
    wait_for(*readers[r], finished, 1);
    ASSERT_FALSE(finished[0].failure);
    for (const FileRange& range : jobs[r]) {
      EXPECT_TRUE(file_.equals(range.offset, range.destination, range.bytes.value));
    }
  }
}

TEST_P(Readers, AFileThatEndsWithinABlockIsReadToItsEndAndNotBeyond) {
  std::filesystem::resize_file(file_.path(), kFileBytes - 4096 + 100);
  const auto reader = make();
  const FileRange ranges[] = {
      {.file = 0, .offset = 0, .bytes = Bytes{8192}, .destination = arena_.allocate(Bytes{8192})},
      {.file = 0, .offset = kFileBytes - 8192, .bytes = Bytes{8192}, .destination = arena_.allocate(Bytes{8192})}};
  int tags[2];
  std::vector<FinishedJob> finished;
  for (std::size_t i = 0; i < 2; ++i) {
    reader->submit(&tags[i], {&ranges[i], 1}, ReadQueue::demand);
    wait_for(*reader, finished, i + 1);
  }
  EXPECT_FALSE(finished[0].failure);
  EXPECT_THAT([&] { std::rethrow_exception(finished[1].failure); },
              testing::ThrowsMessage<MachineError>(testing::HasSubstr("ends before")));
}

/// Bytes that this process had storage read, or nullopt where the kernel does not count them.
std::optional<std::uint64_t> bytes_from_storage() {
  std::ifstream file("/proc/self/io");
  for (std::string key; file >> key;) {
    std::uint64_t value = 0;
    if (file >> value && key == "read_bytes:") return value;
  }
  return std::nullopt;
}

TEST(BufferedReader, ReadsFromTheDeviceWhereItDropsThePageCacheHoweverTheCacheHoldsThePages) {
  const RandomFile file;
  const StorageKind kind = storage_kind(file.path());
  if (kind.is_memory || kind.is_remote || !bytes_from_storage()) GTEST_SKIP() << "nothing to count here";
  ASSERT_EQ(::fsync(file.buffered()), 0);  // what is not written yet cannot be dropped
  std::vector<std::byte> memory(4096);
  const FileRange cut{.file = 0, .offset = 40960 + 1000, .bytes = Bytes{2000}, .destination = memory.data()};
  const auto bytes_of_reads = [&](PageCache page_cache) {
    BufferedReader reader(page_cache);
    reader.add_file(file.buffered(), file.path());
    const std::uint64_t before = *bytes_from_storage();
    for (int i = 0; i < 5; ++i) {
      int tag = 0;
      std::vector<FinishedJob> finished;
      reader.submit(&tag, {&cut, 1}, ReadQueue::demand);
      wait_for(reader, finished, 1);
      EXPECT_FALSE(finished[0].failure);
      EXPECT_TRUE(file.equals(cut.offset, memory.data(), cut.bytes.value));
    }
    return *bytes_from_storage() - before;
  };
  EXPECT_GE(bytes_of_reads(PageCache::drop), 5u * 4096);
  EXPECT_EQ(bytes_of_reads(PageCache::keep), 0u);
}

TEST_P(Readers, MayEndWithReadsUnderWay) {
  for (int round = 0; round < 20; ++round) {
    StagingArena own(Bytes{64 * 16384});
    const auto reader = make(64);  // goes first
    std::vector<FileRange> ranges(64);
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

/// Runs `body` in a child, since what it takes from the process cannot be given back. Its result: the message of the
/// MachineError that a reader was refused with, nullopt where the child could not be restricted.
std::optional<std::string> refusal_in_child(bool (*restrict)(), const DirectReaderOptions& options) {
  int ends[2];
  if (::pipe(ends) != 0) return std::nullopt;
  const pid_t child = ::fork();
  if (child == 0) {
    std::string message;
    if (!restrict()) ::_exit(77);
    try {
      const DirectReader reader(options);
    } catch (const MachineError& error) {
      message = error.what();
    }
    ::_exit(::write(ends[1], message.data(), message.size()) == static_cast<ssize_t>(message.size()) ? 0 : 1);
  }
  ::close(ends[1]);
  char text[4096];
  const ssize_t size = ::read(ends[0], text, sizeof text);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) == 77) return std::nullopt;
  return std::string(text, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
}

TEST(DirectReader, TooLittleLockedMemoryNamesTheLimitAndWhatToDo) {
  const StagingArena arena(Bytes{64u << 20});
  // Root may lock what it likes, so the child gives that up.
  const auto message = refusal_in_child(
      [] {
        const rlimit little{4u << 20, 4u << 20};
        return ::setrlimit(RLIMIT_MEMLOCK, &little) == 0 && ::setuid(65534) == 0;
      },
      {.buffers = arena.memory()});
  if (!message) GTEST_SKIP() << "limits cannot be changed here";
  EXPECT_THAT(*message, testing::AllOf(testing::HasSubstr("65536 KiB of staging"), testing::HasSubstr("is 4096 KiB"),
                                       testing::HasSubstr("`ulimit -l 66560`"), testing::HasSubstr("limits.conf"),
                                       testing::HasSubstr("--unregistered-buffers")));
}

TEST(DirectReader, UnregisteredBuffersNeedNoLockedMemory) {
  const StagingArena arena(Bytes{64u << 20});
  const auto message = refusal_in_child(
      [] {
        const rlimit little{4u << 20, 4u << 20};
        return ::setrlimit(RLIMIT_MEMLOCK, &little) == 0 && ::setuid(65534) == 0;
      },
      {.buffers = arena.memory(), .unregistered_buffers = true});
  if (!message) GTEST_SKIP() << "limits cannot be changed here";
  EXPECT_EQ(*message, "");
}

TEST(DirectReader, ABlockedIoUringIsNamedWithTheWayAround) {
  const auto message = refusal_in_child(
      [] {
        sock_filter allow_all_but_io_uring[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const sock_fprog program{std::size(allow_all_but_io_uring), allow_all_but_io_uring};
        return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
               ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
      },
      {});
  if (!message) GTEST_SKIP() << "no seccomp here";
  EXPECT_THAT(*message, testing::AllOf(testing::HasSubstr("io_uring_queue_init"), testing::HasSubstr("seccomp"),
                                       testing::HasSubstr("--buffered")));
}

TEST(DirectReader, MoreFilesThanTheTableHoldsIsAnError) {
  const RandomFile file;
  DirectReader reader({.queue_depth = 1, .max_files = 2});
  for (int i = 0; i < 2; ++i) reader.add_file(file.buffered(), file.path());
  if (reader.describe().find("unregistered files") != std::string::npos) GTEST_SKIP() << "no table of files here";
  EXPECT_THAT([&] { reader.add_file(file.buffered(), file.path()); },
              testing::ThrowsMessage<MachineError>(testing::HasSubstr("more than 2 open files")));
}

TEST(StorageKind, MemoryFileSystemsAreTold) {
  if (!std::filesystem::exists("/dev/shm")) GTEST_SKIP() << "no /dev/shm here";
  EXPECT_EQ(storage_kind("/dev/shm").is_memory, storage_kind("/dev/shm").file_system == "tmpfs");
  EXPECT_FALSE(storage_kind(std::filesystem::current_path()).file_system.empty());
  EXPECT_THROW(storage_kind("/no/such/path"), MachineError);
}

}  // namespace
}  // namespace reprefill::engine
