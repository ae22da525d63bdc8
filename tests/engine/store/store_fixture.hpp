// Small stores with KV that a test can compute again.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include <sys/wait.h>
#include <unistd.h>

#include "engine/store/store_writer.hpp"
#include "engine/store/synthesize.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::engine::test_support {

using reprefill::test_support::read_text;
using reprefill::test_support::TemporaryFolder;
using reprefill::test_support::write_text;

/// 3 layers, 2 KV heads of 8 elements: 32 bytes of K a token and layer.
inline ModelGeometry small_model() {
  ModelGeometry model;
  model.name = "small";
  model.num_layers = 3;
  model.num_query_heads = 4;
  model.num_kv_heads = 2;
  model.head_dim = 8;
  model.vocab = 50;
  return model;
}

inline StoredLayout layout_named(std::string_view name) { return parse_layout_name(name, "test"); }

inline StoreManifest manifest_of(const ModelGeometry& model, const std::vector<std::string>& layouts,
                                 std::uint32_t block_tokens) {
  StoreManifest manifest{.model = {.name = model.name, .fingerprint = 0x1234, .geometry = StoreGeometry::of(model)},
                         .store_block_tokens = block_tokens,
                         .layouts = {}};
  for (const std::string& name : layouts) manifest.layouts.push_back(layout_named(name));
  return manifest;
}

inline StoreManifest small_manifest() {
  return manifest_of(small_model(), {"layer-adjacent-4+ident2", "layer-apart-8+probe0-1"}, 8);
}

/// `count` ids from `first` on.
inline std::vector<std::int32_t> ids_from(std::int32_t first, std::size_t count) {
  std::vector<std::int32_t> ids(count);
  for (std::size_t i = 0; i < count; ++i) ids[i] = first + static_cast<std::int32_t>(i);
  return ids;
}

inline std::vector<std::int32_t> joined(std::vector<std::int32_t> a, const std::vector<std::int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// The KV that these tests store for a segment.
inline std::vector<std::byte> kv_of(const StoreManifest& manifest, const SegmentKey& key, std::uint32_t num_tokens,
                                    int layer_idx, KvTensor tensor) {
  std::vector<std::byte> bytes(num_tokens * manifest.model.geometry.tensor_bytes_per_token().value);
  fill_synthetic_kv(7, key, layer_idx, tensor, manifest.model.geometry.kv_type, bytes);
  return bytes;
}

inline std::function<KvSource(const NewSegment&)> source_of(const StoreManifest& manifest) {
  return [manifest](const NewSegment& segment) -> KvSource {
    const SegmentKey key = make_segment_key(manifest.model.fingerprint, segment.parent, segment.token_ids);
    const auto tokens = static_cast<std::uint32_t>(segment.token_ids.size());
    auto held = std::make_shared<std::pair<std::vector<std::byte>, std::vector<std::byte>>>();
    return [=](int layer) {
      held->first = kv_of(manifest, key, tokens, layer, KvTensor::keys);
      held->second = kv_of(manifest, key, tokens, layer, KvTensor::values);
      return LayerKv{held->first, held->second};
    };
  };
}

/// A store with one prefix of 16 tokens, and one that goes on behind its first 8.
inline void make_small_store(const std::filesystem::path& folder, WriteOptions options = {}) {
  const StoreManifest manifest = small_manifest();
  StoreWriter writer(folder, manifest, std::move(options));
  writer.add_prefix(ids_from(0, 16), source_of(manifest));
  writer.add_prefix(joined(ids_from(0, 8), ids_from(30, 8)), source_of(manifest));
}

/// Runs `change` in a child that is killed before the given call. Returns whether it came to that.
inline bool run_and_kill(std::size_t call, const std::function<void(const BeforeCall&)>& change) {
  const pid_t child = fork();
  if (child == 0) {
    std::size_t calls = 0;
    try {
      change([&](auto, const auto&) {
        if (calls++ == call) raise(SIGKILL);
      });
    } catch (...) {
      _exit(1);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status);
}

inline std::vector<std::filesystem::path> files_below(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// What a throwing call says.
template <typename Error, typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another error: " << error.what();
    return "";
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace reprefill::engine::test_support
