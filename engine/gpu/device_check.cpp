#include "engine/gpu/device_check.hpp"

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

/// The oldest architecture that the kernels are compiled for.
constexpr int kLeastMajor = 8;

std::string version(int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

}  // namespace

void check_gpus(const GpuFacts& facts, int device) {
  if (facts.driver_is_too_old) {
    if (facts.driver_version == 0) {
      throw MachineError(
          fmt::format("this machine has no NVIDIA driver; this program needs one that supports CUDA {} "
                      "(--device cpu needs none)",
                      version(facts.runtime_version)));
    }
    throw MachineError(fmt::format("the NVIDIA driver supports CUDA {}, this program needs {}: update the driver",
                                   version(facts.driver_version), version(facts.runtime_version)));
  }
  if (facts.num_devices == 0) {
    throw MachineError("this machine has no NVIDIA GPU that CUDA can use; --device cpu needs none");
  }
  if (device < 0 || device >= facts.num_devices) {
    throw ConfigError(fmt::format("--gpu {}: this machine has {} GPU{}, numbered from 0", device, facts.num_devices,
                                  facts.num_devices == 1 ? "" : "s"));
  }
}

void check_architecture(const GpuFacts& facts) {
  if (facts.compute_major >= kLeastMajor) return;
  throw MachineError(fmt::format("{} has compute capability {}.{}; the kernels need {}.0 (Ampere) or later", facts.name,
                                 facts.compute_major, facts.compute_minor, kLeastMajor));
}

}  // namespace reprefill::engine
