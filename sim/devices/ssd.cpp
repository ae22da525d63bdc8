#include "sim/devices/ssd.hpp"

#include <algorithm>
#include <map>

namespace reprefill::sim {

/// A request between its start and its completion; slots are as many as the depth limit.
struct Ssd::Slot final : Timer {
  Ssd* ssd = nullptr;
  Device* device = nullptr;
  SsdRequest request;
  bool is_write = false;
  void fire() override;
};

/// Channels and the bandwidth server of one drive.
class Ssd::Device : public Interference::Job {
 public:
  Device(Ssd& ssd, Interference& interference) : Job(interference, Activity::ssd_read), ssd_(ssd) {}

  /// When a request that is submitted at `submitted` has its first byte: latencies overlap on `num_channels`.
  Nanoseconds first_byte_at(Nanoseconds submitted, Nanoseconds latency) {
    Nanoseconds start = submitted;
    if (channels_.size() == ssd_.profile_.num_channels) {
      start = std::max(start, channels_.top());
      channels_.pop();
    }
    channels_.push(start + latency);
    return start + latency;
  }

  virtual void enqueue(Slot& slot) = 0;

 protected:
  Nanoseconds work_of(const Slot& slot) {
    const BytesPerSecond rate =
        slot.is_write ? ssd_.profile_.write_bandwidth : ssd_.profile_.read_cost(slot.request.bytes).bandwidth;
    return ssd_.noise_.apply(transfer_time(slot.request.bytes, rate, ssd_.mix_factor()));
  }

  /// Before the next transfer starts: a write that is done does not slow down the reads behind it.
  void leave(const Slot& slot) {
    --ssd_.in_flight_;
    ssd_.histogram_.set_depth(ssd_.in_flight_, ssd_.interference_.simulation().now());
    ssd_.writes_in_flight_ -= slot.is_write;
  }

  Ssd& ssd_;

 private:
  std::priority_queue<Nanoseconds, std::vector<Nanoseconds>, std::greater<>> channels_;
};

/// One transfer after the other.
class Ssd::FifoDevice final : public Device {
 public:
  using Device::Device;
  void enqueue(Slot& slot) override {
    transfers_.push_back(&slot);
    if (!running()) start(work_of(slot));
  }

 private:
  void on_done() override {
    Slot& slot = *transfers_.front();
    transfers_.pop_front();
    leave(slot);
    if (!transfers_.empty()) start(work_of(*transfers_.front()));
    ssd_.finish(slot);
  }

  std::deque<Slot*> transfers_;
};

/// All transfers under way progress alike (processor sharing). What each has got since the drive was last idle is one
/// number for all, so that only the next to end needs a timer, however many there are.
class Ssd::SharedDevice final : public Device {
 public:
  using Device::Device;
  void enqueue(Slot& slot) override {
    const auto work = static_cast<double>(work_of(slot).value);
    book_progress();
    transfers_.emplace(attained_ns_ + work, &slot);
    go_on();
  }

 private:
  /// Of the work until the next end, all transfers got equal parts.
  void book_progress() {
    if (!running()) return;
    const double left = left_ns();
    attained_ns_ += (until_next_end_ns_ - left) / static_cast<double>(transfers_.size());
    until_next_end_ns_ = left;
  }

  void go_on() {
    until_next_end_ns_ =
        std::max(0.0, transfers_.begin()->first - attained_ns_) * static_cast<double>(transfers_.size());
    if (!running()) start(Nanoseconds{0});
    go_on_with(until_next_end_ns_);
  }

  void on_done() override {
    const auto next = transfers_.begin();
    Slot& slot = *next->second;
    attained_ns_ = next->first;
    transfers_.erase(next);
    leave(slot);
    if (transfers_.empty()) {
      attained_ns_ = 0;
    } else {
      go_on();
    }
    ssd_.finish(slot);
  }

