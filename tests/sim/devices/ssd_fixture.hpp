// An SSD whose times can be added up in the head, and clients that write down what they are told.
#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "sim/devices/ssd.hpp"

namespace reprefill::sim {

/// One byte a nanosecond, first byte after 1,000 ns; writes half as fast, after 400 ns. Submission is free.
inline SsdProfile plain_ssd() {
  SsdProfile ssd;
  ssd.read_bandwidth = BytesPerSecond{1e9};
  ssd.write_bandwidth = BytesPerSecond{0.5e9};
  ssd.read_latency = Nanoseconds{1000};
  ssd.write_latency = Nanoseconds{400};
  ssd.num_channels = 64;
  ssd.stripe_bytes = Bytes{65536};
  return ssd;
}

inline pipeline::SoftwarePath plain_path(std::uint32_t queue_depth) {
  pipeline::SoftwarePath path;
  path.queue_depth = queue_depth;
  return path;
}

class SsdTest : public testing::Test {
 protected:
  class Client final : public SsdClient {
   public:
    explicit Client(const Simulation& simulation) : simulation_(simulation) {}
    void on_request_start() override { started.push_back(simulation_.now().value); }
    void on_request_done() override { done.push_back(simulation_.now().value); }
    std::vector<std::int64_t> started;
    std::vector<std::int64_t> done;

   private:
    const Simulation& simulation_;
  };

  Ssd make(const SsdProfile& profile, const pipeline::SoftwarePath& path, const HostProfile& host = {}) {
    return Ssd(interference, profile, host, path, Noise());
  }
  Ssd make(std::uint32_t queue_depth) { return make(plain_ssd(), plain_path(queue_depth)); }

  static void submit(Ssd& ssd, SsdQueue queue, Client& client, std::uint64_t bytes, int count = 1,
                     std::uint64_t offset = 0) {
    const std::vector<SsdRequest> requests(static_cast<std::size_t>(count), {&client, offset, Bytes{bytes}});
    ssd.submit(queue, requests);
  }

  Simulation simulation;
  Interference interference{simulation, {}};
  Client client{simulation};
};

}  // namespace reprefill::sim
