// The machine in wall time: io_uring (or buffered) reads from a prefix store, copies between tiers, and an executor.
// With the CPU executor the "GPU" tier is a pool in host memory.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <span>

#include "core/layout/read_planner.hpp"
#include "core/pipeline/machine_core.hpp"
#include "core/pipeline/system.hpp"
#include "core/record/queue_occupancy.hpp"
#include "engine/executor/executor.hpp"
#include "engine/real_machine/gpu_lanes.hpp"
#include "engine/real_machine/layer_view.hpp"
#include "engine/real_machine/read_source.hpp"
#include "engine/real_machine/work_lane.hpp"
#include "traces/importance/recorded_importance.hpp"

namespace reprefill::engine {

/// Told of every span as its operation ends, and of every selection with the scores that led to it.
class RealMachineObserver {
 public:
  virtual ~RealMachineObserver() = default;
  virtual void on_span(const record::Span& span) = 0;
  virtual void on_selection(const pipeline::Request& request, int layer_idx, const pipeline::ScoreSpec& spec,
                            const pipeline::Scores& scores, const pipeline::Selection& selection) = 0;
  /// Once per layer, when attention is issued.
  virtual void on_attend(const pipeline::Request& request, int layer_idx, const pipeline::KvView& view) = 0;
};

struct RealMachineOptions {
  const RunClock* clock = nullptr;
  Executor* executor = nullptr;
  pipeline::System* system = nullptr;
  const pipeline::SystemEnvironment* environment = nullptr;
  ReadSource* reads = nullptr;    // null: the system stores nothing
  Bytes stored;                   // payload of the store: tiers need never hold more
  ResidentKv resident = nullptr;  // for `resident`
  const traces::ImportanceSource* selections =
      nullptr;  // replayed: kernels run and are timed, their result is not used
};

/// Stands for operations that belong to no request.
inline constexpr std::uint32_t kNoRequest = 0xffffffff;

/// What a request brings besides its counts.
struct RequestInput {
  std::vector<std::int32_t> own_ids;
  std::vector<std::int32_t> prefix_ids = {};  // stored: for a system that may compute some of them after all
  std::function<void()> tokenise = nullptr;   // the work that the span measures; the ids are known already
  std::function<void()> look_up = nullptr;
  bool keep_views = false;  // for tokens after the first
};

/// What a request stores of its KV.
struct NewKv {
  std::uint32_t first_position = 0;  // of the first token that is stored: its place in the prompt
  std::uint32_t num_tokens = 0;
  std::vector<std::int32_t> ids = {};  // of everything up to its end, for `recompute_begins`
  /// Layers in order, on one thread; K and V as [num_tokens][KV heads][head_dim] of the store's type. After the last
  /// layer a read may ask for the segment.
  std::function<void(int layer_idx, std::span<const std::byte> keys, std::span<const std::byte> values)> store_layer;
  /// On the driver's thread, when the last layer's write is issued: from now on reads of the segment may be, and wait
  /// for that.
  std::function<void()> last_write_issued;
};

/// A base of the machine, so that it outlives the operations, which another base lets go: they hold blocks.
struct TierPools {
  explicit TierPools(Gpu* gpu);
  SlabPool device;
  SlabPool host;
};

/// What is held when nothing is under way: the tiers' bytes, and nothing else.
struct HeldMemory {
  Bytes device;  // GPU tier, prefetch buffer and workspace
  Bytes host;
  Bytes staging;
  std::size_t num_departing = 0;    // parts between two tiers
  std::size_t num_open_layers = 0;  // with a workspace
};

/// What the driver thread has done since the latest request began: what its time is divided by when the engine is
/// calibrated.
struct DriverWork {
  Nanoseconds waited{0};         // asleep until something was done
  std::uint64_t operations = 0;  // issued
  std::uint64_t pieces = 0;      // in what was read, copied and attended to
};

class RealMachine final : private TierPools, public pipeline::MachineCore {
 public:
  RealMachine(const RealMachineOptions& options, RealMachineObserver& observer);
  ~RealMachine() override;

  /// Ends what is under way, finished or not; only destruction may follow. Requests and the system, which running work
  /// looks at, must live until then.
  void stop();

  /// Must be told of every decision of the system's caches: it keeps the bytes where they say.
  cache::DecisionObserver& cache_observer() { return *placement_; }

  /// Before the request's coroutine starts.
  void begin_request(const pipeline::Request& request, RequestInput input);
  /// Once the coroutine is done, and after each decoded token: the logits of the last token, [vocab]; fetched when
  /// asked for.
  std::span<const float> logits(std::uint32_t request);
  std::int32_t first_token_id(std::uint32_t request);
  /// What `write` stores for the request, which has its append plan; before any of it is copied out. Copies and writes
  /// may end after the request. Reads of the segment may be issued once its last write is, and wait for that.
  void will_append(std::uint32_t request, NewKv kv);
  /// One more token of a request that keeps its views, through all layers. Requests in flight share the compute lane.
  std::int32_t decode(std::uint32_t request, std::int32_t id);
  /// Own tokens so far, decoded ones included; `rewind` forgets the later ones.
  std::uint32_t num_own_tokens(std::uint32_t request);
  void rewind(std::uint32_t request, std::uint32_t num_own_tokens);
  /// Runs on the compute lane, the only thread that may use the executor; returns when it is done.
  void run_on_compute(const std::function<void()>& work);
  /// The same, with the request's sequence.
  void with_sequence(std::uint32_t request, const std::function<void(Sequence&)>& use);
  void end_request(std::uint32_t request);

