#include "calibrate/meter/environment.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

namespace reprefill::calibrate {
namespace {

std::string trimmed(std::string text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\n'; };
  while (!text.empty() && is_space(text.back())) text.pop_back();
  const auto first = std::ranges::find_if_not(text, is_space);
  return {first, text.end()};
}

std::optional<double> number_in(const std::filesystem::path& path) {
  const std::string text = read_line(path);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

/// The value behind "key   : " in /proc/cpuinfo or /proc/meminfo.
std::string field_of(const std::filesystem::path& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos && trimmed(line.substr(0, colon)) == key) return trimmed(line.substr(colon + 1));
  }
  return "";
}

/// Folders "cpu0", "cpu1", ... in order.
std::vector<std::filesystem::path> cpu_folders(const SystemFiles& files) {
  std::vector<std::filesystem::path> folders;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(files.sys / "devices/system/cpu", error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("cpu") && name.size() > 3 && std::isdigit(static_cast<unsigned char>(name[3]))) {
      folders.push_back(entry.path());
    }
  }
  std::ranges::sort(folders);
  return folders;
}

std::optional<double> mean_cpu_mhz(const SystemFiles& files) {
  double sum = 0;
  int count = 0;
  for (const auto& folder : cpu_folders(files)) {
    if (const auto khz = number_in(folder / "cpufreq/scaling_cur_freq")) {
      sum += *khz / 1000;
      ++count;
    }
  }
  if (count > 0) return sum / count;
  const std::string mhz = field_of(files.proc / "cpuinfo", "cpu MHz");  // virtual machines: the nominal clock
  double value = 0;
  const auto [end, error] = std::from_chars(mhz.data(), mhz.data() + mhz.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

std::optional<double> hottest_drive(const SystemFiles& files) {
  std::optional<double> hottest;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(files.sys / "class/hwmon", error)) {
    if (read_line(entry.path() / "name") != "nvme") continue;
    if (const auto millidegrees = number_in(entry.path() / "temp1_input")) {
      hottest = std::max(hottest.value_or(-300), *millidegrees / 1000);
    }
  }
  return hottest;
}

template <typename T>
void set_if(Json& json, const char* key, const std::optional<T>& value) {
  if (value) json[key] = *value;
}

}  // namespace

std::string read_line(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return trimmed(line);
}

Json describe_machine(const SystemFiles& files) {
  utsname system{};
  ::uname(&system);
  Json json = Json::object();
  json["cpu"] = field_of(files.proc / "cpuinfo", "model name");
  json["cores"] = cpu_folders(files).size();
  json["memory_total"] = field_of(files.proc / "meminfo", "MemTotal");
  json["kernel"] = fmt::format("{} {}", system.sysname, system.release);
  const std::string governor = read_line(files.sys / "devices/system/cpu/cpu0/cpufreq/scaling_governor");
  json["cpu_governor"] = governor.empty() ? "not shown" : governor;
  const bool is_virtual = field_of(files.proc / "cpuinfo", "flags").find("hypervisor") != std::string::npos;
  json["virtual_machine"] = is_virtual;
  return json;
}

std::vector<std::string> differences_of_machine(const Json& meta, int threads, const SystemFiles& files) {
  std::vector<std::string> differences;
  if (!meta.is_object() || !meta.contains("plan") || !meta["plan"].is_object()) return differences;
  const Json& plan = meta["plan"];
  const Json machine = describe_machine(files);
  const Json measured = plan.value("machine", Json::object());
  for (const char* key : {"cpu", "cores"}) {
    if (!measured.contains(key) || measured[key] == machine[key]) continue;
    differences.push_back(fmt::format("the profile was measured on another machine: its {} is {}, here {}", key,
                                      measured[key].dump(), machine[key].dump()));
  }
  const int cores = machine["cores"].get<int>();
  const auto threads_of = [cores](int number) { return number == 0 ? cores : number; };
  const Json measured_threads = plan.value("threads", Json(nullptr));
  if (measured_threads.is_number_integer() && threads_of(measured_threads.get<int>()) != threads_of(threads)) {
    differences.push_back(fmt::format("the profile was measured with {} executor threads, here are {}",
                                      threads_of(measured_threads.get<int>()), threads_of(threads)));
  }
  return differences;
}

