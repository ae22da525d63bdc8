#include "core/base/budget.hpp"

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

Budget Budget::from_double(double value) { return parse(fmt::format("{}", value)); }

std::string Budget::to_string() const {
  std::uint64_t rest = denominator_;
  while (rest % 2 == 0) rest /= 2;
  while (rest % 5 == 0) rest /= 5;
  return rest == 1 ? fmt::format("{}", as_double()) : fmt::format("{}/{}", numerator_, denominator_);
}

}  // namespace reprefill