  /// Keys that are always in host memory, by the system's choice: read before the first request.
  void pin_identification_keys(std::span<const SegmentId> segments);

  /// Blocks until something is done, completes what is, in the order in which it was issued.
  void wait();
  Nanoseconds now() const { return clock_.now(); }
  Bytes device_peak() const { return TierPools::device.peak(); }
  Bytes host_peak() const { return TierPools::host.peak(); }
  HeldMemory held_memory() const;
  const DriverWork& driver_work() const { return driver_work_; }

  pipeline::ReadOp read(pipeline::OpContext, pipeline::PieceList, pipeline::ReadPriority,
                        const pipeline::Deps&) override;
  pipeline::Op write(pipeline::OpContext, SegmentId, Bytes, const pipeline::Deps&) override;
  pipeline::Op copy(pipeline::OpContext, pipeline::PieceList, pipeline::CopyRoute, const pipeline::Deps&) override;
  pipeline::Op project(pipeline::OpContext, pipeline::TokenRange, const pipeline::Deps&) override;
  pipeline::ScoreOp score(pipeline::OpContext, const pipeline::Request&, const pipeline::ScoreSpec&,
                          const pipeline::Deps&) override;
  pipeline::SelectOp select(pipeline::OpContext, const pipeline::ScoreOp&, const pipeline::SelectionRule&) override;
  pipeline::Op attend(pipeline::OpContext, const pipeline::Request&, pipeline::TokenRange, const pipeline::KvView&,
                      const pipeline::Deps&) override;
  pipeline::Op host(pipeline::OpContext, pipeline::HostTask, const pipeline::Deps&) override;
  pipeline::Op first_token(pipeline::OpContext, const pipeline::Deps&) override;
  void own_tokens_changed(const pipeline::Request&) override;
  void recompute_begins(const pipeline::Request&) override;
  void detach(const pipeline::Op&, bool drop_unsubmitted) override;

 private:
  class Work;
  class Read;
  class LaneWork;
  class Copy;
  class Score;
  class Select;
  class Attend;
  class AppendWork;
  struct Active;
  struct Appending;
  struct CopiedLayer;

  template <typename State>
  boost::intrusive_ptr<State> make(pipeline::OpKind kind, pipeline::OpContext context, record::Operation operation,
                                   record::Resource resource, Bytes bytes = {});
  void begin(pipeline::OpState& op) override;
  void finish(Work& work);
  void begin_read(Read& read);
  void grant_staging();
  void submit(Read& read);
  void drop(Read& read);
  void finish_all(std::vector<Work*>& done);
  void hear_of_host_work();
  void harvest_lanes(std::vector<Work*>& done);
  void harvest_reads(std::vector<Work*>& done);
  Lane& lane_of(record::Resource resource);
  bool keeps_order(const pipeline::OpState& dependency, pipeline::OpState& op) override;
  void open_lanes();
  void reserve_tiers();
  std::function<void()> copy_work(Copy& copy, pipeline::CopyRoute route);
  void run_adopted(std::span<const PartCopy> copies);
  void copy_to_host_tier(std::span<const PartCopy> copies);
  Active& active(std::uint32_t request);
  Appending* recomputing(std::uint32_t request);
  pipeline::Op copy_out(pipeline::OpContext context, Bytes bytes, const pipeline::Deps& deps);
  OwnKvBytes new_kv(const Active& entry, int layer_idx, CopiedLayer& copied);
  pipeline::Op project_again(pipeline::OpContext context, pipeline::TokenRange range, const pipeline::Deps& deps);
  pipeline::Op attend_again(pipeline::OpContext context, pipeline::TokenRange range, const pipeline::Deps& deps);
  void add_writes(const pipeline::PieceList& pieces, pipeline::Deps& deps) const;

  RealMachineOptions options_;
  RealMachineObserver& observer_;
  const RunClock& clock_;
  CompletionQueue completions_;
  std::unique_ptr<Placement> placement_;
  std::unique_ptr<LayerViewBuilder> views_;
  record::QueueOccupancy occupancy_;
  std::map<std::uint32_t, std::shared_ptr<Active>> active_;
  std::map<SegmentId, pipeline::Op> last_writes_;  // of segments that are not whole yet
  std::uint64_t next_number_ = 0;
  DriverWork driver_work_;
  Bytes staging_capacity_;
  Bytes staging_free_;
  std::deque<Read*> waiting_for_staging_;  // unfinished, hence alive
  std::set<void*> reads_in_flight_;
  LaneJob* inline_job_ = nullptr;      // of run_on_compute
  std::unique_ptr<GpuCopier> copier_;  // with a GPU
  GpuStream host_stream_;              // of the lane that copies inside host memory
  bool runs_ahead_ = false;            // operations begin behind others on the device
  layout::ReadPlan plan_;              // reused
  std::vector<LaneCompletion> drained_;
  std::vector<Work*> heard_;  // over, for the next `wait` to finish
  std::exception_ptr heard_failure_;
  std::vector<FinishedRead> finished_reads_;

  // Last: their threads use the above and end first.
  std::unique_ptr<GpuLanes> gpu_lanes_;
  std::vector<std::unique_ptr<WorkLane>> threads_;
  Lane *compute_ = nullptr, *demand_copies_ = nullptr, *prefetch_copies_ = nullptr, *device_to_host_ = nullptr;
  Lane *host_copies_ = nullptr, *host_ = nullptr, *writes_ = nullptr;
};

}  // namespace reprefill::engine
