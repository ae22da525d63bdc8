#include "engine/store/synthesize.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <thread>

#include "core/base/random.hpp"
#include "engine/store/system_layouts.hpp"

namespace reprefill::engine {
namespace {

namespace fs = std::filesystem;

/// The odd blocks go to the first segments.
std::uint32_t tokens_of(const SynthesisOptions& options, std::uint32_t segment_idx) {
  const std::uint32_t num_blocks = options.prefix_tokens / options.store_block_tokens;
  const std::uint32_t count = options.segments_per_prefix;
  return (num_blocks / count + (segment_idx < num_blocks % count ? 1 : 0)) * options.store_block_tokens;
}

/// Segments of one prefix, root first, each extending the whole of the one before.
std::vector<NewSegment> segments_of_prefix(const SynthesisOptions& options, std::uint64_t fingerprint,
                                           std::uint32_t prefix_idx) {
  const std::vector<std::int32_t> ids = synthetic_token_ids(options, prefix_idx);
  std::vector<NewSegment> segments;
  std::optional<ParentLink> parent;
  auto next = ids.begin();
  for (std::uint32_t i = 0; i < options.segments_per_prefix; ++i) {
    const auto end = next + static_cast<std::ptrdiff_t>(tokens_of(options, i));
    segments.push_back({.parent = parent, .token_ids = {next, end}});
    next = end;
    const NewSegment& made = segments.back();
    parent = ParentLink{make_segment_key(fingerprint, made.parent, made.token_ids),
                        static_cast<std::uint32_t>(made.token_ids.size())};
  }
  return segments;
}

void check_options(const SynthesisOptions& options) {
  const std::uint32_t num_blocks = options.prefix_tokens / options.store_block_tokens;
  if (options.num_prefixes == 0) throw ConfigError("store synthesize: --prefixes: found 0; expected 1 or more");
  if (options.segments_per_prefix == 0 || num_blocks < options.segments_per_prefix) {
    throw ConfigError(
        fmt::format("store synthesize: --tokens {} are {} whole blocks of {} tokens; expected at least one "
                    "for each of --segments-per-prefix {}",
                    options.prefix_tokens, num_blocks, options.store_block_tokens, options.segments_per_prefix));
  }
  if (options.prefix_tokens > kMaxSegmentTokens) {
    throw ConfigError(fmt::format("store synthesize: --tokens: found {}; expected at most {}", options.prefix_tokens,
                                  kMaxSegmentTokens));
  }
  // Prefixes are told apart by the ids of their first block.
  double prefixes = 1;
  for (std::uint32_t i = 0; i < options.store_block_tokens && prefixes < options.num_prefixes; ++i) {
    prefixes *= options.model.vocab;
  }
  if (prefixes < options.num_prefixes) {
    throw ConfigError(fmt::format("store synthesize: --prefixes: found {}; {} ids in blocks of {} tokens give {:.0f}",
                                  options.num_prefixes, options.model.vocab, options.store_block_tokens, prefixes));
  }
}

/// Of all prefixes, in all layouts.
Bytes bytes_of(const SynthesisOptions& options, const StoreManifest& manifest) {
  Bytes prefix;
  for (std::uint32_t i = 0; i < options.segments_per_prefix; ++i) {
    prefix += segment_bytes(manifest, tokens_of(options, i));
  }
  return prefix * options.num_prefixes;
}

void check_free_space(const fs::path& folder, Bytes needed) {
  std::error_code error;  // a folder that does not exist has its own message, from who makes the store
  const fs::space_info space = fs::space(folder, error);
  if (error || space.available >= needed.value) return;
  throw ConfigError(fmt::format(
      "{}: {:.1f} GB would be written, {:.1f} GB are free; expected fewer --prefixes or "
      "--tokens, --layouts with one name only, or another disk",
      folder.string(), static_cast<double>(needed.value) * 1e-9, static_cast<double>(space.available) * 1e-9));
}

/// Prefixes are dealt out one by one: each thread generates, checksums and writes its own, so that the disk is kept
/// busy while others compute.
class Synthesis {
 public:
  Synthesis(const fs::path& folder, const SynthesisOptions& options, const WriteOptions& write)
      : options_(options), writer_(folder, synthetic_manifest(options), write) {
    const Bytes all = bytes_of(options, manifest());
    check_free_space(folder, writer_.store().num_segments() > 0 ? subtract_present(all) : all);
    progress_.emplace("store synthesize", std::vector<double>(options.num_prefixes, 1.0), options.progress, "prefixes");
  }

  SynthesisReport run() {
    const auto start = std::chrono::steady_clock::now();
    const std::uint32_t available = std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
    const std::uint32_t wanted = options_.num_threads > 0 ? options_.num_threads : available;
    std::vector<std::jthread> threads;  // joined at the end, and when one cannot be started
    for (std::uint32_t i = 1; i < std::min(wanted, options_.num_prefixes); ++i)
      threads.emplace_back([this] { work(); });
    work();
    threads.clear();
    if (failure_) std::rethrow_exception(failure_);
    report_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return report_;
  }

 private:
  const StoreManifest& manifest() const { return writer_.store().manifest(); }

  /// Segments of an earlier run need no space.
  Bytes subtract_present(Bytes needed) {
    for (std::uint32_t prefix = 0; prefix < options_.num_prefixes; ++prefix) {
      for (const NewSegment& segment : segments_of_prefix(options_, manifest().model.fingerprint, prefix)) {
        if (!is_present(segment)) continue;
        ++report_.num_segments_present;
        needed -= segment_bytes(manifest(), static_cast<std::uint32_t>(segment.token_ids.size()));
      }
    }
    return needed;
  }

