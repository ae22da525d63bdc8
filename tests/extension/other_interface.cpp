// A plugin from the future: only its numbers may be looked at.
#include "core/pipeline/plugin.hpp"

extern "C" void reprefill_plugin_info(reprefill::pipeline::PluginInfo* info) {
  *info = {.interface_version = 999, .layout = 1};
}
extern "C" void reprefill_plugin_systems(std::vector<reprefill::pipeline::SystemEntry>*) { __builtin_abort(); }
