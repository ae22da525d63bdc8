// The machine in virtual time: operations last as long as the device models say and move no data.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "core/layout/read_planner.hpp"
#include "core/model/costs.hpp"
#include "core/pipeline/machine_core.hpp"
#include "core/pipeline/system.hpp"
#include "core/record/queue_occupancy.hpp"
#include "sim/devices/busy_time.hpp"
#include "sim/devices/lanes.hpp"
#include "sim/devices/operation_model.hpp"
#include "sim/devices/ssd.hpp"
#include "sim/shared_selections.hpp"

namespace reprefill::sim {

/// Told of every span as its operation ends, and of every view that attention used.
class MachineObserver {
 public:
  virtual ~MachineObserver() = default;
  virtual void on_span(const record::Span& span) = 0;
  virtual void on_attend(const pipeline::Request& request, int layer_idx, const pipeline::KvView& view) = 0;
};

struct SimulatedMachineOptions {
  const ModelGeometry* geometry = nullptr;
  const Profile* profile = nullptr;
  const pipeline::SoftwarePath* path = nullptr;
  const traces::ImportanceSource* importance = nullptr;
  SharedSelections* selections = nullptr;             // with runs that serve the same requests; null: none
  const layout::StoreLayout* store_layout = nullptr;  // null: the system stores nothing
  std::function<std::uint32_t(SegmentId)> segment_tokens;
  Bytes staging{std::uint64_t{1} << 60};
  bool stream_weights = false;  // every layer's weights come over the link, for every request
  bool noise = false;
  bool model_error = false;  // with noise: each device is a little off in the whole replica, as its residuals say
  std::uint64_t seed = 0;
  std::uint64_t replica = 0;
};

class SimulatedMachine final : public pipeline::MachineCore {
 public:
  SimulatedMachine(Simulation& simulation, const SimulatedMachineOptions& options, MachineObserver& observer);
  ~SimulatedMachine() override;

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
  void detach(const pipeline::Op&, bool drop_unsubmitted) override;

  /// The request goes on to decode, with so many tokens to attend to. All that decode take their steps together:
  /// weights are read once a step, each attends to its own tokens. Between two steps whatever waits for the GPU gets
  /// its turn.
  void decode(std::uint32_t request, std::uint64_t context_tokens, std::uint64_t num_steps);
  std::uint64_t num_decode_steps() const { return num_decode_steps_; }

  /// How long the resource has served something until now.
  Nanoseconds busy_time(record::Resource resource) const;

  /// What the SSD was asked for until now.
  const IoHistogram& io_histogram() { return ssd_.histogram(); }

  /// Where durations of operations come from, and how many were asked for beyond what was measured.
  const OperationModel& operation_model() const { return model_; }

  /// The compute time of a full prefill on an idle machine: what utilisation is measured in (semantics 7).
  Nanoseconds recompute_time(std::uint32_t prompt_tokens) const;

 private:
  class Work;
  class Read;
  class Write;
  class LaneWork;
  class Score;
  class Select;
  class Wait;
  class DecodeStep;
  struct Decoding {
    std::uint32_t request = 0;
    std::uint64_t context_tokens = 0;
    std::uint64_t num_steps = 0;  // left
  };

  template <typename State>
  boost::intrusive_ptr<State> make_op(pipeline::OpKind kind, pipeline::OpContext context, record::Operation operation,
                                      record::Resource resource, Bytes bytes = {});
  void begin(pipeline::OpState& op) override;
  void run_when_issued(Work& work);
  void finish(pipeline::OpState& op, Work& work);
  /// The driver issues something: what follows waits until it is done with that.
  void charge_driver(Work& work, std::uint64_t num_pieces);
  /// Between what it issues, before each read, the driver hears of host work that is over.
  void driver_listens();
  Nanoseconds heard_at(const pipeline::OpState& op) const;
  void hear(pipeline::OpState& op);
  void begin_decode_step();
  void end_decode_step();
  Nanoseconds decode_step_time() const;
  std::shared_ptr<const pipeline::Selection> chosen(const Score& scored, const pipeline::SelectionRule& rule) const;
  Nanoseconds score_on_host(const pipeline::Request& request, const pipeline::ScoreSpec& spec) const;
  void begin_read(Read& read);
  void drop(Read& read);
  void release_staging(Bytes size);
  Nanoseconds copy_time(pipeline::CopyRoute route, std::size_t num_pieces, Bytes bytes);
  void land_in_gpu(LaneWork& op, pipeline::CopyRoute route);
  pipeline::Op stream_weights(pipeline::OpContext context, Bytes size);
  Nanoseconds host_time(pipeline::HostTask task) const;
  Lane& lane_of(pipeline::CopyRoute route);
  void issue_lane(const boost::intrusive_ptr<LaneWork>& op, const pipeline::Deps& deps);

  Simulation& simulation_;
  SimulatedMachineOptions options_;
  MachineObserver& observer_;
  OperationModel model_;
  OperationCosts costs_;
  Interference interference_;
  Noise gpu_noise_;
  Noise link_noise_;
  Ssd ssd_;
  Lane gpu_;
  SharedLanes host_to_gpu_;
  Lane gpu_to_host_;
  Lane host_memory_;
  Lane host_thread_;
  Nanoseconds driver_free_at_{0};
  std::deque<Nanoseconds> driver_listens_at_;  // ascending, from now on
  bool driver_issues_ = false;                 // it hears of an end between what it issues
  Bytes staging_free_;
  std::deque<Read*> waiting_for_staging_;  // unfinished, hence alive
  layout::ReadPlan plan_;                  // reused
  record::QueueOccupancy occupancy_;
  std::array<BusyTime, record::kNumResources> busy_;
  std::vector<Decoding> decoding_;
  std::size_t decoding_in_step_ = 0;  // the leading ones; the others joined since
  std::uint64_t num_decode_steps_ = 0;
  // Of each request in flight, with streamed weights: the layer before's, which lets the next weights come.
  std::map<std::uint32_t, pipeline::Op> last_projection_;
};

}  // namespace reprefill::sim
