#include "calibrate/cuda/gpu_conditions.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>

namespace reprefill::calibrate {
namespace {

constexpr std::size_t kNumFields = 9;

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  for (std::size_t start = 0; start <= line.size();) {
    const std::size_t comma = std::min(line.find(',', start), line.size());
    fields.push_back(trimmed(line.substr(start, comma - start)));
    start = comma + 1;
  }
  return fields;
}

/// Absent for "[N/A]" and the like.
std::optional<double> number_of(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> bits_of(const std::string& text) {
  if (!text.starts_with("0x")) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data() + 2, text.data() + text.size(), value, 16);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

const char* const kGpuQuery =
    "name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw,memory.used,utilization.gpu,"
    "clocks_throttle_reasons.active";

std::optional<GpuConditions> parse_gpu_conditions(const std::string& line) {
  const std::vector<std::string> fields = fields_of(line);
  if (fields.size() != kNumFields || fields[0].empty()) return std::nullopt;
  return GpuConditions{.name = fields[0],
                       .driver = fields[1],
                       .sm_mhz = number_of(fields[2]),
                       .memory_mhz = number_of(fields[3]),
                       .celsius = number_of(fields[4]),
                       .watts = number_of(fields[5]),
                       .used_mib = number_of(fields[6]),
                       .busy_percent = number_of(fields[7]),
                       .throttle_reasons = bits_of(fields[8])};
}

std::optional<GpuConditions> read_gpu_conditions(int gpu_index) {
  const std::string command =
      fmt::format("nvidia-smi --id={} --query-gpu={} --format=csv,noheader,nounits 2>/dev/null", gpu_index, kGpuQuery);
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return std::nullopt;
  char line[1024] = {};
  const bool has_line = std::fgets(line, sizeof line, pipe) != nullptr;
  const bool ended_well = ::pclose(pipe) == 0;
  return has_line && ended_well ? parse_gpu_conditions(line) : std::nullopt;
}

Json GpuConditions::to_json() const {
  Json json = {{"name", name}, {"driver", driver}};
  const auto set = [&](const char* key, const auto& value) {
    if (value) json[key] = *value;
  };
  set("sm_mhz", sm_mhz);
  set("memory_mhz", memory_mhz);
  set("celsius", celsius);
  set("watts", watts);
  set("used_mib", used_mib);
  set("busy_percent", busy_percent);
  set("throttle_reasons", throttle_reasons);
  return json;
}

std::vector<std::string> gpu_disturbances(const GpuConditions& before, const GpuConditions& after) {
  // Of NVML's bits: idle (1) and chosen clocks (2) are no disturbance.
  struct Reason {
    std::uint64_t bit;
    const char* what;
  };
  static constexpr Reason kReasons[] = {{0x4, "its power limit"},
                                        {0x8, "a hardware slow-down"},
                                        {0x20, "heat"},
                                        {0x40, "heat (hardware)"},
                                        {0x80, "the power supply's brake"}};
  std::vector<std::string> notes;
  constexpr double kIdlePercent = 5;
  if (before.busy_percent.value_or(0) > kIdlePercent) {
    notes.push_back(fmt::format("{} was {:.0f} % busy before the first measurement: another program uses it",
                                before.name, *before.busy_percent));
  }
  for (const Reason& reason : kReasons) {
    if ((after.throttle_reasons.value_or(0) & reason.bit) != 0) {
      notes.push_back(fmt::format("{}'s clocks are held down by {}", after.name, reason.what));
    }
  }
  return notes;
}

}  // namespace reprefill::calibrate