  std::multimap<double, Slot*> transfers_;  // by what a transfer will have got when it ends; of equals the older first
  double attained_ns_ = 0;
  double until_next_end_ns_ = 0;
};

void Ssd::Slot::fire() { device->enqueue(*this); }

Ssd::Ssd(Interference& interference, const SsdProfile& ssd, const HostProfile& host, const pipeline::SoftwarePath& path,
         Noise noise)
    : interference_(interference),
      profile_(ssd),
      path_(path),
      submission_cost_(path.charge_submission ? host.submission_cost + host.completion_cost : Nanoseconds{0}),
      noise_(std::move(noise)) {
  for (std::uint32_t i = 0; i < profile_.num_devices; ++i) {
    if (profile_.service == SsdService::shared) {
      devices_.push_back(std::make_unique<SharedDevice>(*this, interference));
    } else {
      devices_.push_back(std::make_unique<FifoDevice>(*this, interference));
    }
  }
  for (std::uint32_t i = 0; i < path_.queue_depth; ++i) {
    slots_.push_back(std::make_unique<Slot>());
    slots_.back()->ssd = this;
    free_slots_.push_back(slots_.back().get());
  }
}

Ssd::~Ssd() = default;

const IoHistogram& Ssd::histogram() {
  histogram_.set_depth(in_flight_, interference_.simulation().now());
  return histogram_;
}

double Ssd::mix_factor() const {
  return writes_in_flight_ > 0 && writes_in_flight_ < in_flight_ ? profile_.mixed_slowdown : 1.0;
}

void Ssd::submit(SsdQueue queue, std::span<const SsdRequest> requests) {
  auto& waiting = queues_[static_cast<std::size_t>(queue)];
  waiting.insert(waiting.end(), requests.begin(), requests.end());
  pump();
}

Ssd::Dropped Ssd::drop_queued(const SsdClient& client) {
  Dropped dropped;
  for (auto& queue : queues_) {
    for (const SsdRequest& request : queue) {
      if (request.client == &client) dropped.bytes += request.bytes;
    }
    dropped.num_requests += std::erase_if(queue, [&](const SsdRequest& request) { return request.client == &client; });
  }
  return dropped;
}

/// Demand before prefetch before writes, while the depth allows.
void Ssd::pump() {
  if (pumping_) return;  // a client reacted to its start by submitting more: the outer loop takes it
  pumping_ = true;
  for (std::size_t queue = 0; queue < queues_.size() && !free_slots_.empty();) {
    if (queues_[queue].empty()) {
      ++queue;
      continue;
    }
    const SsdRequest request = queues_[queue].front();
    queues_[queue].pop_front();
    start(static_cast<SsdQueue>(queue), request);
    queue = 0;
  }
  pumping_ = false;
}

void Ssd::start(SsdQueue queue, const SsdRequest& request) {
  Slot& slot = *free_slots_.back();
  free_slots_.pop_back();
  slot.request = request;
  slot.is_write = queue == SsdQueue::write;
  slot.device = devices_[request.offset / profile_.stripe_bytes.value % devices_.size()].get();
  ++in_flight_;
  histogram_.set_depth(in_flight_, interference_.simulation().now());
  if (!slot.is_write) histogram_.count_read(request.bytes);
  writes_in_flight_ += slot.is_write;
  Simulation& simulation = interference_.simulation();
  submission_free_at_ = std::max(submission_free_at_, simulation.now()) + submission_cost_;
  const Nanoseconds first_byte = slot.is_write ? profile_.write_latency : profile_.read_cost(request.bytes).latency;
  const Nanoseconds latency = noise_.apply(first_byte + path_.object_fixed_cost);
  request.client->on_request_start();
  simulation.schedule(slot, slot.device->first_byte_at(submission_free_at_, latency));
}

void Ssd::finish(Slot& slot) {
  free_slots_.push_back(&slot);
  SsdClient* client = slot.request.client;
  pump();
  client->on_request_done();
}

}  // namespace reprefill::sim
