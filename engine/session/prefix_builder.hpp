// Computes the KV of prefixes and stores it: what `store build` and `store append` do.
#pragma once

#include <functional>

#include "engine/executor/cpu/cpu_executor.hpp"
#include "engine/session/stored_kv.hpp"

namespace reprefill::engine {

struct BuiltPrefix {
  SegmentId segment;               // the prefix's last
  std::uint32_t stored_tokens = 0;  // of the whole prefix
  std::uint32_t new_tokens = 0;     // computed and written now; 0: all was there
};

class PrefixBuilder {
 public:
  /// The caller holds the store's lock.
  PrefixBuilder(CpuExecutor& executor, Store& store, WriteOptions options)
      : executor_(executor), store_(store), options_(std::move(options)), kv_(store) {}

  /// Stores the whole blocks of a prefix that are not there yet, as one segment below the longest path that is. KV of
  /// what is there is read, not computed: exact, since it was computed over its full prefix too.
  /// `on_layer` is told how many layers are done.
  BuiltPrefix build(std::span<const std::int32_t> token_ids, const std::function<void(int)>& on_layer = nullptr);

 private:
  CpuExecutor& executor_;
  Store& store_;
  WriteOptions options_;
  StoredKv kv_;
};

}  // namespace reprefill::engine
