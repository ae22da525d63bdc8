// A budget: the share of chunks or tokens that a system keeps, as an exact rational in (0, 1].
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace reprefill {

/// Kept as numerator / denominator, because ceil(0.05 * 20) in floating point may be 2 (semantics 5).
class Budget {
 public:
  constexpr Budget() = default;
  constexpr Budget(std::uint64_t numerator, std::uint64_t denominator)
      : numerator_(numerator), denominator_(denominator) {}

  /// Reads "0.05" (exactly 1/20), "1" or "1/3". Throws std::invalid_argument, saying what is wrong.
  static Budget parse(std::string_view text);
  /// The decimal that a JSON number was written as: the shortest one that gives this double.
  static Budget from_double(double value);

  /// ceil(budget * count).
  constexpr std::uint64_t ceil_of(std::uint64_t count) const {
    return (numerator_ * count + denominator_ - 1) / denominator_;
  }
  constexpr double as_double() const { return static_cast<double>(numerator_) / static_cast<double>(denominator_); }
  constexpr bool is_everything() const { return numerator_ == denominator_; }
  /// "0.05" where nine places are exact, else "1/3": what `parse` reads back.
  std::string to_string() const;

  constexpr bool operator==(const Budget&) const = default;

 private:
  std::uint64_t numerator_ = 1;
  std::uint64_t denominator_ = 1;
};

}  // namespace reprefill
