#include "traces/workload/trace_convert.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/base/random.hpp"

namespace reprefill::traces {
namespace {

constexpr std::int64_t kNanosecondsPerMillisecond = 1'000'000;

/// One more than the largest id: from there on ids are free.
std::uint64_t first_free_id(const RequestTrace& trace) {
  std::uint64_t largest = 0;
  for (const TraceRequest& request : trace.requests()) {
    for (const std::uint64_t id : request.block_ids) largest = std::max(largest, id);
  }
  if (largest == ~std::uint64_t{0}) {
    throw ConfigError(fmt::format("found block id {}; expected at least one id above the largest to be free", largest));
  }
  return largest + 1;
}

}  // namespace

RequestTrace with_blocks_of(const RequestTrace& trace, std::uint32_t block_tokens) {
  if (block_tokens == 0 || block_tokens % trace.block_tokens() != 0) {
    throw ConfigError(fmt::format("block_tokens: found {}; expected a multiple of the trace's blocks of {} tokens",
                                  block_tokens, trace.block_tokens()));
  }
  const std::uint32_t ratio = block_tokens / trace.block_tokens();
  const bool has_last = trace.last_block() == LastBlock::has_id;
  std::uint64_t next_id = has_last ? 0 : first_free_id(trace);
  RequestTrace result(block_tokens);
  std::vector<std::uint64_t> ids;
  for (TraceRequest request : trace.requests()) {
    ids.clear();
    for (std::size_t last = ratio - 1; last < request.block_ids.size(); last += ratio) {
      ids.push_back(request.block_ids[last]);
    }
    if (ids.size() < result.num_blocks(request.input_tokens)) {
      if (!has_last && next_id == 0) throw ConfigError("found no block id that is free for a partly filled block");
      ids.push_back(has_last ? request.block_ids.back() : next_id++);
    }
    request.block_ids = ids;
    result.append(request);
  }
  return result;
}

RequestTrace in_whole_milliseconds(const RequestTrace& trace) {
  RequestTrace result(trace.block_tokens(), trace.last_block());
  for (TraceRequest request : trace.requests()) {
    request.arrival.value -= request.arrival.value % kNanosecondsPerMillisecond;
    result.append(request);
  }
  return result;
}

std::string prompt_text(const RequestTrace& trace, std::size_t request_idx, std::span<const std::string> words) {
  REPREFILL_CHECK(words.size() >= 2, "{} words tell no blocks apart", words.size());
  const TraceRequest request = trace[request_idx];
  std::string text;
  for (std::uint32_t token = 0; token < request.input_tokens; ++token) {
    const std::uint32_t block_idx = token / trace.block_tokens();
    // A last block without an id is the request's own.
    const std::uint64_t key = block_idx < request.block_ids.size() ? mix64(request.block_ids[block_idx])
                                                                   : combine64(hash_name("own block"), request_idx);
    text += ' ';
    text += words[combine64(key, token % trace.block_tokens()) % words.size()];
  }
  return text;
}

void write_vllm_dataset(const RequestTrace& trace, std::span<const std::string> words,
                        const std::filesystem::path& path, const std::function<void(std::size_t)>& on_progress) {
  AtomicFileWriter writer(path);
  for (std::size_t i = 0; i < trace.size(); ++i) {
    // Words are letters, so nothing needs escaping.
    writer.append(fmt::format("{{\"prompt\": \"{}\", \"output_tokens\": {}}}\n", prompt_text(trace, i, words),
                              std::max(1u, trace[i].output_tokens)));
    on_progress(i + 1);
  }
  writer.commit();
}

}  // namespace reprefill::traces
