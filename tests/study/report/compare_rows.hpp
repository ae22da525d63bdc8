// A row of `compare` by hand.
#pragma once

#include "core/base/json.hpp"

namespace reprefill::study {

inline Json cell(const char* name, double real_ms, double predicted_ms, const char* verdict = "within") {
  return {{"name", name},
          {"real_ms", real_ms},
          {"real_p10_ms", real_ms * 0.9},
          {"real_p90_ms", real_ms * 1.1},
          {"spread", 0.1},
          {"predicted_ms", predicted_ms},
          {"error", real_ms > 0 ? Json(predicted_ms / real_ms - 1) : Json(nullptr)},
          {"verdict", verdict}};
}

inline Json compare_row(int point, const char* label) {
  return {{"schema_version", 1},
          {"kind", "compare"},
          {"point", point},
          {"label", label},
          {"axes", {{"budget", 0.25}}},
          {"ttft", cell("ttft", 20, 18)},
          {"equality", {{"checked", true}, {"equal", true}, {"first_difference", ""}}},
          {"requests", {cell("0", 19, 18), cell("1", 21, 18, "undecidable")}},
          {"distribution", Json::array()},
          {"classes", {cell("gpu_compute", 20, 18), cell("ssd", 0, 0)}},
          {"spans", {cell("attend on gpu_compute", 12, 10, "outside")}}};
}

}  // namespace reprefill::study
