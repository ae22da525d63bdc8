#include "core/base/error.hpp"

namespace reprefill::detail {

void fail_check(std::string_view condition, std::string_view why, const char* file, int line) {
  throw InvariantError(fmt::format("{}:{}: check `{}` failed: {}", file, line, condition, why));
}

}  // namespace reprefill::detail
