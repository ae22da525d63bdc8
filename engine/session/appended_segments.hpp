// What a session's requests append to its store (semantics 1, "Append"): beside the store's own segments, in one
// layout, for as long as the session lives.
#pragma once

#include <optional>
#include <shared_mutex>

#include "core/pipeline/append.hpp"
#include "engine/real_machine/real_machine.hpp"
#include "engine/store/store.hpp"

namespace reprefill::engine {

/// STORE/.appended: hidden, so that readers of the store ignore it and the next writer removes it where a killed
/// session could not.
std::filesystem::path appended_path(const std::filesystem::path& store);

class AppendedSegments {
 public:
  /// Takes the store's lock, and removes what a killed session left. Throws ConfigError while another process, or
  /// another session, writes to the store.
  AppendedSegments(const Store& store, std::size_t layout_idx, WriteOptions options = {});
  /// Removes what was appended: stored KV may be approximate, and the store is the user's. Nothing may be written any
  /// more.
  ~AppendedSegments();
  AppendedSegments(const AppendedSegments&) = delete;
  AppendedSegments& operator=(const AppendedSegments&) = delete;

  /// The store's segments and the appended ones, those included that are not visible yet; of layouts, the one that is
  /// appended to. On the thread that adds.
  const Store& index() const { return index_; }
  /// The longest stored path that is visible: a segment is once the last of its writes is issued. Thread-safe.
  std::vector<SegmentSpan> match(std::span<const std::int32_t> token_ids) const;
  bool is_visible(SegmentId segment) const {
    return segment.value >= is_pending_.size() || !is_pending_[segment.value];
  }

  /// Of a stored prefix: tokens whose KV was computed over a pruned one, or over such tokens.
  std::uint64_t approximate_tokens(std::span<const SegmentSpan> prefix) const;

  struct Rule {
    pipeline::AppendKv append_kv = pipeline::AppendKv::as_computed;
    bool system_prunes = false;
  };
  /// Takes up the whole blocks of `ids`, which begin with the request's prompt, that are neither stored nor about to
  /// be: they are in the index from now on, visible from `last_write_issued` on, and in a file once `store_layer` has
  /// got the last layer. Sets the request's append plan. Nullopt where nothing is left.
  std::optional<NewKv> add(std::span<const std::int32_t> ids, pipeline::Request& request, const Rule& rule);

 private:
  std::filesystem::path folder_;
  WriteOptions options_;
  std::optional<StoreLock> lock_;
  mutable std::shared_mutex mutex_;  // of the next two: requests in flight look up while others begin
  Store index_;
  std::vector<bool> is_pending_;      // by segment
  std::vector<bool> is_approximate_;  // by segment
};

}  // namespace reprefill::engine
