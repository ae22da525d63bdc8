#include "engine/store/manifest.hpp"

#include <algorithm>
#include <charconv>
#include <span>

#include "engine/store/checksums.hpp"

namespace reprefill::engine {
namespace {

constexpr const char* kFormat = "reprefill-store";
constexpr std::size_t kMaxLayoutName = 200;  // file systems take 255 bytes, temporary names need some

std::string hex64(std::uint64_t value) { return fmt::format("{:016x}", value); }

std::uint64_t text_checksum(const Json& json) {
  const std::string text = json.dump();
  return checksum64(std::as_bytes(std::span(text)));
}

std::uint64_t read_hex(const JsonValue& value) {
  const std::string text = value.as_string();
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  if (text.size() != 16 || error != std::errc{} || end != text.data() + text.size()) {
    value.fail_expected("16 hexadecimal digits");
  }
  return number;
}

void check_version(const JsonValue& root) {
  const std::int64_t major = root.key("format_version").element(0).as_integer(1, 65535, "");
  if (major > kStoreMajorVersion) {
    root.fail(
        fmt::format("the store has format version {}; this program reads version {}: use the reprefill that "
                    "wrote it, or build the store again",
                    major, kStoreMajorVersion));
  }
}

StoreGeometry read_geometry(const JsonValue& json) {
  const auto number = [&](const char* key, int maximum) {
    return static_cast<std::uint32_t>(json.key(key).as_integer(1, maximum, ""));
  };
  StoreGeometry geometry{.num_layers = number("num_layers", 511),
                         .num_query_heads = number("num_query_heads", 4096),
                         .num_kv_heads = number("num_kv_heads", 4096),
                         .head_dim = number("head_dim", 65536)};
  const JsonValue type = json.key("kv_dtype");
  if (type.as_string() != "bf16" && type.as_string() != "fp32") type.fail_expected("bf16 or fp32");
  geometry.kv_type = type.as_string() == "bf16" ? KvType::bf16 : KvType::fp32;
  if (const auto problem = geometry.problem()) json.fail(*problem);
  return geometry;
}

}  // namespace

StoreGeometry StoreGeometry::of(const ModelGeometry& model) {
  REPREFILL_CHECK(model.kv_element_bytes == 2 || model.kv_element_bytes == 4, "KV elements of {} bytes",
                  model.kv_element_bytes);
  return {.num_layers = static_cast<std::uint32_t>(model.num_layers),
          .num_query_heads = static_cast<std::uint32_t>(model.num_query_heads),
          .num_kv_heads = static_cast<std::uint32_t>(model.num_kv_heads),
          .head_dim = static_cast<std::uint32_t>(model.head_dim),
          .kv_type = model.kv_element_bytes == 2 ? KvType::bf16 : KvType::fp32};
}

ModelGeometry StoreGeometry::as_model() const {
  ModelGeometry model;
  model.name = "the store's model";
  model.num_layers = static_cast<int>(num_layers);
  model.num_query_heads = static_cast<int>(num_query_heads);
  model.num_kv_heads = static_cast<int>(num_kv_heads);
  model.head_dim = static_cast<int>(head_dim);
  model.kv_element_bytes = static_cast<int>(bytes_per_element(kv_type));
  return model;
}

std::optional<std::string> StoreGeometry::problem() const {
  const bool plausible = num_layers >= 1 && num_layers <= 511 && num_query_heads >= 1 && num_query_heads <= 4096 &&
                         num_kv_heads >= 1 && num_kv_heads <= num_query_heads && num_query_heads % num_kv_heads == 0 &&
                         head_dim >= 1 && head_dim <= 65536;
  // 16 MiB for K of one token in one layer: far beyond any model, and products of it stay below 2^63.
  if (!plausible || tensor_bytes_per_token().value > std::uint64_t{1} << 24) {
    return fmt::format("no decoder has {}", to_string());
  }
  return std::nullopt;
}

std::string StoreGeometry::to_string() const {
  return fmt::format("{} layers, {} query heads, {} KV heads of {} {} elements", num_layers, num_query_heads,
                     num_kv_heads, head_dim, kv_type == KvType::bf16 ? "bf16" : "fp32");
}

void check_manifest(const StoreManifest& manifest, std::string_view place) {
  if (manifest.store_block_tokens == 0) {
    throw ConfigError(fmt::format("{}: found store_block_tokens 0; expected 1 or more", place));
  }
  if (manifest.layouts.empty()) throw ConfigError(fmt::format("{}: no layouts; expected at least one", place));
  std::string last;
  for (const StoredLayout& layout : manifest.layouts) {
    const std::string name = layout_name(layout);
    const std::string where = fmt::format("{}: layout {}", place, name);
    if (name <= last) throw ConfigError(fmt::format("{}: layouts must be in order of name, each once", where));
    if (name.size() > kMaxLayoutName) {
      throw ConfigError(fmt::format(
          "{}: its name has {} letters; at most {} fit a file name: probe fewer heads, or heads side by side", where,
          name.size(), kMaxLayoutName));
    }
    StoredLayout plain = layout;
    plain.permutation = false;
    if (std::find(manifest.layouts.begin(), manifest.layouts.end(), plain) == manifest.layouts.end()) {
      throw ConfigError(
          fmt::format("{}: expected {} beside it: `reprefill store reorder` makes the one out of the other", where,
                      layout_name(plain)));
    }
    layout::check_block_tokens(where, layout.kv.block_tokens, manifest.store_block_tokens);
    if (layout.digest_tokens > 0) {
      layout::check_block_tokens(where + ": digest", layout.digest_tokens, manifest.store_block_tokens);
    }
    for (const int head : layout.probe_heads) {
      if (head >= static_cast<int>(manifest.model.geometry.num_query_heads)) {
        throw ConfigError(fmt::format("{}: found probe head {}; expected 0 to {}", where, head,
                                      manifest.model.geometry.num_query_heads - 1));
      }
    }
    last = name;
  }
}

/// {"format": "reprefill-store", "format_version": [1, 2], "model": {...}, "store_block_tokens": 64, "layouts": [...],
/// "checksum": XXH3 of the text without this key}
std::string write_manifest(const StoreManifest& manifest) {
  const StoreGeometry& geometry = manifest.model.geometry;
  Json json = {{"format", kFormat},
               {"format_version", {kStoreMajorVersion, kStoreMinorVersion}},
               {"model",
                {{"name", manifest.model.name},
                 {"fingerprint", hex64(manifest.model.fingerprint)},
                 {"num_layers", geometry.num_layers},
                 {"num_query_heads", geometry.num_query_heads},
                 {"num_kv_heads", geometry.num_kv_heads},
                 {"head_dim", geometry.head_dim},
                 {"kv_dtype", geometry.kv_type == KvType::bf16 ? "bf16" : "fp32"}}},
               {"store_block_tokens", manifest.store_block_tokens}};
  for (const StoredLayout& layout : manifest.layouts) {
    json["layouts"].push_back({{"name", layout_name(layout)},
                               {"kv_layout", layout::kv_layout_params().write(layout.kv)},
                               {"identification_period_layers", layout.identification_period},
                               {"identification", enum_name(layout.digest)},
                               {"probe_heads", layout.probe_heads},
                               {"permutation", layout.permutation}});
  }
  json["checksum"] = hex64(text_checksum(json));
  return json.dump(2) + "\n";
}

StoreManifest parse_manifest(std::string_view text, std::string_view place) {
  const Json json = parse_json(text, place);
  const JsonValue root(json, std::string(place));
  root.require_object();
  if (!root.has("format") || root.key("format").as_string() != kFormat) {
    root.fail(fmt::format("is not the description of a store; expected \"format\": \"{}\"", kFormat));
  }
  check_version(root);
  Json content = json;
  content.erase("checksum");
  if (read_hex(root.key("checksum")) != text_checksum(content)) {
    throw MachineError(fmt::format("{}: damaged, or changed by hand: its checksum does not fit", place));
  }
  const JsonValue model = root.key("model");
  StoreManifest manifest{
      .model = {.name = model.key("name").as_string(),
                .fingerprint = read_hex(model.key("fingerprint")),
                .geometry = read_geometry(model)},
      .store_block_tokens = static_cast<std::uint32_t>(root.key("store_block_tokens").as_integer(1, 1 << 24, "tokens")),
      .layouts = {}};
  const JsonValue layouts = root.key("layouts");
  layouts.require_array();
  for (std::size_t i = 0; i < layouts.json().size(); ++i) {
    const JsonValue name = layouts.element(i).key("name");
    manifest.layouts.push_back(parse_layout_name(name.as_string(), fmt::format("{}: {}", place, name.path())));
  }
  check_manifest(manifest, place);
  return manifest;
}

std::filesystem::path manifest_path(const std::filesystem::path& store) { return store / "store.json"; }
std::filesystem::path segments_path(const std::filesystem::path& store) { return store / "segments"; }
std::string layout_file_name(const StoredLayout& layout) { return layout_name(layout) + ".kv"; }

}  // namespace reprefill::engine
