// One thing of a point changed, everything else the same: what it would gain is simulated, not estimated.
#pragma once

#include <string>
#include <vector>

#include "sim/scenario/scenario.hpp"

namespace reprefill::study {

struct WhatIf {
  std::string name;    // "ssd_twice_as_fast"
  std::string change;  // in words
  bool floor = false;  // beyond what can be bought or written: a bound
  sim::Point point;
};

/// The changes that mean something at this point: of the software path, of each device, and the bound of each.
std::vector<WhatIf> what_ifs(const sim::Point& point);

}  // namespace reprefill::study
