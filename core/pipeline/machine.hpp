// What a Re-Prefill pipeline may ask of the hardware (design 4). Each system is written once against this interface;
// SimulatedMachine, ScrambledMachine (tests) and the engine's RealMachine implement it.
#pragma once

#include <memory>
#include <vector>

#include "core/model/key_digest.hpp"
#include "core/model/piece.hpp"
#include "core/pipeline/op.hpp"
#include "core/pipeline/selection.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::pipeline {

struct Request;

/// Pieces of one operation. `bytes` is their logical size: what attention or scoring can consume of them.
struct PieceList {
  std::vector<PieceKey> keys;
  Bytes bytes;

  void add(PieceKey key, Bytes size) {
    keys.push_back(key);
    bytes += size;
  }
  bool empty() const { return keys.empty(); }
};

enum class ReadPriority : std::uint8_t { demand, prefetch };

/// Where bytes go. SSD reads land in host staging; gathers are the demand transport, copies the prefetch one.
enum class CopyRoute : std::uint8_t {
  staging_to_gpu_demand,
  staging_to_gpu_prefetch,
  staging_to_host_tier,
  host_tier_to_gpu,
  gpu_to_host_tier,  // demotion
  gpu_to_staging     // new KV on its way to the SSD
};

/// The request's own tokens [first, first + count): 0 is the first token that is computed, not loaded.
struct TokenRange {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

/// What the own tokens attend to in the stored prefix of one layer, besides themselves.
struct KvView {
  std::uint32_t prefix_tokens = 0;                  // stored tokens; suffix positions continue after them
  std::uint32_t kept_k_tokens = 0;                  // tokens whose logit counts
  std::uint32_t kept_v_tokens = 0;                  // tokens whose value is added
  bool full_length = false;                         // compute is charged over the zero-filled prefix (semantics 2)
  std::shared_ptr<const Selection> kept = nullptr;  // null: the whole prefix
  std::uint32_t unit_tokens = 1;                    // tokens per index of `kept`
  traces::HeadGrouping grouping = traces::HeadGrouping::all_heads;
  bool rest_is_computed = false;  // what is not kept is among the request's own tokens: nothing is lost
};

enum class ScorerKind : std::uint8_t { keys, probe, recorded };

struct ScoreSpec {
  ScorerKind kind = ScorerKind::keys;
  traces::HeadGrouping grouping = traces::HeadGrouping::all_heads;
  std::uint32_t unit_tokens = 16;
  KeyDigest digest = KeyDigest::none;  // read instead of keys; of chunks of `unit_tokens`
  bool runs_on_host = false;           // for want of a kernel: queries and digest are brought to the host's memory
  bool repeats_projection = false;     // the prototype computes the queries again for scoring (semantics 2)
  bool only_for_selection = false;     // nobody but `select` reads the scores: a machine need not hand them out
};

enum class HostTaskKind : std::uint8_t { framework, tokenise, look_up, cache_update, wait };

/// Named host work; `count` scales its cost: tokens, blocks looked up, entries updated, nanoseconds waited.
struct HostTask {
  HostTaskKind kind = HostTaskKind::framework;
  std::uint64_t count = 1;
};

/// Results are owned by the operation and may be read once it is done.
class ScoreResult : public OpState {
 public:
  using OpState::OpState;
  Scores scores;
};
class SelectResult : public OpState {
 public:
  using OpState::OpState;
  std::shared_ptr<const Selection> selection;
};
/// What a read asks of the device is known when it is issued: the planner's rule is the same on every machine.
class ReadResult : public OpState {
 public:
  using OpState::OpState;
  Bytes requested;  // after alignment, merging and splitting
  std::uint64_t num_requests = 0;
  // Of these: what `detach` dropped before it was submitted, known when it returns.
  Bytes dropped;
  std::uint64_t num_dropped = 0;
};
using ReadOp = boost::intrusive_ptr<ReadResult>;
using ScoreOp = boost::intrusive_ptr<ScoreResult>;
using SelectOp = boost::intrusive_ptr<SelectResult>;

/// Calls return at once; an operation starts when its dependencies are done and its resource is free. No decision of a
/// pipeline may depend on time, completion order or momentary occupancy.
class Machine {
 public:
  virtual ~Machine() = default;

  virtual ReadOp read(OpContext, PieceList, ReadPriority, const Deps&) = 0;
  /// New KV of a whole segment-layer to the SSD, auxiliary slabs included.
  virtual Op write(OpContext, SegmentId, Bytes, const Deps&) = 0;
  virtual Op copy(OpContext, PieceList, CopyRoute, const Deps&) = 0;
  virtual Op project(OpContext, TokenRange, const Deps&) = 0;
  virtual ScoreOp score(OpContext, const Request&, const ScoreSpec&, const Deps&) = 0;
  virtual SelectOp select(OpContext, const ScoreOp&, const SelectionRule&) = 0;
  virtual Op attend(OpContext, const Request&, TokenRange, const KvView&, const Deps&) = 0;
  virtual Op host(OpContext, HostTask, const Deps&) = 0;
  /// Final norm, logits of the last own token, argmax, and the id's way to the host: TTFT ends when it is done.
  virtual Op first_token(OpContext, const Deps&) = 0;

  /// The request computes more of its prompt itself than it said when it began; before its first `project`.
  virtual void own_tokens_changed(const Request&) {}

  /// From now on this request's `project` and `attend` are of its whole prompt, from its first token on, and what is
  /// copied out is KV of that.
  virtual void recompute_begins(const Request&) {}

  /// Cancel means detach: what is queued is dropped if `drop_unsubmitted`; what is submitted runs to completion,
  /// occupies its device, counts as read, and frees its buffer at completion. A read says in its result what was
  /// dropped of it; a copy that has not begun copies nothing.
  virtual void detach(const Op&, bool drop_unsubmitted) = 0;
};

}  // namespace reprefill::pipeline
