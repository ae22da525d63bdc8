// From any request trace to what other programs read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "traces/workload/request_trace.hpp"

namespace reprefill::traces {

/// The same requests in blocks of `block_tokens`, a multiple of the trace's: a larger block's id is that of the last
/// block in it, which stands for everything before it too. A partly filled last block has an id in the result; where
/// the trace has none for it, one of its own, since nothing says what it shares. Throws ConfigError for a size that is
/// no multiple.
RequestTrace with_blocks_of(const RequestTrace& trace, std::uint32_t block_tokens);

/// Arrivals rounded down to milliseconds, which is what Mooncake JSONL can hold.
RequestTrace in_whole_milliseconds(const RequestTrace& trace);

/// A prompt's text as words separated by spaces, one a token: requests with a common leading run of blocks have the
/// same text over it, other blocks other words (drawn by a hash of the id). `words` must each be one token where they
/// stand behind a space; at least two.
std::string prompt_text(const RequestTrace& trace, std::size_t request_idx, std::span<const std::string> words);

/// JSON Lines as `vllm bench serve --dataset-name custom --skip-chat-template` reads them: {"prompt", "output_tokens"}.
/// An output of 0 tokens is written as 1, the least that a server takes. The format has no arrival times. Written in
/// pieces; `on_progress` gets the number of requests done.
void write_vllm_dataset(const RequestTrace& trace, std::span<const std::string> words,
                        const std::filesystem::path& path, const std::function<void(std::size_t)>& on_progress);

}  // namespace reprefill::traces
