// Random direct reads of one file: DirectReader as RealMachine drives it, against fio with io_uring.
//
//   benchmark_io --folder DIR [--file-gib 4] [--seconds 1] [--pairs 5] [--sizes 4096,...] [--depths 1,...]
//                [--fio-argument ARG]... [--unregistered-buffers]
//
// Same file, size and depth; the two alternate, since devices drift, and each cell's ratio is the median over pairs
// (design 10 wants 0.95). Each begins with a tenth of its time unmeasured. fio runs with registered files and buffers,
// as DirectReader does. The file is written once, with bytes that do not compress, and removed at the end.
#include <fcntl.h>
#include <poll.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "engine/io/direct_reader.hpp"
#include "engine/io/staging_arena.hpp"
#include "engine/io/storage_kind.hpp"

namespace reprefill::engine {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string folder;
  double file_gib = 4, seconds = 1;
  int pairs = 5;
  std::vector<std::uint64_t> sizes = {4096, 16384, 65536, 524288};
  std::vector<std::uint32_t> depths = {1, 8, 32, 128};
  std::vector<std::string> fio_arguments;
  bool unregistered_buffers = false;
};

/// A file of random bytes, really written: reads of holes never reach the device.
class TestFile {
 public:
  TestFile(const std::string& folder, std::uint64_t bytes)
      : path_(folder + "/benchmark_io." + std::to_string(::getpid())), bytes_(bytes) {
    const int descriptor = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0) throw MachineError(fmt::format("open({}): {}", path_, std::strerror(errno)));
    std::vector<std::uint64_t> words((1u << 20) / 8);
    int error = 0;
    for (std::uint64_t at = 0; at < bytes && error == 0; at += words.size() * 8) {
      for (std::size_t i = 0; i < words.size(); ++i) words[i] = mix64(at + i);
      if (::write(descriptor, words.data(), words.size() * 8) != static_cast<ssize_t>(words.size() * 8)) error = errno;
    }
    if (error == 0 && ::fsync(descriptor) != 0) error = errno;
    ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    ::close(descriptor);
    if (error == 0) return;
    ::unlink(path_.c_str());
    throw MachineError(fmt::format("write({}): {}", path_, std::strerror(error)));
  }
  ~TestFile() { ::unlink(path_.c_str()); }
  TestFile(const TestFile&) = delete;
  TestFile& operator=(const TestFile&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::string path_;
  std::uint64_t bytes_;
};

