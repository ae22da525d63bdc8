// Errors, by who can act on them (docs/architecture.md, "Errors"). `main` maps each kind to its exit code.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace reprefill {

enum class ExitCode : int { success = 0, input = 2, machine = 3, skipped = 77, interrupted = 130 };

/// The user can act: a wrong key, value, file or argument. The message names the place, what was found, what is
/// allowed.
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The machine failed: a call into the operating system or a device, a full disk. Names the call, the error, the place.
class MachineError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The user asked to stop; what was finished is kept.
class Interrupted : public std::runtime_error {
 public:
  Interrupted() : std::runtime_error("interrupted") {}
};

/// A broken invariant of our own: never the user's fault.
class InvariantError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

namespace detail {
[[noreturn]] void fail_check(std::string_view condition, std::string_view why, const char* file, int line);
}  // namespace detail

}  // namespace reprefill

/// Checks an invariant, in Release too. `why` is a fmt format string; the values that matter follow it.
#define REPREFILL_CHECK(condition, ...)                                                            \
  do {                                                                                             \
    if (!(condition)) [[unlikely]] {                                                               \
      ::reprefill::detail::fail_check(#condition, ::fmt::format(__VA_ARGS__), __FILE__, __LINE__); \
    }                                                                                              \
  } while (false)
