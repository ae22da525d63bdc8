#pragma once

#include <span>
#include <string>
#include <string_view>

namespace reprefill {

/// "; did you mean X?" for the known name within edit distance 3 and half of the word's length, else "".
std::string did_you_mean(std::string_view found, std::span<const std::string> known);

/// "; allowed: a, b, c" preceded by the nearest name where there is one.
std::string nearest_and_allowed(std::string_view found, std::span<const std::string> known);

}  // namespace reprefill
