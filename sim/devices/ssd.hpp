// The SSD and the software queues in front of it (design 5): two read queues over a depth limit, a submission thread,
// latencies that overlap on channels, and one bandwidth server a device, first come first served or shared by all.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <vector>

#include "core/pipeline/software_path.hpp"
#include "sim/devices/io_histogram.hpp"
#include "sim/devices/noise.hpp"
#include "sim/devices/progress.hpp"

namespace reprefill::sim {

enum class SsdQueue : std::uint8_t { demand, prefetch, write };
inline constexpr int kNumSsdQueues = 3;

/// Whoever submitted a request is told when the device starts it and when its last byte is there.
class SsdClient {
 public:
  virtual ~SsdClient() = default;
  virtual void on_request_start() = 0;
  virtual void on_request_done() = 0;
};

struct SsdRequest {
  SsdClient* client = nullptr;
  std::uint64_t offset = 0;  // decides the device of a stripe
  Bytes bytes;
};

class Ssd {
 public:
  Ssd(Interference& interference, const SsdProfile& ssd, const HostProfile& host, const pipeline::SoftwarePath& path,
      Noise noise);
  ~Ssd();

  void submit(SsdQueue queue, std::span<const SsdRequest> requests);
  struct Dropped {
    std::size_t num_requests = 0;
    Bytes bytes;
  };
  /// Drops what is still queued for this client; what has started goes on.
  Dropped drop_queued(const SsdClient& client);

  std::uint64_t num_in_flight() const { return in_flight_; }
  /// Up to now.
  const IoHistogram& histogram();

 private:
  struct Slot;
  class Device;
  class FifoDevice;
  class SharedDevice;

  void pump();
  void start(SsdQueue queue, const SsdRequest& request);
  void finish(Slot& slot);
  double mix_factor() const;

  Interference& interference_;
  SsdProfile profile_;
  pipeline::SoftwarePath path_;
  Nanoseconds submission_cost_;
  Noise noise_;
  std::array<std::deque<SsdRequest>, kNumSsdQueues> queues_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> free_slots_;
  std::vector<std::unique_ptr<Device>> devices_;
  IoHistogram histogram_;
  std::uint64_t in_flight_ = 0;
  std::uint64_t writes_in_flight_ = 0;
  Nanoseconds submission_free_at_{0};
  bool pumping_ = false;
};

}  // namespace reprefill::sim
