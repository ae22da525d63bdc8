// A small sweep, run as a user would.
#pragma once

#include <gtest/gtest.h>

#include "core/base/json.hpp"
#include "tests/support/program.hpp"

namespace reprefill {

using test_support::ProgramResult;
using test_support::read_text;
using test_support::run_program;
using test_support::TemporaryFolder;
using test_support::write_text;

/// 28 points, a second or so of work.
inline Json small_sweep(int measured_requests) {
  return {{"name", "small"},
          {"model", "qwen2.5-0.5b"},
          {"profile", "a800-990pro"},
          {"systems", {"recompute", "attention_store", "impress", "contiguous_kv"}},
          {"workload",
           {{"kind", "prefix_pool"},
            {"prefix_tokens", 1000},
            {"suffix_tokens", 20},
            {"num_prefixes", 6},
            {"measured_requests", measured_requests}}},
          {"axes",
           {{"software_path", {"prototype", "direct"}}, {"gpu_cache", {"4 MB", "20 MB"}}, {"host_cache", {"10 MB"}}}},
          {"repeats", 2},
          {"mass_requests", 2}};
}

class Sweep : public testing::Test {
 protected:
  void SetUp() override { write_scenario(small_sweep(20)); }
  void write_scenario(const Json& json) { write_text(scenario(), json.dump()); }
  std::string scenario() const { return (folder_ / "small.json").string(); }
  std::string out(const char* name) const { return (folder_ / name).string(); }
  ProgramResult sweep(const char* name, const std::string& options = "") {
    return run_program("sweep " + scenario() + " --quiet --out " + out(name) + " " + options);
  }
  TemporaryFolder folder_;
};

}  // namespace reprefill
