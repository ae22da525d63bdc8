#include "core/pipeline/plugin.hpp"

#include <dlfcn.h>

namespace reprefill::pipeline {
namespace {

template <typename Function>
Function* symbol_of(void* library, const std::filesystem::path& path, const char* name) {
  auto* found = reinterpret_cast<Function*>(dlsym(library, name));
  if (found != nullptr) return found;
  throw ConfigError(
      fmt::format("{}: is no plugin of reprefill: it has no {}; end its source with REPREFILL_PLUGIN and "
                  "define REPREFILL_BUILDS_PLUGIN",
                  path.string(), name));
}

void* open(const std::filesystem::path& path, int binding) {
  void* library = dlopen(path.c_str(), binding | RTLD_LOCAL);
  if (library == nullptr) throw ConfigError(fmt::format("{}: cannot be loaded: {}", path.string(), dlerror()));
  return library;
}

void check_interface(const PluginInfo& info, const std::filesystem::path& path) {
  const PluginInfo mine;
  if (info.interface_version != mine.interface_version) {
    throw ConfigError(fmt::format("{}: built for plugin interface {}, this reprefill has {}; build it again",
                                  path.string(), info.interface_version, mine.interface_version));
  }
  if (info.layout != mine.layout) {
    throw ConfigError(
        fmt::format("{}: built with other headers or another compiler: layout {:016x}, this reprefill has "
                    "{:016x}; build it again",
                    path.string(), info.layout, mine.layout));
  }
}

}  // namespace

void load_plugin(const std::filesystem::path& library) {
  if (!std::filesystem::is_regular_file(library)) {
    throw ConfigError(fmt::format("{}: no such file; a plugin is a shared library", library.string()));
  }
  const std::filesystem::path path = std::filesystem::absolute(library);  // a bare name would be searched for elsewhere
  // Lazily first: one of another version may want symbols that are not there, and its number says more than they do.
  void* opened = open(path, RTLD_LAZY);
  PluginInfo info{.interface_version = 0, .layout = 0};
  symbol_of<void(PluginInfo*)>(opened, path, "reprefill_plugin_info")(&info);
  check_interface(info, path);
  open(path, RTLD_NOW);
  std::vector<SystemEntry> systems;
  symbol_of<void(std::vector<SystemEntry>*)>(opened, path, "reprefill_plugin_systems")(&systems);
  for (SystemEntry& system : systems) register_system(std::move(system), path.string());
}

}  // namespace reprefill::pipeline
