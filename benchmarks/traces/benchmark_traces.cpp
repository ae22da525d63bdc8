// Reads, measures and prepares request traces. The read is of a file in the page cache, on one core; bytes/s are of
// JSONL.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include <fmt/ranges.h>
#include <unistd.h>

#include "core/base/random.hpp"
#include "traces/workload/conversation_generator.hpp"
#include "traces/workload/mooncake.hpp"
#include "traces/workload/replay.hpp"
#include "traces/workload/statistics.hpp"
#include "traces/workload/trace_convert.hpp"
#include "traces/workload/trace_format.hpp"

namespace reprefill::traces {
namespace {

/// About 100 MB of JSONL.
constexpr std::uint64_t kNumRequests = 370'000;

enum class IdKind : std::int64_t { consecutive, hashes };

/// Built once for each kind of id, when first asked for; the file goes with the program.
class BenchmarkTrace {
 public:
  explicit BenchmarkTrace(IdKind kind)
      : trace(kind == IdKind::consecutive ? generate() : with_hashes(generate())),
        path(std::filesystem::temp_directory_path() / ("reprefill_benchmark_" + std::to_string(::getpid()) + "_" +
                                                       std::to_string(static_cast<int>(kind)) + ".jsonl")) {
    write_mooncake_jsonl(trace, path);
  }
  BenchmarkTrace(const BenchmarkTrace&) = delete;
  BenchmarkTrace& operator=(const BenchmarkTrace&) = delete;
  ~BenchmarkTrace() { std::filesystem::remove(path); }

  RequestTrace trace;
  std::filesystem::path path;

 private:
  static RequestTrace generate() {
    ConversationWorkload workload;
    workload.num_requests = kNumRequests;
    return generate_conversations(workload);
  }

  /// The same trace with 64-bit hashes as ids, as tools write that hash token ids themselves.
  static RequestTrace with_hashes(const RequestTrace& consecutive) {
    RequestTrace hashed(consecutive.block_tokens());
    std::vector<std::uint64_t> ids;
    for (TraceRequest request : consecutive.requests()) {
      ids.clear();
      for (const std::uint64_t id : request.block_ids) ids.push_back(mix64(id));
      request.block_ids = ids;
      hashed.append(request);
    }
    return hashed;
  }
};

BenchmarkTrace& trace_with(IdKind kind) {
  static std::unique_ptr<BenchmarkTrace> traces[2];
  std::unique_ptr<BenchmarkTrace>& trace = traces[static_cast<std::size_t>(kind)];
  if (!trace) trace = std::make_unique<BenchmarkTrace>(kind);
  return *trace;
}

void read_mooncake(benchmark::State& state) {
  const std::filesystem::path path = trace_with(static_cast<IdKind>(state.range(0))).path;
  for (auto _ : state) benchmark::DoNotOptimize(read_mooncake_jsonl(path));
  const auto file_bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
  state.SetBytesProcessed(state.iterations() * file_bytes);
  state.SetLabel(std::to_string(file_bytes / 1'000'000) + " MB file");
}
BENCHMARK(read_mooncake)->ArgName("hashes")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

/// The same requests as Bailian JSONL, whose ids must be made prefix keys.
void read_bailian(benchmark::State& state) {
  const RequestTrace trace = with_blocks_of(trace_with(IdKind::consecutive).trace, kMooncakeBlockTokens);
  std::string text;
  for (const TraceRequest& request : trace.requests()) {
    text += fmt::format("{{\"timestamp\": {}, \"input_length\": {}, \"output_length\": {}, \"hash_ids\": [{}]}}\n",
                        to_seconds(request.arrival), request.block_ids.size() * 16, request.output_tokens,
                        fmt::join(request.block_ids, ", "));
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        parse_trace(text, "benchmark", {.format = TraceFormat::bailian, .block_tokens = {}, .agentic = {}}));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}
BENCHMARK(read_bailian)->Unit(benchmark::kMillisecond);

void write_mooncake(benchmark::State& state) {
  const BenchmarkTrace& input = trace_with(IdKind::consecutive);
  std::int64_t num_bytes = 0;
  for (auto _ : state) num_bytes += static_cast<std::int64_t>(to_mooncake_jsonl(input.trace).size());
  state.SetBytesProcessed(num_bytes);
}
BENCHMARK(write_mooncake)->Unit(benchmark::kMillisecond);

void statistics(benchmark::State& state) {
  const BenchmarkTrace& input = trace_with(IdKind::consecutive);
  for (auto _ : state) benchmark::DoNotOptimize(compute_statistics(input.trace));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(input.trace.size()));
}
BENCHMARK(statistics)->Unit(benchmark::kMillisecond);

void replay(benchmark::State& state) {
  const BenchmarkTrace& input = trace_with(IdKind::consecutive);
  for (auto _ : state) benchmark::DoNotOptimize(prepare_replay(input.trace, {.context_limit_tokens = 32'768}));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(input.trace.size()));
}
BENCHMARK(replay)->Unit(benchmark::kMillisecond);

void generate(benchmark::State& state) {
  ConversationWorkload workload;
  for (auto _ : state) benchmark::DoNotOptimize(generate_conversations(workload));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(workload.num_requests));
}
BENCHMARK(generate)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace reprefill::traces

BENCHMARK_MAIN();
