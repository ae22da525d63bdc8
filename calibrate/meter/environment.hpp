// What a measurement was taken on, and what disturbed it: without that a number cannot be compared with another.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/base/json.hpp"

namespace reprefill::calibrate {

/// Where the kernel's files lie; tests name a folder of their own.
struct SystemFiles {
  std::filesystem::path proc = "/proc";
  std::filesystem::path sys = "/sys";
};

/// CPU model, cores, memory, kernel, hypervisor: what makes two machines different.
/// How this machine differs from the one that `meta`, a bundle's meta.json, was measured on, and from its number of
/// executor threads (0: as many as cores): a line each, for notes. Empty for a bundle that was not measured.
std::vector<std::string> differences_of_machine(const Json& meta, int threads, const SystemFiles& files = {});

Json describe_machine(const SystemFiles& files = {});

/// The block device under `path`: name, model, whether it is virtual, rotational, or holds the root file system.
struct BlockDevice {
  std::string name;   // "nvme0n1", "vda", "dm-0"; empty where there is none (tmpfs, overlay)
  std::string model;  // empty where the kernel knows none: virtual disks
  bool is_system_disk = false;
  std::optional<bool> rotational;
  Json to_json() const;
};
BlockDevice find_block_device(const std::filesystem::path& path, const SystemFiles& files = {});

/// One reading of what throttles. Values that the machine does not show are absent.
struct Conditions {
  std::optional<double> cpu_mhz = std::nullopt;                // mean over cores, now
  std::optional<std::uint64_t> throttle_count = std::nullopt;  // of all cores since boot
  std::optional<double> steal_s = std::nullopt;                // time that the hypervisor gave to others, all cores
  std::optional<double> load_average = std::nullopt;           // 1 minute
  std::optional<double> drive_celsius = std::nullopt;          // the hottest NVMe sensor
  Json to_json() const;
};
Conditions read_conditions(const SystemFiles& files = {});

/// What a reader should know of a run between two readings: throttled, disturbed by other programs, hot.
std::vector<std::string> disturbances(const Conditions& before, const Conditions& after, double wall_s, int num_cores);

/// First line of a small file; empty where it cannot be read.
std::string read_line(const std::filesystem::path& path);

}  // namespace reprefill::calibrate
