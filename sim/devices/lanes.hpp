// FIFO devices that run one operation at a time: the GPU's compute stream, host threads, and the lanes of the link.
#pragma once

#include <deque>
#include <vector>

#include "sim/devices/progress.hpp"

namespace reprefill::sim {

/// Whoever queued work is told when it starts and ends. Lives until the end is told.
class LaneClient {
 public:
  virtual ~LaneClient() = default;
  virtual void on_lane_start() = 0;
  virtual void on_lane_done() = 0;
};

/// One operation at a time, first come first served.
class Lane : private Interference::Job {
 public:
  Lane(Interference& interference, Activity activity) : Job(interference, activity) {}

  void enqueue(LaneClient& client, Activity activity, Nanoseconds work) {
    waiting_.push_back({&client, activity, work});
    if (!running()) start_next();
  }
  bool busy() const { return running(); }

 protected:
  /// The part of the device that the lane has while it runs; a link's lanes share its bandwidth.
  virtual double share() const { return 1; }
  virtual void on_busy_change() {}
  void share_changed() {
    if (running()) set_share(share());
  }

 private:
  struct Work {
    LaneClient* client;
    Activity activity;
    Nanoseconds duration;
  };

  void start_next() {
    current_ = waiting_.front();
    waiting_.pop_front();
    set_activity(current_.activity);
    on_busy_change_to(true);
    start(current_.duration, share());
    current_.client->on_lane_start();
  }
  void on_done() override {
    LaneClient* done = current_.client;
    if (waiting_.empty()) {
      on_busy_change_to(false);
    } else {
      start_next();
    }
    done->on_lane_done();
  }
  void on_busy_change_to(bool busy) {
    if (busy_ == busy) return;
    busy_ = busy;
    on_busy_change();
  }

  std::deque<Work> waiting_;
  Work current_{};
  bool busy_ = false;
};

/// Host-to-GPU transports that share the link's bandwidth: the copy engine and the gather kernel.
class SharedLanes {
 public:
  SharedLanes(Interference& interference, std::initializer_list<Activity> activities) {
    for (const Activity activity : activities)
      lanes_.push_back(std::make_unique<Member>(*this, interference, activity));
  }
  Lane& lane(std::size_t index) { return *lanes_[index]; }

 private:
  class Member final : public Lane {
   public:
    Member(SharedLanes& all, Interference& interference, Activity activity) : Lane(interference, activity), all_(all) {}
    using Lane::share_changed;

   private:
    double share() const override { return 1.0 / static_cast<double>(std::max(1, all_.num_busy_)); }
    void on_busy_change() override { all_.busy_changed(*this); }
    SharedLanes& all_;
    bool counted_ = false;
    friend class SharedLanes;
  };

  void busy_changed(Member& member) {
    member.counted_ = !member.counted_;
    num_busy_ += member.counted_ ? 1 : -1;
    for (const auto& lane : lanes_) {
      if (lane.get() != &member) lane->share_changed();
    }
  }

  std::vector<std::unique_ptr<Member>> lanes_;
  int num_busy_ = 0;
};

}  // namespace reprefill::sim
