#include "calibrate/storage/fio.hpp"

#include <charconv>

#include "core/base/files.hpp"

namespace reprefill::calibrate {
namespace {

std::string job_section(const LoadShape& shape, std::uint32_t rings) {
  return fmt::format("[{}-{}-depth{}-rings{}]\nstonewall\nrw={}\nbs={}\niodepth={}\nnumjobs={}\ngroup_reporting\n\n",
                     name_of(shape.pattern), shape.size.value, shape.depth, rings,
                     shape.pattern == Pattern::random ? "randread" : "read", shape.size.value, shape.depth / rings,
                     rings);
}

/// "4k", "128K", "1m", "4096", as fio writes and takes them: powers of 1024.
std::uint64_t size_of(const JsonValue& value) {
  const std::string text = value.as_string();
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit(end, text.data() + text.size());
  const std::uint64_t factor = unit.empty() || unit == "b" || unit == "B"                    ? 1
                               : unit == "k" || unit == "K" || unit == "kb" || unit == "KiB" ? 1 << 10
                               : unit == "m" || unit == "M" || unit == "mb" || unit == "MiB" ? 1 << 20
                                                                                             : 0;
  constexpr std::uint64_t kLargest = 1 << 30;
  if (error != std::errc{} || factor == 0 || number == 0 || number > kLargest / factor) {
    value.fail_expected("a size such as \"4k\", \"1M\" or \"4096\"");
  }
  return number * factor;
}

std::uint32_t count_of(const JsonValue& value) {
  const std::string text = value.as_string();
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < 1 || number > 32768) {
    value.fail_expected("a whole number from 1 to 32768");
  }
  return number;
}

/// An option of the job, else of [global].
class Options {
 public:
  Options(const JsonValue& result, const JsonValue& job) : result_(result), job_(job) {}
  std::optional<JsonValue> find(const char* name) const {
    if (job_.has("job options") && job_.key("job options").has(name)) return job_.key("job options").key(name);
    if (result_.has("global options") && result_.key("global options").has(name)) {
      return result_.key("global options").key(name);
    }
    return std::nullopt;
  }
  JsonValue get(const char* name) const {
    const auto found = find(name);
    if (!found) job_.fail(fmt::format("neither the job's options nor the global ones have {}", name));
    return *found;
  }

 private:
  const JsonValue& result_;
  const JsonValue& job_;
};

Measured measured_of(const JsonValue& result, const JsonValue& job) {
  const Options options(result, job);
  const std::string rw = options.get("rw").as_string();
  if (rw != "randread" && rw != "read") options.get("rw").fail_expected("\"randread\" or \"read\"");
  const auto direct = options.find("direct");
  if (!direct || direct->as_string() != "1") job.fail("the job is not direct=1: it may have measured the page cache");
  const std::uint64_t bytes = size_of(options.get("bs"));
  const std::uint32_t depth = options.find("iodepth") ? count_of(*options.find("iodepth")) : 1;
  const std::uint32_t jobs = options.find("numjobs") ? count_of(*options.find("numjobs")) : 1;
  const JsonValue read = job.key("read").require_object();
  const double iops = read.key("iops").as_number(1e-3, 1e12, "1/s");
  const char* pattern = rw == "read" ? "sequential" : "random";
  Measured cell{.spec = {.id = fmt::format("read/{}/bytes={}/depth={}/rings={}", pattern, bytes, depth * jobs, jobs),
                         .quantity = "read",
                         .shape = {{"pattern", pattern}, {"bytes", bytes}, {"depth", depth * jobs}, {"rings", jobs}},
                         .metrics = {"ns", "latency_p50_ns"}}};
  double latency_ns = 1e9 * depth * jobs / iops;
  if (read.has("clat_ns") && read.key("clat_ns").has("percentile") &&
      read.key("clat_ns").key("percentile").has("50.000000")) {
    latency_ns = read.key("clat_ns").key("percentile").key("50.000000").as_number(1, 1e12, "ns");
  }
  cell.values = {{1e9 / iops}, {latency_ns}};
  return cell;
}

}  // namespace

std::string fio_job(const StorageGrid& grid, const std::filesystem::path& folder, Bytes span) {
  std::string text = fmt::format(
      "; The reads that `reprefill calibrate` measured:  fio --output-format=json --output=fio.json fio.job\n"
      "; reprefill calibrate --fio fio.json takes the result in place of its own storage part.\n"
      "[global]\nioengine=io_uring\ndirect=1\nfilename={}\nsize={}\nrandom_generator=tausworthe64\nnorandommap\n"
      "time_based\nramp_time=500ms\nruntime=2s\nregisterfiles\n{}thread\nunlink=1\n\n",
      (folder / "reprefill-fio-scratch").string(), span.value, grid.unregistered_buffers ? "" : "fixedbufs\n");
  for (const Pattern pattern : grid.patterns) {
    for (const Bytes size : grid.sizes) {
      for (const std::uint32_t depth : grid.depths) text += job_section({size, depth, pattern}, 1);
    }
  }
  const std::uint32_t deepest = grid.depths.back();
  for (const std::uint32_t rings : grid.ring_counts) {
    for (const Bytes size : grid.sizes) text += job_section({size, deepest, Pattern::random}, rings);
  }
  return text;
}

std::vector<Measured> parse_fio_result(const Json& json, const std::string& origin) {
  const JsonValue result(json, origin);
  const JsonValue jobs = result.require_object().key("jobs").require_array();
  std::vector<Measured> cells;
  for (std::size_t i = 0; i < jobs.json().size(); ++i) {
    cells.push_back(measured_of(result, jobs.element(i).require_object()));
    for (std::size_t before = 0; before < i; ++before) {
      if (cells[before].spec.id == cells[i].spec.id) jobs.element(i).fail("another job measured the same reads");
    }
  }
  if (cells.empty()) jobs.fail("no job");
  return cells;
}

std::vector<Measured> read_fio_result(const std::filesystem::path& path) {
  const FileContents contents = read_whole_file(path, 0);
  const std::size_t begin = contents.text().find('{');  // fio writes warnings before its JSON
  if (begin == std::string_view::npos) throw ConfigError(fmt::format("{}: no JSON in it", path.string()));
  return parse_fio_result(parse_json(contents.text().substr(begin), path.string()), path.string());
}

}  // namespace reprefill::calibrate
