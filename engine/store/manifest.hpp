// store.json: what every segment of a store has in common.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/kv_view.hpp"
#include "engine/store/stored_layout.hpp"

namespace reprefill::engine {

/// Readers refuse a newer major version; a newer minor one only adds what may be ignored.
inline constexpr std::uint16_t kStoreMajorVersion = 1;
inline constexpr std::uint16_t kStoreMinorVersion = 2;

/// What the bytes of K and V depend on.
struct StoreGeometry {
  std::uint32_t num_layers = 0;
  std::uint32_t num_query_heads = 0;
  std::uint32_t num_kv_heads = 0;
  std::uint32_t head_dim = 0;
  KvType kv_type = KvType::bf16;
  bool operator==(const StoreGeometry&) const = default;

  static StoreGeometry of(const ModelGeometry& model);
  /// For StoreLayout: only the members that a layout depends on are filled.
  ModelGeometry as_model() const;
  Bytes tensor_bytes_per_token() const {
    return Bytes{std::uint64_t{num_kv_heads} * head_dim * bytes_per_element(kv_type)};
  }
  /// nullopt, or what is wrong with numbers that came from a file.
  std::optional<std::string> problem() const;
  std::string to_string() const;
};

/// Whose KV a store holds.
struct StoreModel {
  std::string name;  // for messages
  std::uint64_t fingerprint = 0;
  StoreGeometry geometry = {};
};

struct StoreManifest {
  StoreModel model = {};
  std::uint32_t store_block_tokens = 64;
  std::vector<StoredLayout> layouts = {};  // by name, each once, at least one
};

/// Throws ConfigError: no layouts, two of one name, block sizes that do not divide, a name too long for a file.
void check_manifest(const StoreManifest& manifest, std::string_view place);

std::string write_manifest(const StoreManifest& manifest);
/// Throws ConfigError for a file that is none or newer, MachineError for a damaged one (it carries its checksum).
StoreManifest parse_manifest(std::string_view text, std::string_view place);

std::filesystem::path manifest_path(const std::filesystem::path& store);
std::filesystem::path segments_path(const std::filesystem::path& store);
std::string layout_file_name(const StoredLayout& layout);  // "layer-apart-64.kv"

}  // namespace reprefill::engine
