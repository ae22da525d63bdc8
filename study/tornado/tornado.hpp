// How much a result hangs on each thing that the sources leave open: every assumption is varied alone, and the points
// are simulated again.
#pragma once

#include <atomic>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "sim/simulation/run_point.hpp"

namespace reprefill::study {

/// One row of study/tornado/assumptions.json.
struct Assumption {
  std::string id;
  std::string what;
  std::string path = "";               // what is set; "" where nothing is varied
  std::vector<Json> values = {};       // other readings than the default
  std::vector<std::string> only = {};  // systems that it concerns; empty: all
  std::string not_varied = "";         // why
};
/// Throws ConfigError.
std::vector<Assumption> read_assumptions(const JsonValue& file);

struct TornadoOptions {
  std::string system = "contiguous_kv";  // label
  std::string over = "";                 // label of a baseline: the speed-up over it is watched, else the TTFT alone
  std::size_t jobs = 1;
};

struct TornadoRun {
  double ttft_ms = 0;
  double over_ms = 0;  // 0 without a baseline

  double speed_up() const { return over_ms / ttft_ms; }
};

struct TornadoBar {
  Assumption assumption;
  struct Reading {
    Json value;
    TornadoRun run;
  };
  std::vector<Reading> readings;
  double swing = 0;  // of the largest reading: |ratio to the base - 1| of the speed-up, or of the TTFT
};

struct Tornado {
  TornadoRun base;
  Json settings;                 // axes that were held
  std::vector<TornadoBar> bars;  // the largest swing first
  std::vector<Assumption> not_varied;
};

/// The scenario's first setting of every axis and first replica. Throws ConfigError (no such system, a reading that the
/// scenario refuses), Interrupted.
Tornado tornado(const std::filesystem::path& scenario, const std::vector<sim::Override>& overrides,
                const std::vector<Assumption>& assumptions, const TornadoOptions& options,
                const sim::ScenarioContext& context, const std::atomic<bool>& interrupted);

std::string tornado_text(const Tornado& tornado, const TornadoOptions& options);
Json tornado_json(const Tornado& tornado);

}  // namespace reprefill::study
