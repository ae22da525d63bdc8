#include "calibrate/meter/environment.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.hpp"

namespace reprefill::calibrate {
namespace {

using test_support::TemporaryFolder;
using testing::HasSubstr;
using testing::IsEmpty;

/// A machine of two cores in a folder.
class FakeMachine {
 public:
  FakeMachine() {
    write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Test CPU 9000\nflags\t\t: fpu hypervisor\n");
    write("proc/meminfo", "MemTotal:       16000000 kB\n");
    write("proc/stat", "cpu  100 0 50 1000 5 0 0 200 0 0\n");
    write("proc/loadavg", "1.50 1.00 0.50 2/300 12345\n");
    for (const char* cpu : {"cpu0", "cpu1"}) {
      write(std::string("sys/devices/system/cpu/") + cpu + "/cpufreq/scaling_cur_freq", "2500000\n");
      write(std::string("sys/devices/system/cpu/") + cpu + "/thermal_throttle/core_throttle_count", "3\n");
    }
    write("sys/devices/system/cpu/cpufreq/boost", "1\n");  // a folder that is no core
    write("sys/class/hwmon/hwmon0/name", "coretemp\n");
    write("sys/class/hwmon/hwmon0/temp1_input", "90000\n");
    write("sys/class/hwmon/hwmon1/name", "nvme\n");
    write("sys/class/hwmon/hwmon1/temp1_input", "41500\n");
  }
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    test_support::write_text(folder_ / name, text);
  }
  SystemFiles files() const { return {.proc = folder_ / "proc", .sys = folder_ / "sys"}; }

 private:
  TemporaryFolder folder_;
};

TEST(Environment, TheMachineIsNamedFromTheKernelsFiles) {
  const Json machine = describe_machine(FakeMachine().files());
  EXPECT_EQ(machine["cpu"], "Test CPU 9000");
  EXPECT_EQ(machine["cores"], 2);
  EXPECT_EQ(machine["memory_total"], "16000000 kB");
  EXPECT_EQ(machine["virtual_machine"], true);
}

TEST(Environment, ConditionsComeFromAllCoresAndDrivesOnly) {
  const Conditions conditions = read_conditions(FakeMachine().files());
  EXPECT_EQ(conditions.cpu_mhz, 2500);
  EXPECT_EQ(conditions.throttle_count, 6u);
  EXPECT_EQ(conditions.steal_s, 200.0 / static_cast<double>(sysconf(_SC_CLK_TCK)));
  EXPECT_EQ(conditions.load_average, 1.5);
  EXPECT_EQ(conditions.drive_celsius, 41.5);
}

TEST(Environment, WhatAMachineDoesNotShowIsAbsentNotZero) {
  const TemporaryFolder folder;
  const Conditions conditions = read_conditions({.proc = folder / "proc", .sys = folder / "sys"});
  EXPECT_FALSE(conditions.cpu_mhz || conditions.throttle_count || conditions.steal_s || conditions.drive_celsius);
  EXPECT_TRUE(conditions.to_json().empty());
}

TEST(Environment, AQuietRunHasNothingToSay) {
  const Conditions quiet{.cpu_mhz = 2500, .throttle_count = 6, .steal_s = 1, .load_average = 0.1, .drive_celsius = 40};
  EXPECT_THAT(disturbances(quiet, quiet, 10, 4), IsEmpty());
}

TEST(Environment, ThrottlingStealLoadAndHeatAreSaid) {
  const Conditions before{.throttle_count = 6, .steal_s = 1, .load_average = 3, .drive_celsius = 40};
  const Conditions after{.throttle_count = 9, .steal_s = 5, .load_average = 3, .drive_celsius = 75};
  const std::vector<std::string> said = disturbances(before, after, 10, 4);
  ASSERT_EQ(said.size(), 4u);
  EXPECT_THAT(said[0], HasSubstr("throttled 3 times"));
  EXPECT_THAT(said[1], HasSubstr("10.0 %"));
  EXPECT_THAT(said[2], HasSubstr("load average 3.0 on 4 cores"));
  EXPECT_THAT(said[3], HasSubstr("75 degrees"));
}

TEST(Environment, APathOnTheRootFileSystemIsOnTheSystemDisk) {
  EXPECT_TRUE(find_block_device("/").is_system_disk);
  EXPECT_FALSE(find_block_device("/proc").is_system_disk);
  EXPECT_EQ(find_block_device("/proc").name, "");
}

TEST(Environment, ABundleOfAnotherMachineOrThreadCountIsSaidSoAndMemoryMayGrow) {
  const FakeMachine machine;
  Json meta = {{"plan", {{"machine", describe_machine(machine.files())}, {"threads", 0}}}};
  meta["plan"]["machine"]["memory_total"] = "1 kB";
  EXPECT_TRUE(differences_of_machine(meta, 0, machine.files()).empty());
  EXPECT_TRUE(differences_of_machine(meta, 2, machine.files()).empty());  // it has two cores
  ASSERT_EQ(differences_of_machine(meta, 1, machine.files()).size(), 1u);
  EXPECT_NE(differences_of_machine(meta, 1, machine.files())[0].find("2 executor threads, here are 1"),
            std::string::npos);
  meta["plan"]["machine"]["cpu"] = "Another CPU";
  EXPECT_NE(differences_of_machine(meta, 0, machine.files())[0].find("\"Another CPU\", here \"Test CPU 9000\""),
            std::string::npos);
  EXPECT_TRUE(differences_of_machine({{"kind", "hypothetical"}}, 0, machine.files()).empty());
}

}  // namespace
}  // namespace reprefill::calibrate
