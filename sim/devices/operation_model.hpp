// How long an operation takes on an idle GPU: a roofline over its FLOPs and bytes (datasheet profiles). Measured tables
// take this place once a bundle has them.
#pragma once

#include "core/model/costs.hpp"
#include "sim/devices/profile.hpp"

namespace reprefill::sim {

class OperationModel {
 public:
  explicit OperationModel(const GpuProfile& gpu) : gpu_(gpu) {}

  Nanoseconds gemm(const OperationCost& cost) const { return roofline(cost, gpu_.gemm_efficiency); }
  Nanoseconds attention(const OperationCost& cost) const { return roofline(cost, gpu_.attention_efficiency); }
  Nanoseconds overhead() const { return gpu_.operation_overhead; }
  Nanoseconds select_overhead() const { return gpu_.select_overhead; }

 private:
  Nanoseconds roofline(const OperationCost& cost, double efficiency) const {
    const double compute = cost.flops / (gpu_.peak_rate.value * efficiency);
    const double memory =
        static_cast<double>(cost.bytes_moved.value) / (gpu_.memory_bandwidth.value * gpu_.memory_efficiency);
    return nanoseconds_from_seconds(std::max(compute, memory));
  }

  GpuProfile gpu_;
};

}  // namespace reprefill::sim