/// Keeps `depth` jobs of one read each under way, woken by the eventfd, as RealMachine's loop is: bytes per second.
double run_reader(const TestFile& file, std::uint64_t size, std::uint32_t depth, std::uint64_t seed,
                  const Options& options) {
  const int descriptor = ::open(file.path().c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (descriptor < 0) throw MachineError(fmt::format("open({}, O_DIRECT): {}", file.path(), std::strerror(errno)));
  StagingArena arena(Bytes{size * depth});
  double bytes_per_s = 0;
  {
    DirectReader reader(
        {.queue_depth = depth, .buffers = arena.memory(), .unregistered_buffers = options.unregistered_buffers});
    const int number = reader.add_file(descriptor, file.path());
    RandomStream random(seed, 0, "offsets");
    std::vector<FileRange> ranges(depth);
    const auto submit = [&](FileRange& range) {
      range.offset = random.below(file.bytes() / size) * size;
      reader.submit(&range, {&range, 1}, ReadQueue::demand);
    };
    for (FileRange& range : ranges) {
      range = {.file = number, .bytes = Bytes{size}, .destination = arena.allocate(Bytes{size})};
      submit(range);
    }
    const auto began = Clock::now();
    const auto length = std::chrono::duration<double>(options.seconds);
    std::uint64_t bytes = 0, bytes_at_start = 0;
    auto start = began, now = began;
    std::vector<FinishedJob> finished;
    while (now - began < length * 1.1) {
      pollfd event{.fd = reader.event_fd(), .events = POLLIN, .revents = 0};
      ::poll(&event, 1, -1);
      finished.clear();
      reader.harvest(finished);
      for (FinishedJob& job : finished) {
        if (job.failure) std::rethrow_exception(job.failure);
        bytes += size;
        submit(*static_cast<FileRange*>(job.tag));
      }
      now = Clock::now();
      if (start == began && now - began >= length * 0.1) {
        start = now;
        bytes_at_start = bytes;
      }
    }
    bytes_per_s = static_cast<double>(bytes - bytes_at_start) / std::chrono::duration<double>(now - start).count();
  }
  ::close(descriptor);
  return bytes_per_s;
}

struct CommandResult {
  std::string output;
  int status = 0;
};

/// Standard output of a command. Arguments are handed over as they are, without a shell.
CommandResult run_command(std::vector<std::string> arguments) {
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  int ends[2];
  if (::pipe(ends) != 0) throw MachineError(fmt::format("pipe: {}", std::strerror(errno)));
  const pid_t child = ::fork();
  if (child < 0) throw MachineError(fmt::format("fork: {}", std::strerror(errno)));
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    ::execvp(pointers[0], pointers.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  CommandResult result;
  std::array<char, 4096> buffer;
  for (ssize_t got = 0; (got = ::read(ends[0], buffer.data(), buffer.size())) > 0;) {
    result.output.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  ::waitpid(child, &result.status, 0);
  return result;
}

double run_fio(const TestFile& file, std::uint64_t size, std::uint32_t depth, std::uint64_t seed,
               const Options& options) {
  std::vector<std::string> arguments = {"fio",
                                        "--name=benchmark_io",
                                        "--filename=" + file.path(),
                                        "--ioengine=io_uring",
                                        "--direct=1",
                                        "--rw=randread",
                                        "--norandommap",
                                        "--random_generator=tausworthe64",
                                        "--time_based",
                                        "--thread",
                                        "--registerfiles",
                                        "--output-format=json",
                                        fmt::format("--randseed={}", seed),
                                        fmt::format("--bs={}", size),
                                        fmt::format("--iodepth={}", depth),
                                        fmt::format("--size={}", file.bytes()),
                                        fmt::format("--ramp_time={}ms", static_cast<int>(options.seconds * 100)),
                                        fmt::format("--runtime={}ms", static_cast<int>(options.seconds * 1000))};
  if (!options.unregistered_buffers) arguments.push_back("--fixedbufs");
  arguments.insert(arguments.end(), options.fio_arguments.begin(), options.fio_arguments.end());
  const CommandResult result = run_command(arguments);
  const std::size_t begin = result.output.find('{');  // warnings may come first
  if (result.status != 0 || begin == std::string::npos) {
    throw MachineError(fmt::format("fio: status {}: {}", result.status, result.output));
  }
  return nlohmann::json::parse(result.output.substr(begin)).at("jobs").at(0).at("read").at("bw_bytes").get<double>();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

void print_machine(const Options& options, const std::string& fio_version) {
  utsname system{};
  ::uname(&system);
  const StagingArena arena(Bytes{4096});
  const DirectReader reader({.buffers = arena.memory(), .unregistered_buffers = options.unregistered_buffers});
  fmt::print("{} {}, {} processors, {} on {}, file of {} GiB\n", system.sysname, system.release,
             std::thread::hardware_concurrency(), options.folder, storage_kind(options.folder).file_system,
             options.file_gib);
  fmt::print("DirectReader: {}; {}; {} pairs of {} s\n\n", reader.describe(), fio_version, options.pairs,
             options.seconds);
  fmt::print("{:>8} {:>6} {:>14} {:>14} {:>8} {:>17}\n", "bytes", "depth", "reader MB/s", "fio MB/s", "ratio",
             "least - most");
}

/// Whether the cell's median ratio is what design 10 wants.
bool run_cell(const TestFile& file, std::uint64_t size, std::uint32_t depth, const Options& options) {
  std::vector<double> readers, fios, ratios;
  for (int pair = 0; pair < options.pairs; ++pair) {
    const auto seed = static_cast<std::uint64_t>(pair + 1);
    const bool fio_first = pair % 2 == 1;  // neither always finds the device as the other left it
    if (fio_first) fios.push_back(run_fio(file, size, depth, seed, options));
    readers.push_back(run_reader(file, size, depth, seed, options));
    if (!fio_first) fios.push_back(run_fio(file, size, depth, seed, options));
    ratios.push_back(readers.back() / fios.back());
  }
  const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
  fmt::print("{:>8} {:>6} {:>14.1f} {:>14.1f} {:>8.3f} {:>8.3f} -{:>7.3f}\n", size, depth, median(readers) / 1e6,
             median(fios) / 1e6, median(ratios), *least, *most);
  std::fflush(stdout);
  return median(ratios) >= 0.95;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Random direct reads of one file: DirectReader against fio");
  app.add_option("--folder", options.folder, "Where the file is made: on the device to be measured")->required();
  app.add_option("--file-gib", options.file_gib, "Size of the file")->check(CLI::Range(0.01, 4096.0));
  app.add_option("--seconds", options.seconds, "Length of a measurement")->check(CLI::Range(0.1, 3600.0));
  app.add_option("--pairs", options.pairs, "Measurements of each kind per cell")->check(CLI::Range(1, 1000));
  app.add_option("--sizes", options.sizes, "Bytes of a read")->delimiter(',')->check(CLI::Range(4096, 1 << 30));
  app.add_option("--depths", options.depths, "Reads under way")->delimiter(',')->check(CLI::Range(1, 32768));
  app.add_option("--fio-argument", options.fio_arguments, "Handed to fio, after the others");
  app.add_flag("--unregistered-buffers", options.unregistered_buffers, "Neither of the two registers its buffers");
  CLI11_PARSE(app, argc, argv);

  const CommandResult version = run_command({"fio", "--version"});
  if (version.status != 0) {
    std::fputs("fio is not installed\n", stderr);
    return static_cast<int>(ExitCode::skipped);
  }
  try {
    constexpr double kMiBPerGiB = 1024;
    const TestFile file(options.folder, static_cast<std::uint64_t>(options.file_gib * kMiBPerGiB) << 20);
    print_machine(options, version.output.substr(0, version.output.find('\n')));
    std::size_t num_cells = 0, num_good = 0;
    for (const std::uint64_t size : options.sizes) {
      for (const std::uint32_t depth : options.depths) {
        num_good += run_cell(file, size, depth, options) ? 1 : 0;
        ++num_cells;
      }
    }
    fmt::print("\n{} of {} cells reach 0.95\n", num_good, num_cells);
  } catch (const MachineError& error) {
    fmt::print(stderr, "benchmark_io: {}\n", error.what());
    return static_cast<int>(ExitCode::machine);
  }
  return 0;
}

}  // namespace
}  // namespace reprefill::engine

int main(int argc, char** argv) { return reprefill::engine::run(argc, argv); }
