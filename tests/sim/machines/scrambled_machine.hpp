// A machine that completes operations on real threads, in random order, at random times. What a system does on it must
// be what it does in virtual time: the same bytes, reads and cache decisions (design 4).
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "core/base/random.hpp"
#include "core/layout/read_planner.hpp"
#include "core/pipeline/machine_core.hpp"
#include "core/pipeline/request.hpp"
#include "core/pipeline/system.hpp"

namespace reprefill::test_support {

using namespace pipeline;

class ScrambledMachine final : public MachineCore {
 public:
  ScrambledMachine(const SystemEnvironment& environment, const traces::ImportanceSource& importance,
                   const layout::StoreLayout* layout, std::uint64_t seed)
      : environment_(environment), importance_(importance), layout_(layout), random_(seed, 0, "scrambled") {
    for (int i = 0; i < 4; ++i) workers_.emplace_back([this](std::stop_token stop) { work(stop); });
  }

  /// Runs completions until the task is done, on the calling thread: the driver.
  void drive(Task& task) {
    for (;;) {
      resume_ready();
      if (task.done()) return;
      std::unique_lock lock(mutex_);
      const bool any = finished_.wait_for(lock, std::chrono::seconds(20), [&] { return has_finished_; });
      REPREFILL_CHECK(any, "deadlock: {} operations never finish", num_unfinished());
      std::vector<OpState*> batch;
      batch.swap(done_);
      has_finished_ = false;
      lock.unlock();
      for (OpState* op : batch) finish(*op);
    }
  }

  /// Lets every operation that is still under way finish, so that the next request starts on an idle machine.
  void drain() {
    while (num_unfinished() > 0) {
      std::unique_lock lock(mutex_);
      finished_.wait(lock, [&] { return has_finished_; });
      std::vector<OpState*> batch;
      batch.swap(done_);
      has_finished_ = false;
      lock.unlock();
      for (OpState* op : batch) finish(*op);
    }
  }

  ReadOp read(OpContext context, PieceList pieces, ReadPriority, const Deps& deps) override {
    ReadOp op(new ReadResult(OpKind::read, context));
    layout::ReadPlan plan;
    layout::plan_reads(pieces.keys, *layout_, environment_.segment_tokens,
                       {.max_request_bytes = environment_.path.max_request_bytes,
                        .merge = environment_.path.merge_reads,
                        .max_merge_gap = environment_.path.max_merge_gap},
                       plan);
    op->requested = plan.requested_bytes;
    op->num_requests = plan.requests.size();
    issue(op, deps);
    return op;
  }
  Op write(OpContext context, SegmentId, Bytes, const Deps& deps) override {
    return plain(OpKind::write, context, deps);
  }
  Op copy(OpContext context, PieceList, CopyRoute, const Deps& deps) override {
    return plain(OpKind::copy, context, deps);
  }
  Op project(OpContext context, TokenRange, const Deps& deps) override { return plain(OpKind::project, context, deps); }
  Op attend(OpContext context, const Request&, TokenRange, const KvView&, const Deps& deps) override {
    return plain(OpKind::attend, context, deps);
  }
  Op host(OpContext context, HostTask, const Deps& deps) override { return plain(OpKind::host, context, deps); }
  Op first_token(OpContext context, const Deps& deps) override { return plain(OpKind::first_token, context, deps); }
  void detach(const Op&, bool) override {}

  ScoreOp score(OpContext context, const Request& request, const ScoreSpec& spec, const Deps& deps) override {
    boost::intrusive_ptr<Score> op(new Score(OpKind::score, context));
    op->request = &request;
    op->spec = spec;
    issue(op, deps);
    return op;
  }
  SelectOp select(OpContext context, const ScoreOp& scores, const SelectionRule& rule) override {
    boost::intrusive_ptr<Select> op(new Select(OpKind::select, context));
    op->source = scores;
    op->rule = rule;
    issue(op, Op(scores));
    return op;
  }

 private:
  struct Score final : ScoreResult {
    using ScoreResult::ScoreResult;
    const Request* request = nullptr;
    ScoreSpec spec;
  };
  struct Select final : SelectResult {
    using SelectResult::SelectResult;
    ScoreOp source;
    SelectionRule rule;
  };

  Op plain(OpKind kind, OpContext context, const Deps& deps) {
    const Op op(new OpState(kind, context));
    issue(op, deps);
    return op;
  }

  void begin(OpState& op) override {
    const auto delay = std::chrono::microseconds(random_.below(120));
    const std::lock_guard lock(mutex_);
    // At a random place of the queue: later operations overtake earlier ones.
    const auto place = static_cast<std::ptrdiff_t>(random_.below(queue_.size() + 1));
    queue_.insert(queue_.begin() + place, {&op, delay});
    waiting_.notify_one();
  }

  void finish(OpState& op) {
    if (auto* score = dynamic_cast<Score*>(&op)) {
      score->scores.num_groups = importance_.num_groups(score->spec.grouping);
      score->scores.num_units =
          traces::num_units(score->request->stored_prefix, static_cast<int>(score->spec.unit_tokens));
      score->scores.values.resize(static_cast<std::size_t>(score->scores.num_groups) * score->scores.num_units);
      importance_.unit_scores({.request = score->request->importance_id,
                               .task = score->request->task,
                               .prefix = score->request->stored_prefix,
                               .layer_idx = op.context().layer_idx,
                               .grouping = score->spec.grouping,
                               .digest = score->spec.digest},
                              static_cast<int>(score->spec.unit_tokens), score->scores.values);
    } else if (auto* select = dynamic_cast<Select*>(&op)) {
      select->selection = std::make_shared<const Selection>(select_units(select->source->scores, select->rule));
    }
    complete(op);
  }

  void work(const std::stop_token& stop) {
    for (;;) {
      std::unique_lock lock(mutex_);
      if (!waiting_.wait(lock, stop, [&] { return !queue_.empty(); })) return;
      const auto [op, delay] = queue_.front();
      queue_.pop_front();
      lock.unlock();
      std::this_thread::sleep_for(delay);
      lock.lock();
      done_.push_back(op);
      has_finished_ = true;
      finished_.notify_one();
    }
  }

  struct Queued {
    OpState* op;
    std::chrono::microseconds delay;
  };
  const SystemEnvironment& environment_;
  const traces::ImportanceSource& importance_;
  const layout::StoreLayout* layout_;
  RandomStream random_;
  std::mutex mutex_;
  std::condition_variable_any waiting_;
  std::condition_variable finished_;
  std::deque<Queued> queue_;
  std::vector<OpState*> done_;
  bool has_finished_ = false;
  std::vector<std::jthread> workers_;
};

}  // namespace reprefill::test_support
