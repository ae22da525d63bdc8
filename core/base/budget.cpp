#include "core/base/budget.hpp"

#include <array>
#include <charconv>
#include <numeric>
#include <stdexcept>

#include <fmt/format.h>

namespace reprefill {
namespace {

// Large enough for any budget that a person writes; small enough that numerator * tokens fits in 64 bits.
constexpr std::uint64_t kMaxDenominator = 1'000'000'000;

std::uint64_t parse_digits(std::string_view digits, std::string_view whole) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size() || value > kMaxDenominator) {
    throw std::invalid_argument(
        fmt::format("`{}` is not a budget: expected a decimal such as 0.05 (at most nine places) or \"1/3\"", whole));
  }
  return value;
}

Budget checked(std::uint64_t numerator, std::uint64_t denominator, std::string_view text) {
  if (denominator == 0 || numerator == 0 || numerator > denominator) {
    throw std::invalid_argument(fmt::format("budget {} is outside (0, 1]", text));
  }
  const std::uint64_t divisor = std::gcd(numerator, denominator);
  return Budget(numerator / divisor, denominator / divisor);
}

}  // namespace

Budget Budget::parse(std::string_view text) {
  if (text.starts_with('-')) throw std::invalid_argument(fmt::format("budget {} is outside (0, 1]", text));
  if (const auto slash = text.find('/'); slash != std::string_view::npos) {
    return checked(parse_digits(text.substr(0, slash), text), parse_digits(text.substr(slash + 1), text), text);
  }
  const auto point = text.find('.');
  const std::string_view whole = text.substr(0, point);
  const std::string_view decimals = point == std::string_view::npos ? std::string_view{} : text.substr(point + 1);
  if (decimals.size() > 9) parse_digits({}, text);
  std::uint64_t denominator = 1;
  for (std::size_t i = 0; i < decimals.size(); ++i) denominator *= 10;
  const std::uint64_t integer = parse_digits(whole, text);
  if (integer > 1) throw std::invalid_argument(fmt::format("budget {} is outside (0, 1]", text));
  const std::uint64_t fraction = decimals.empty() ? 0 : parse_digits(decimals, text);
  return checked(integer * denominator + fraction, denominator, text);
}

Budget Budget::from_double(double value) {
  // Fixed notation: 0.00001 would print as 1e-05. What does not fit in the buffer has far more than nine places.
  std::array<char, 32> text;
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  return error == std::errc{} ? parse({text.data(), end}) : parse(fmt::format("{}", value));
}

std::string Budget::to_string() const {
  if (kMaxDenominator % denominator_ != 0) return fmt::format("{}/{}", numerator_, denominator_);
  if (is_everything()) return "1";
  std::string decimal = fmt::format("0.{:09}", numerator_ * (kMaxDenominator / denominator_));
  decimal.erase(decimal.find_last_not_of('0') + 1);
  return decimal;
}

}  // namespace reprefill
