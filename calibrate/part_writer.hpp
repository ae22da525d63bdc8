// A part of a bundle's model.json: numbers, each with its source.
#pragma once

#include <cmath>
#include <optional>
#include <string>

#include "calibrate/meter/measurement.hpp"
#include "calibrate/meter/statistics.hpp"
#include "core/base/error.hpp"

namespace reprefill::calibrate {

class PartWriter {
 public:
  explicit PartWriter(std::string name) { json_["name"] = std::move(name); }
  template <typename Number>
  void set(const char* key, Number value, std::string source) {
    json_[key] = value;
    sources_[key] = std::move(source);
  }
  Json take() {
    json_["sources"] = sources_;
    return json_;
  }

 private:
  Json json_ = Json::object();
  Json sources_ = Json::object();
};

inline std::int64_t whole(double value) { return std::llround(value); }

/// The median of a quantity's metric over the cell whose shape has this value; over the first cell without a key.
inline std::optional<double> median_of(const std::vector<Measured>& cells, const std::string& quantity,
                                       std::size_t metric = 0, const char* key = nullptr, double value = 0) {
  for (const Measured& cell : cells) {
    if (cell.spec.quantity != quantity) continue;
    if (key == nullptr || cell.spec.shape.at(key).get<double>() == value) return median(cell.of(metric));
  }
  return std::nullopt;
}

inline double must(const std::optional<double>& value, const char* what) {
  REPREFILL_CHECK(value.has_value(), "{} was not measured", what);
  return *value;
}

}  // namespace reprefill::calibrate
