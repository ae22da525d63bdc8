// Systems kept outside the tree: a shared library that brings rows for the table of systems (docs/add-a-system.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "core/pipeline/system_entry.hpp"
#include "core/pipeline/system_params.hpp"

namespace reprefill::pipeline {

/// Raised with every change that a plugin can see: of Machine, System, SystemEntry, Request, PieceList, KvView, and of
/// what systems share (TieredSystem, Loader, LayerRunner).
inline constexpr std::uint32_t kPluginInterfaceVersion = 3;

/// A second look, for who forgot that: sizes of what crosses the border.
constexpr std::uint64_t plugin_layout() {
  std::uint64_t hash = 1469598103934665603u;
  for (const std::size_t size : {sizeof(SystemEntry), sizeof(SystemEnvironment), sizeof(SoftwarePath), sizeof(Request),
                                 sizeof(RequestAccount), sizeof(KvView), sizeof(PieceList), sizeof(OpState),
                                 sizeof(Selection), sizeof(LoadParams), sizeof(layout::StoreLayout)}) {
    hash = (hash ^ size) * 1099511628211u;
  }
  return hash;
}

struct PluginInfo {
  std::uint32_t interface_version = kPluginInterfaceVersion;
  std::uint64_t layout = plugin_layout();
};

/// Loads a library for the rest of the process and puts its systems into the table. Throws ConfigError: no such file,
/// no plugin, built for another interface (with both numbers), a name that is taken.
void load_plugin(const std::filesystem::path& library);

}  // namespace reprefill::pipeline

// At the end of a system's file: makes it a plugin where REPREFILL_BUILDS_PLUGIN is defined, and nothing inside the
// tree.
#ifdef REPREFILL_BUILDS_PLUGIN
#define REPREFILL_PLUGIN(entry)                                                                        \
  extern "C" void reprefill_plugin_info(::reprefill::pipeline::PluginInfo* info) { *info = {}; }       \
  extern "C" void reprefill_plugin_systems(std::vector<::reprefill::pipeline::SystemEntry>* systems) { \
    systems->push_back(entry());                                                                       \
  }
#else
#define REPREFILL_PLUGIN(entry) static_assert(true);
#endif
