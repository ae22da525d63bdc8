// The files that a new system starts from.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace reprefill::cli {

/// Writes NAME.cpp, NAME_test.cpp, NAME.json and CMakeLists.txt from cli/templates into `out`; returns their paths.
/// Throws ConfigError: no name for a system, one that is taken, a file that is there already.
std::vector<std::filesystem::path> write_new_system(const std::string& name, const std::filesystem::path& out,
                                                    const std::filesystem::path& home);

}  // namespace reprefill::cli
