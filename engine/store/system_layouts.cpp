#include "engine/store/system_layouts.hpp"

#include <algorithm>

#include "core/pipeline/system.hpp"

namespace reprefill::engine {

std::optional<StoredLayout> layout_of_system(std::string_view name, const Json& resolved, pipeline::PathKind path,
                                             const ModelGeometry& geometry) {
  const Json wanted = std::string(name);
  const pipeline::SystemEntry& entry = pipeline::find_system(JsonValue(wanted, "store"));
  const pipeline::SystemEnvironment environment{.geometry = geometry,
                                                .path = pipeline::default_software_path(path),
                                                .segment_tokens = [](SegmentId) { return std::uint32_t{0}; }};
  const auto system = entry.make(resolved, environment);
  if (system->store_layout() == nullptr) return std::nullopt;
  return make_stored_layout(*system->store_layout());
}

std::vector<StoredLayout> default_layouts(const ModelGeometry& geometry) {
  std::vector<StoredLayout> needed;
  const Json none = Json::object();
  for (const pipeline::SystemEntry& entry : pipeline::system_registry()) {
    if (entry.is_preset) continue;
    for (const pipeline::PathKind path : {pipeline::PathKind::prototype, pipeline::PathKind::direct}) {
      const Json resolved = entry.resolve(JsonValue(none, entry.name), path);
      if (const auto layout = layout_of_system(entry.name, resolved, path, geometry)) needed.push_back(*layout);
    }
  }
  return union_of_layouts(std::move(needed));
}

std::vector<StoredLayout> parse_layouts(std::string_view text, const ModelGeometry& geometry,
                                        std::uint32_t store_block_tokens) {
  std::vector<StoredLayout> layouts;
  while (text != "all") {
    const std::size_t comma = text.find(',');
    layouts.push_back(parse_layout_name(text.substr(0, comma), "--layouts"));
    if (layouts.back().permutation) {
      throw ConfigError(
          fmt::format("--layouts {}: is written by `reprefill store reorder`, out of the same without +reordered",
                      layout_name(layouts.back())));
    }
    geometry.num_probed_kv_heads(layouts.back().probe_heads);  // throws for a head that the model does not have
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  if (layouts.empty()) layouts = default_layouts(geometry);
  for (const StoredLayout& layout : layouts) {
    layout::check_block_tokens("--layouts " + layout_name(layout), layout.kv.block_tokens, store_block_tokens);
    if (layout.digest_tokens == 0) continue;
    layout::check_block_tokens("--layouts " + layout_name(layout), layout.digest_tokens, store_block_tokens);
  }
  return union_of_layouts(std::move(layouts));
}

}  // namespace reprefill::engine