Json BlockDevice::to_json() const {
  Json json = {{"name", name.empty() ? "none" : name},
               {"model", model.empty() ? "not shown (virtual disk or file system without one)" : model},
               {"is_system_disk", is_system_disk}};
  set_if(json, "rotational", rotational);
  return json;
}

BlockDevice find_block_device(const std::filesystem::path& path, const SystemFiles& files) {
  struct stat of_path {
  }, of_root{};
  BlockDevice device;
  if (::stat(path.c_str(), &of_path) != 0 || ::stat("/", &of_root) != 0) return device;
  device.is_system_disk = of_path.st_dev == of_root.st_dev;
  const auto link = files.sys / fmt::format("dev/block/{}:{}", ::major(of_path.st_dev), ::minor(of_path.st_dev));
  std::error_code error;
  std::filesystem::path folder = std::filesystem::canonical(link, error);
  if (error) return device;
  // A partition's folder lies in its disk's, which has the queue.
  if (std::filesystem::exists(folder / "partition")) folder = folder.parent_path();
  device.name = folder.filename();
  device.model = read_line(folder / "device/model");
  if (const auto rotational = number_in(folder / "queue/rotational")) device.rotational = *rotational != 0;
  return device;
}

Json Conditions::to_json() const {
  Json json = Json::object();
  set_if(json, "cpu_mhz", cpu_mhz);
  set_if(json, "throttle_count", throttle_count);
  set_if(json, "steal_s", steal_s);
  set_if(json, "load_average", load_average);
  set_if(json, "drive_celsius", drive_celsius);
  return json;
}

Conditions read_conditions(const SystemFiles& files) {
  Conditions conditions;
  conditions.cpu_mhz = mean_cpu_mhz(files);
  for (const auto& folder : cpu_folders(files)) {
    if (const auto count = number_in(folder / "thermal_throttle/core_throttle_count")) {
      conditions.throttle_count = conditions.throttle_count.value_or(0) + static_cast<std::uint64_t>(*count);
    }
  }
  // "cpu  user nice system idle iowait irq softirq steal ...", in ticks of 1/USER_HZ.
  std::istringstream stat(read_line(files.proc / "stat"));
  std::string name;
  stat >> name;
  double ticks = 0;
  int field = 0;
  while (field < 8 && stat >> ticks) ++field;
  if (name == "cpu" && field == 8) conditions.steal_s = ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  conditions.load_average = number_in(files.proc / "loadavg");
  conditions.drive_celsius = hottest_drive(files);
  return conditions;
}

std::vector<std::string> disturbances(const Conditions& before, const Conditions& after, double wall_s, int num_cores) {
  std::vector<std::string> found;
  if (before.throttle_count && after.throttle_count && *after.throttle_count > *before.throttle_count) {
    found.push_back(fmt::format("the CPU throttled {} times", *after.throttle_count - *before.throttle_count));
  }
  if (before.steal_s && after.steal_s && *after.steal_s - *before.steal_s > 0.01 * wall_s * num_cores) {
    found.push_back(fmt::format("the hypervisor gave {:.1f} % of the processor time to others",
                                100 * (*after.steal_s - *before.steal_s) / (wall_s * num_cores)));
  }
  if (before.load_average && *before.load_average > 0.25 * num_cores) {
    found.push_back(fmt::format("other programs were running at the start (load average {:.1f} on {} cores)",
                                *before.load_average, num_cores));
  }
  constexpr double kHot_celsius = 70;  // consumer drives begin to throttle between 70 and 80
  if (after.drive_celsius && *after.drive_celsius >= kHot_celsius) {
    found.push_back(fmt::format("a drive reached {:.0f} degrees", *after.drive_celsius));
  }
  return found;
}

}  // namespace reprefill::calibrate
