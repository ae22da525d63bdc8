// Computes the KV of prefixes and stores it: what `store build` and `store append` do.
#pragma once

#include <functional>

#include "engine/executor/executor.hpp"
#include "engine/session/stored_kv.hpp"
#include "engine/store/store_writer.hpp"

namespace reprefill::engine {

struct BuiltPrefix {
  std::uint32_t stored_tokens = 0;   // of the whole prefix
  std::uint32_t new_tokens = 0;      // computed and written now; 0: all was there
  std::uint32_t dropped_tokens = 0;  // behind the last whole store block
};

/// Stores the whole blocks of a prefix that are not there yet, as one segment below the longest path that is. KV of
/// what is there is read, not computed: exact, since it was computed over its full prefix too. `on_layer` is told how
/// many layers are done.
BuiltPrefix build_prefix(Executor& executor, StoreWriter& writer, std::span<const std::int32_t> token_ids,
                         const std::function<void(int)>& on_layer = nullptr);

}  // namespace reprefill::engine
