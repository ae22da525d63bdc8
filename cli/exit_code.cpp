// How a program ends: one line on standard error, one exit code (docs/architecture.md).
#include <cstdio>

#include "cli/verbs.hpp"
#include "core/base/error.hpp"

namespace reprefill::cli {
namespace {

int fail(ExitCode code, const std::string& what, std::string* message) {
  fmt::print(stderr, "reprefill: {}\n", what);
  if (message != nullptr) *message = what;
  return static_cast<int>(code);
}

}  // namespace

int exit_code_of(CLI::App& app, const std::function<void()>& program, std::string* message) {
  try {
    program();
    return static_cast<int>(ExitCode::success);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : static_cast<int>(ExitCode::input);
  } catch (const ConfigError& error) {
    return fail(ExitCode::input, error.what(), message);
  } catch (const MachineError& error) {
    return fail(ExitCode::machine, error.what(), message);
  } catch (const Interrupted&) {
    return fail(ExitCode::interrupted, "interrupted; finished results are kept", message);
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(ExitCode::machine, error.what(), message);
  } catch (const std::bad_alloc&) {
    return fail(ExitCode::machine, "out of memory", message);
  } catch (const std::exception& error) {
    return fail(ExitCode::machine, fmt::format("internal error, please report: {}", error.what()), message);
  }
}

}  // namespace reprefill::cli
