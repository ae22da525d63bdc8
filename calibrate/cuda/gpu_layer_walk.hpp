// A request's way through a model's layers in the lanes of a session, timed by the device's events.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "calibrate/cuda/gpu_driver.hpp"
#include "calibrate/meter/clock.hpp"
#include "core/pipeline/attention_walk.hpp"
#include "engine/gpu/gpu_memory.hpp"

namespace reprefill::calibrate {

/// Enough layers that weights come from memory and not from the L2 cache, and that the host has caught up with the
/// device after the first; never more than the model has.
int num_gpu_layers(const ModelGeometry& geometry);

/// Stored tokens that an attention goes through: pages of one length, and which tokens each KV head keeps of them.
struct WalkedView {
  std::uint32_t keys = 0;
  std::uint32_t page_tokens = 16;  // the pages and units of contiguous_kv's chunks
  pipeline::AttentionMask mask = pipeline::AttentionMask::none;
  double kept_share = 1;
};

/// Which scores a choice is made from: chunks' sums (contiguous_kv), tokens of every KV head (as_h2o), or tokens of
/// probe heads that vote (impress).
struct WalkedChoice {
  traces::HeadGrouping grouping = traces::HeadGrouping::all_heads;
  std::uint32_t keys = 0;
};

/// Requests that go through all layers of a checkpoint, one operation behind the other, the host running ahead. Stored
/// K and V of each layer lie in places of their own, in pages in scrambled order, as caches leave them.
class GpuLayerWalk {
 public:
  GpuLayerWalk(GpuDriver& driver, std::uint32_t most_keys);

  /// Means over all layers but the first, during which the host has no lead yet.
  struct Timing {
    double project_ns = 0, score_ns = 0, score_probe_ns = 0, attend_ns = 0;
    double gap_ns = 0;    // from one operation's end to the next one's start
    double total_ns = 0;  // of all layers
  };
  /// Without scores: attention finds keys where most layers of a request do, in memory.
  Timing walk(std::uint32_t queries, const WalkedView& view);
  /// Both kinds of scoring run between project and attend. Keys are multiples of 16, and there are some.
  Timing walk_with_scores(std::uint32_t queries, std::uint32_t keys);
  double first_token_ns();
  /// What it costs that the host decides between a score and the next attend: from the score's end to the attend's,
  /// less an attend that runs behind others. Completion, a thread for the selection, submission; and while the host has
  /// no lead, the attend waits for its launches.
  double turnaround_ns();
  /// A choice on the host's thread, which slept meanwhile, from scores that a kernel wrote and another thread has just
  /// fetched; with that fetching. The mean of all layers but the first.
  double select_ns(const WalkedChoice& choice);
  static std::uint64_t num_scores(const ModelGeometry& geometry, const WalkedChoice& choice);
  /// What a request takes beside its operations: three host tasks and their threads, the sequence's memory, the first
  /// projection without a lead of the host, and the completion of the last operation.
  double request_overhead_ns();
  /// Prefill until the clocks are those of requests one after the other: its linear layers draw so much power that
  /// clocks fall. Nothing where that has just been going on.
  void heat_up();

  const ModelGeometry& geometry() const;
  std::uint32_t most_keys() const { return most_keys_; }
  GpuDriver& driver() { return driver_; }

 private:
  struct StoredLayer {
    engine::GpuArray<std::byte> keys, values;
    std::map<std::uint32_t, std::vector<KvPage>> pages;  // by their tokens
  };
  /// A view's masks and pages, which outlive a walk.
  struct Laid {
    WalkedView view;
    std::vector<std::uint8_t> mask;
    std::vector<std::span<const KvPage>> pages;  // by layer
    KvView of(int layer_idx) const;
  };
  std::unique_ptr<engine::Sequence> begin(std::uint32_t queries, std::uint32_t keys, std::uint64_t salt = 0);
  void fill(StoredLayer& layer, const std::vector<std::byte>& random);
  std::span<const KvPage> pages_of(int layer_idx, std::uint32_t page_tokens);
  Laid lay_out(const WalkedView& view);
  engine::ScoreShape shape_of(traces::HeadGrouping grouping) const;
  Step project(engine::Sequence& sequence, int layer_idx);
  Step score(engine::Sequence& sequence, int layer_idx, const WalkedChoice& choice);
  Step attend(engine::Sequence& sequence, int layer_idx, const Laid& laid);
  Timing walk(std::uint32_t queries, const WalkedView& view, bool scores);

  GpuDriver& driver_;
  std::uint32_t most_keys_;
  std::vector<int> probe_heads_;
  std::vector<StoredLayer> layers_;
  std::uint64_t num_choices_ = 0;
  std::shared_ptr<std::byte> scores_;  // pinned
  SteadyClock clock_;
  std::optional<Nanoseconds> hot_at_;
};

}  // namespace reprefill::calibrate
