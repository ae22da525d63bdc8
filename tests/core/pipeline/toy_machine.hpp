// The smallest machine: operations finish when the test says so.
#pragma once

#include <algorithm>
#include <vector>

#include "core/pipeline/machine_core.hpp"
#include "core/pipeline/request.hpp"

namespace reprefill::test_support {

using namespace pipeline;

class ToyMachine final : public MachineCore {
 public:
  /// An operation of its own that counts how many of its kind live.
  struct Work final : OpState {
    explicit Work(int& count) : OpState(OpKind::host, {}), num_alive(count) { ++num_alive; }
    ~Work() override { --num_alive; }
    int& num_alive;
  };

  explicit ToyMachine(int* num_alive = nullptr) : num_alive_(num_alive != nullptr ? *num_alive : own_count_) {}

  Op work(const Deps& deps = {}) {
    const Op op(new Work(num_alive_));
    issue(op, deps);
    return op;
  }
  /// Begun: its dependencies are done.
  bool has_begun(const Op& op) const { return std::find(begun_.begin(), begun_.end(), op.get()) != begun_.end(); }
  void finish(const Op& op) { finish(*op); }
  void finish(OpState& op) {
    std::erase(begun_, &op);
    complete(op);
  }
  const std::vector<OpState*>& begun() const { return begun_; }

  ReadOp read(OpContext context, PieceList, ReadPriority, const Deps& deps) override {
    ReadOp op(new ReadResult(OpKind::read, context));
    issue(op, deps);
    return op;
  }
  Op write(OpContext, SegmentId, Bytes, const Deps& deps) override { return work(deps); }
  Op copy(OpContext, PieceList, CopyRoute, const Deps& deps) override { return work(deps); }
  Op project(OpContext, TokenRange, const Deps& deps) override { return work(deps); }
  ScoreOp score(OpContext context, const Request&, const ScoreSpec&, const Deps& deps) override {
    ScoreOp op(new ScoreResult(OpKind::score, context));
    issue(op, deps);
    return op;
  }
  SelectOp select(OpContext context, const ScoreOp& scores, const SelectionRule&) override {
    SelectOp op(new SelectResult(OpKind::select, context));
    issue(op, Op(scores));
    return op;
  }
  Op attend(OpContext, const Request&, TokenRange, const KvView&, const Deps& deps) override { return work(deps); }
  Op host(OpContext, HostTask, const Deps& deps) override { return work(deps); }
  Op first_token(OpContext, const Deps& deps) override { return work(deps); }
  void detach(const Op&, bool) override {}

 private:
  void begin(OpState& op) override { begun_.push_back(&op); }

  int own_count_ = 0;
  int& num_alive_;
  std::vector<OpState*> begun_;
};

}  // namespace reprefill::test_support
