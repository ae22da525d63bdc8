// Runs the `reprefill` program as a user would.
#pragma once

#include <array>
#include <cstdio>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/temporary_folder.hpp"

namespace reprefill::test_support {

struct ProgramResult {
  int exit_code = -1;
  std::string output;  // standard output and error together
};

/// A line of shell text.
inline ProgramResult run_command(const std::string& command) {
  ProgramResult result;
  std::FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 4096> buffer;
  for (std::size_t count; (count = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    result.output.append(buffer.data(), count);
  const int status = pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

/// `arguments` is shell text; the program's path is compiled in.
inline ProgramResult run_program(const std::string& arguments) {
  return run_command(std::string(REPREFILL_PROGRAM) + " " + arguments);
}

}  // namespace reprefill::test_support
