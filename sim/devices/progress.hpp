// Work that takes longer while something else is active (design 5, "Interference").
#pragma once

#include <array>
#include <vector>

#include "sim/devices/profile.hpp"
#include "sim/events/simulation.hpp"

namespace reprefill::sim {

/// How fast each class of operation progresses, given what is active now.
class Interference {
 public:
  Interference(Simulation& simulation, const std::vector<InterferencePair>& pairs);
  Interference(const Interference&) = delete;
  Interference& operator=(const Interference&) = delete;

  Simulation& simulation() { return simulation_; }

  /// One piece of work on a device. It lives in the device; `on_done` may start the next at once.
  class Job : private Timer {
   public:
    Job(Interference& interference, Activity activity) : interference_(interference), activity_(activity) {}
    virtual ~Job();
    bool running() const { return running_; }
    /// Takes `work` when nothing interferes. `share` in (0, 1] is the part of the device that this job has.
    void start(Nanoseconds work, double share = 1);
    /// The device is shared with more or fewer jobs from now on.
    void set_share(double share);

   protected:
    /// What is left now of the work, and something else to be left instead: the job goes on without a pause.
    double left_ns();
    void go_on_with(double left_ns);
    virtual void on_done() = 0;
    void set_activity(Activity activity) { activity_ = activity; }

   private:
    friend class Interference;
    void fire() override;
    void settle(Nanoseconds now);
    void plan(Nanoseconds now);

    Interference& interference_;
    Activity activity_;
    bool running_ = false;
    double share_ = 1;
    double speed_ = 1;
    double remaining_ns_ = 0;
    Nanoseconds since_{0};
  };

 private:
  void activate(Job& job);
  void deactivate(Job& job);
  void count(Activity activity, int change);
  double speed_of(Activity activity) const;

  Simulation& simulation_;
  bool any_pairs_;
  std::array<std::array<double, kNumActivities>, kNumActivities> factor_;  // [slowed][by]
  std::array<int, kNumActivities> num_active_{};
  std::vector<Job*> running_;
};

}  // namespace reprefill::sim
