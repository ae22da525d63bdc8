#include "cli/new_system.hpp"

#include <algorithm>
#include <utility>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/pipeline/system.hpp"

namespace reprefill::cli {
namespace {

void check_name(const std::string& name) {
  const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
  const bool sound =
      !name.empty() && is_lower(name.front()) && name.size() <= 60 &&
      std::all_of(name.begin(), name.end(), [&](char c) { return is_lower(c) || (c >= '0' && c <= '9') || c == '_'; });
  if (!sound) {
    throw ConfigError(fmt::format("--new: found \"{}\"; expected a name in lower case such as my_system", name));
  }
  for (const pipeline::SystemEntry& system : pipeline::system_registry()) {
    if (system.name == name) throw ConfigError(fmt::format("--new: there is a system \"{}\" already", name));
  }
}

/// my_system -> MySystem.
std::string class_name(const std::string& name) {
  std::string result;
  bool capital = true;
  for (const char c : name) {
    if (c != '_') result += capital && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    capital = c == '_';
  }
  return result;
}

std::string filled_in(std::string text, const std::vector<std::pair<std::string, std::string>>& values) {
  for (const auto& [mark, value] : values) {
    for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += value.size()) {
      text.replace(at, mark.size(), value);
    }
  }
  return text;
}

}  // namespace

std::vector<std::filesystem::path> write_new_system(const std::string& name, const std::filesystem::path& out,
                                                    const std::filesystem::path& home) {
  check_name(name);
  const std::pair<const char*, std::string> files[] = {{"system.cpp.in", name + ".cpp"},
                                                       {"system_test.cpp.in", name + "_test.cpp"},
                                                       {"scenario.json.in", name + ".json"},
                                                       {"CMakeLists.txt.in", "CMakeLists.txt"}};
  for (const auto& [source, target] : files) {
    if (std::filesystem::exists(out / target)) {
      throw ConfigError(fmt::format("{}: is there already; name another folder with --out", (out / target).string()));
    }
  }
  std::error_code error;
  std::filesystem::create_directories(out, error);
  if (error) throw ConfigError(fmt::format("{}: cannot be made: {}", out.string(), error.message()));
  std::vector<std::filesystem::path> written;
  for (const auto& [source, target] : files) {
    const std::filesystem::path file = home / "cli" / "templates" / source;
    const FileContents contents = read_whole_file(file, 0);
    write_file_atomically(out / target,
                          filled_in(std::string(contents.text()),
                                    {{"@NAME@", name}, {"@CLASS@", class_name(name)}, {"@SOURCE@", home.string()}}));
    written.push_back(out / target);
  }
  return written;
}

}  // namespace reprefill::cli
