// Whether this program can use a GPU, from what its driver says of it.
#pragma once

#include <string>

namespace reprefill::engine {

/// As CUDA numbers versions: 1000 * major + 10 * minor.
struct GpuFacts {
  bool driver_is_too_old = false;  // CUDA refuses it
  int driver_version = 0;
  int runtime_version = 0;
  int num_devices = 0;
  // Of the device that is wanted, where there is one:
  std::string name = {};
  int compute_major = 0;
  int compute_minor = 0;
};

/// Throws MachineError: a driver older than the toolkit, no device, one that is too old; ConfigError for an index
/// beyond the last device. Of a device is asked only what holds where there is one, so `device` may be any number.
void check_gpus(const GpuFacts& facts, int device);
/// Throws MachineError where the kernels are not built for the device.
void check_architecture(const GpuFacts& facts);

}  // namespace reprefill::engine
