#include "sim/devices/progress.hpp"

#include <algorithm>
#include <cmath>

namespace reprefill::sim {
namespace {

std::size_t index_of(Activity activity) { return static_cast<std::size_t>(activity); }

}  // namespace

Interference::Interference(Simulation& simulation, const std::vector<InterferencePair>& pairs)
    : simulation_(simulation), any_pairs_(!pairs.empty()) {
  for (auto& row : factor_) row.fill(1);
  for (const InterferencePair& pair : pairs) factor_[index_of(pair.slowed)][index_of(pair.by)] = pair.factor;
}

double Interference::speed_of(Activity activity) const {
  double factor = 1;
  for (std::size_t by = 0; by < num_active_.size(); ++by) {
    if (num_active_[by] > 0 && by != index_of(activity)) factor *= factor_[index_of(activity)][by];
  }
  return 1 / factor;
}

void Interference::count(Activity activity, int change) {
  int& active = num_active_[index_of(activity)];
  const bool was_active = active > 0;
  active += change;
  if (!any_pairs_ || was_active == (active > 0)) return;
  const Nanoseconds now = simulation_.now();
  for (Job* job : running_) {
    job->settle(now);
    job->speed_ = speed_of(job->activity_);
    job->plan(now);
  }
}

void Interference::activate(Job& job) {
  count(job.activity_, +1);
  if (any_pairs_) running_.push_back(&job);
  job.speed_ = any_pairs_ ? speed_of(job.activity_) : 1;
}

void Interference::deactivate(Job& job) {
  if (any_pairs_) running_.erase(std::find(running_.begin(), running_.end(), &job));
  count(job.activity_, -1);
}

Interference::Job::~Job() {
  if (running_ && interference_.any_pairs_) std::erase(interference_.running_, this);
}

void Interference::Job::start(Nanoseconds work, double share) {
  REPREFILL_CHECK(!running_, "a job was started twice");
  running_ = true;
  share_ = share;
  remaining_ns_ = static_cast<double>(work.value);
  since_ = interference_.simulation_.now();
  interference_.activate(*this);
  plan(since_);
}

void Interference::Job::set_share(double share) {
  const Nanoseconds now = interference_.simulation_.now();
  settle(now);
  share_ = share;
  plan(now);
}

double Interference::Job::left_ns() {
  settle(interference_.simulation_.now());
  return remaining_ns_;
}

void Interference::Job::go_on_with(double left_ns) {
  REPREFILL_CHECK(running_, "a job that does not run goes on");
  const Nanoseconds now = interference_.simulation_.now();
  settle(now);
  remaining_ns_ = left_ns;
  plan(now);
}

/// Books the progress made since the speed last changed.
void Interference::Job::settle(Nanoseconds now) {
  remaining_ns_ -= static_cast<double>((now - since_).value) * speed_ * share_;
  since_ = now;
}

void Interference::Job::plan(Nanoseconds now) {
  // Round up: work never ends before its last byte. The tolerance takes back what settling in doubles may leave over.
  const double left = std::max(0.0, std::ceil(remaining_ns_ / (speed_ * share_) - 1e-6));
  interference_.simulation_.schedule(*this, now + Nanoseconds{static_cast<std::int64_t>(left)});
}

void Interference::Job::fire() {
  running_ = false;
  interference_.deactivate(*this);
  on_done();
}

}  // namespace reprefill::sim