  /// Until all prefixes are dealt out, or one thread has failed.
  void work() {
    try {
      std::vector<std::byte> keys, values;
      for (std::uint32_t prefix; (prefix = next_.fetch_add(1)) < options_.num_prefixes && !failed_;) {
        write_prefix(prefix, keys, values);
      }
    } catch (...) {
      const std::lock_guard guard(mutex_);
      failed_ = true;
      if (!failure_) failure_ = std::current_exception();
    }
  }

  void write_prefix(std::uint32_t prefix, std::vector<std::byte>& keys, std::vector<std::byte>& values) {
    for (NewSegment& segment : segments_of_prefix(options_, manifest().model.fingerprint, prefix)) {
      if (is_present(segment)) continue;
      SegmentWriter writer = writer_.begin(std::move(segment));
      const std::size_t num_tokens = writer.segment().token_ids.size();
      const StoreGeometry& geometry = manifest().model.geometry;
      keys.resize(num_tokens * geometry.tensor_bytes_per_token().value);
      values.resize(keys.size());
      for (int layer = 0; layer < static_cast<int>(geometry.num_layers); ++layer) {
        fill_synthetic_kv(options_.seed, writer.key(), layer, KvTensor::keys, geometry.kv_type, keys);
        fill_synthetic_kv(options_.seed, writer.key(), layer, KvTensor::values, geometry.kv_type, values);
        writer.write_layer({keys, values});
      }
      writer_.finish(writer);
      const std::lock_guard guard(mutex_);
      ++report_.num_segments_written;
      report_.bytes_written += segment_bytes(manifest(), static_cast<std::uint32_t>(num_tokens));
    }
    const std::lock_guard guard(mutex_);
    progress_->done(prefix);
  }

  bool is_present(const NewSegment& segment) {
    const SegmentKey key = make_segment_key(manifest().model.fingerprint, segment.parent, segment.token_ids);
    return fs::exists(segment_folder(writer_.store().folder(), key));
  }

  const SynthesisOptions& options_;
  StoreWriter writer_;
  std::optional<Progress> progress_;
  std::atomic<std::uint32_t> next_ = 0;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;  // of what follows
  SynthesisReport report_;
  std::exception_ptr failure_;
};

}  // namespace

std::uint64_t synthetic_fingerprint(const StoreGeometry& geometry) {
  const std::string text = "synthetic: " + geometry.to_string();
  return checksum64(std::as_bytes(std::span(text)));
}

StoreManifest synthetic_manifest(const SynthesisOptions& options) {
  const StoreGeometry geometry = StoreGeometry::of(options.model);
  if (const auto problem = geometry.problem()) throw ConfigError(fmt::format("{}: {}", options.model.name, *problem));
  StoreManifest manifest{.model = {.name = options.model.name + " (synthetic)",
                                   .fingerprint = synthetic_fingerprint(geometry),
                                   .geometry = geometry},
                         .store_block_tokens = options.store_block_tokens,
                         .layouts = options.layouts};
  if (manifest.layouts.empty()) manifest.layouts = default_layouts(options.model);
  return manifest;
}

std::vector<std::int32_t> synthetic_token_ids(const SynthesisOptions& options, std::uint32_t prefix_idx) {
  const auto vocab = static_cast<std::uint64_t>(options.model.vocab);
  std::vector<std::int32_t> ids(options.prefix_tokens / options.store_block_tokens * options.store_block_tokens);
  const std::uint64_t stream = combine64(combine64(options.seed, hash_name("synthetic token ids")), prefix_idx);
  std::uint64_t digits = prefix_idx;
  std::uint64_t largest = options.num_prefixes - 1;
  std::size_t at = 0;
  // As many ids as the largest number needs, for every prefix alike.
  for (; largest > 0 && at < ids.size(); largest /= vocab, digits /= vocab) {
    ids[at++] = static_cast<std::int32_t>(digits % vocab);
  }
  for (; at < ids.size(); ++at) ids[at] = static_cast<std::int32_t>(combine64(stream, at) % vocab);
  return ids;
}

void fill_synthetic_kv(std::uint64_t seed, const SegmentKey& segment, int layer_idx, KvTensor tensor, KvType type,
                       std::span<std::byte> out) {
  const std::uint64_t stream =
      combine64(combine64(seed, combine64(segment.high, segment.low)),
                2 * static_cast<std::uint64_t>(layer_idx) + static_cast<std::uint64_t>(tensor));
  // Random sign, mantissa and lowest bit of the exponent; the other bits make the exponent 126 or 127.
  const std::uint64_t keep = type == KvType::bf16 ? 0x80ff80ff80ff80ffull : 0x80ffffff80ffffffull;
  const std::uint64_t set = type == KvType::bf16 ? 0x3f003f003f003f00ull : 0x3f0000003f000000ull;
  std::uint64_t counter = stream;
  for (std::size_t at = 0; at < out.size(); at += sizeof counter) {
    const std::uint64_t word = (mix64(++counter) & keep) | set;
    std::memcpy(out.data() + at, &word, std::min(sizeof word, out.size() - at));
  }
}

SynthesisReport synthesize_store(const fs::path& folder, const SynthesisOptions& options, WriteOptions write) {
  if (options.store_block_tokens == 0)
    throw ConfigError("store synthesize: --block-tokens: found 0; expected 1 or more");
  check_options(options);
  // A new store leaves no trace when it is refused; one of an earlier run needs less, which only its index tells.
  if (!fs::exists(manifest_path(folder))) {
    const fs::path parent = fs::absolute(folder).lexically_normal().parent_path();
    check_free_space(fs::is_directory(folder) ? folder : parent, bytes_of(options, synthetic_manifest(options)));
  }
  return Synthesis(folder, options, write).run();
}

}  // namespace reprefill::engine
