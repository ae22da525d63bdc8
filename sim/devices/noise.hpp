#pragma once

#include <cmath>
#include <optional>
#include <string>

#include "core/base/random.hpp"
#include "core/base/units.hpp"

namespace reprefill::sim {

/// Residual spread of a device's durations: log-normal factors of mean 1, seeded, only on request.
class Noise {
 public:
  enum class Spread : std::uint8_t {
    each_operation,  // run to run: operations differ from each other
    and_model_error  // besides, one factor for the whole replica: a model that is off is off for all operations
  };

  Noise() = default;
  Noise(double sigma, std::uint64_t seed, std::uint64_t replica, const std::string& device,
        Spread spread = Spread::each_operation)
      : sigma_(sigma) {
    if (sigma_ == 0) return;
    stream_.emplace(seed, replica, device);
    // A stream of its own: with and without model error, operations draw the same.
    if (spread == Spread::and_model_error) model_error_ = draw(RandomStream(seed, replica, device + "/model"));
  }

  /// One factor for the whole replica that the caller has drawn, in place of one from the residual spread.
  void set_model_error(double factor) { model_error_ = factor; }

  Nanoseconds apply(Nanoseconds duration) {
    if (!stream_ && model_error_ == 1) return duration;
    const double factor = model_error_ * (stream_ ? draw(*stream_) : 1);
    return Nanoseconds{static_cast<std::int64_t>(std::ceil(static_cast<double>(duration.value) * factor))};
  }

 private:
  double draw(RandomStream& stream) const { return std::exp(stream.normal(-0.5 * sigma_ * sigma_, sigma_)); }
  double draw(RandomStream&& stream) const { return draw(stream); }

  std::optional<RandomStream> stream_;
  double sigma_ = 0;
  double model_error_ = 1;
};

}  // namespace reprefill::sim
