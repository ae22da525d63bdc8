#include "cli/python.hpp"

#include <spawn.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstring>

extern char** environ;

namespace reprefill::cli {
namespace {

/// Debian's matplotlib belongs to Debian's Python, which need not be the first on PATH.
constexpr const char* kPython = "/usr/bin/python3";

pid_t start(std::vector<std::string>& words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  // The child must see Ctrl-C though its parent ignores it meanwhile.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGINT);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  pid_t child = 0;
  const int error = posix_spawn(&child, kPython, nullptr, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    throw MachineError(fmt::format("cannot start {}: {}; scripts/setup installs it", kPython, std::strerror(error)));
  }
  return child;
}

int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw MachineError(fmt::format("waitpid: {}", std::strerror(errno)));
  }
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  return WEXITSTATUS(status);
}

}  // namespace

void run_python(const Environment& environment, const std::string& script, const std::vector<std::string>& words) {
  std::vector<std::string> all = {kPython, "-B", (environment.home / "plots" / script).string()};
  all.insert(all.end(), words.begin(), words.end());
  // Ctrl-C reaches both: the script keeps what is finished and ends, this program reports how.
  const auto before = std::signal(SIGINT, SIG_IGN);
  int code = 0;
  try {
    code = wait_for(start(all));
  } catch (...) {
    std::signal(SIGINT, before);
    throw;
  }
  std::signal(SIGINT, before);
  if (code == static_cast<int>(ExitCode::input)) {
    throw ConfigError(fmt::format("plots/{} refused its input (above)", script));
  }
  if (code == static_cast<int>(ExitCode::interrupted)) throw Interrupted();
  if (code != 0) throw MachineError(fmt::format("plots/{} ended with status {} (above)", script, code));
}

}  // namespace reprefill::cli
