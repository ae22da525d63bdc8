// Stores of random KV of any geometry and size, for tests of reading without a model.
#pragma once

#include "core/base/progress.hpp"
#include "engine/store/store_writer.hpp"

namespace reprefill::engine {

struct SynthesisOptions {
  ModelGeometry model;
  std::uint32_t num_prefixes = 1;
  std::uint32_t prefix_tokens = 4096;     // rounded down to whole store blocks
  std::uint32_t segments_per_prefix = 1;  // a chain; the first ones take the odd block
  std::uint32_t store_block_tokens = 64;
  std::vector<StoredLayout> layouts = {};  // empty: those of all systems
  std::uint64_t seed = 1;
  std::uint32_t num_threads = 0;  // 0: up to 4, as the machine has
  ProgressMode progress = ProgressMode::automatic;
};

struct SynthesisReport {
  std::size_t num_segments_written = 0;
  std::size_t num_segments_present = 0;  // of an earlier run with the same seed
  Bytes bytes_written;
  double seconds = 0;
};

/// Fingerprint of the model that has this geometry and no weights.
std::uint64_t synthetic_fingerprint(const StoreGeometry& geometry);
StoreManifest synthetic_manifest(const SynthesisOptions& options);

/// Token ids of one prefix: the first ones count the prefixes, so that no two begin alike; the rest is random.
std::vector<std::int32_t> synthetic_token_ids(const SynthesisOptions& options, std::uint32_t prefix_idx);

/// K or V of one layer of a segment: finite values of magnitude 0.5 to 2, a function of (seed, segment, layer) alone.
enum class KvTensor : std::uint8_t { keys, values };
void fill_synthetic_kv(std::uint64_t seed, const SegmentKey& segment, int layer_idx, KvTensor tensor, KvType type,
                       std::span<std::byte> out);

/// Writes what is not there yet. Throws ConfigError where the free space is less than what will be written, with both
/// numbers. The store is the same whatever the number of threads.
SynthesisReport synthesize_store(const std::filesystem::path& folder, const SynthesisOptions& options,
                                 WriteOptions write = {});

}  // namespace reprefill::engine
