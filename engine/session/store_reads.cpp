#include "engine/session/store_reads.hpp"

#include <cstdlib>
#include <map>
#include <new>

#include "engine/io/buffered_reader.hpp"
#include "engine/io/direct_reader.hpp"
#include "engine/io/staging_arena.hpp"
#include "engine/io/storage_kind.hpp"
#include "engine/store/token_orders.hpp"
#include "engine/store/verify.hpp"

namespace reprefill::engine {
namespace {

/// The arena, and plain memory for what does not fit it: reads never wait for staging that only they could free.
class StagingPool final : public BlockPool {
 public:
  StagingPool(Bytes capacity, Gpu* gpu) : arena_(capacity), gpu_(gpu) {
    if (gpu_ != nullptr) gpu_->pin(arena_.memory().data(), capacity);
  }
  ~StagingPool() override {
    if (gpu_ != nullptr) gpu_->unpin(arena_.memory().data());
  }
  StagingPool(const StagingPool&) = delete;
  StagingPool& operator=(const StagingPool&) = delete;
  std::byte* allocate(Bytes size) override {
    if (std::byte* data = arena_.allocate(size)) return data;
    ++num_outside_;
    constexpr std::size_t kPage = 4096;
    auto* data = static_cast<std::byte*>(std::aligned_alloc(kPage, (size.value + kPage - 1) / kPage * kPage));
    if (data == nullptr) throw std::bad_alloc();
    return data;
  }
  void release(std::byte* data, Bytes size) override {
    if (arena_.contains(data)) {
      arena_.release(data, size);
    } else {
      std::free(data);
    }
  }
  StagingArena& arena() { return arena_; }
  std::uint64_t num_outside() const { return num_outside_; }

 private:
  StagingArena arena_;
  Gpu* gpu_;
  std::uint64_t num_outside_ = 0;
};

class SegmentReads final : public StoreReads {
 public:
  SegmentReads(const StoreReadOptions& options, const RunClock& clock)
      : options_(options),
        clock_(clock),
        pool_(options.staging, options.gpu),
        kind_(storage_kind(options.store->folder())) {
    if (options.buffered) {
      // On the prototype path reads come from the device; `--buffered` alone leaves the page cache to itself.
      const bool drops = options.path->kind == pipeline::PathKind::prototype;
      reader_ = std::make_unique<BufferedReader>(drops ? PageCache::drop : PageCache::keep);
      how_ = drops ? "one pread at a time, page cache dropped" : "one pread at a time through the page cache";
      return;
    }
    auto direct =
        std::make_unique<DirectReader>(DirectReaderOptions{.queue_depth = options.path->queue_depth,
                                                           .buffers = pool_.arena().memory(),
                                                           .unregistered_buffers = options.unregistered_buffers});
    how_ = "O_DIRECT, " + direct->describe();
    reader_ = std::move(direct);
  }

  BlockPool& staging() override { return pool_; }

  void submit(void* tag, std::span<const StoredRange> ranges, bool demand) override {
    std::vector<FileRange> requests;
    for (const StoredRange& range : ranges) {
      requests.push_back({.file = file_of(range.segment),
                          .offset = range.offset,
                          .bytes = range.bytes,
                          .destination = range.destination});
    }
    if (options_.verify) verified_[tag].assign(ranges.begin(), ranges.end());
    reader_->submit(tag, requests, demand ? ReadQueue::demand : ReadQueue::prefetch);
  }

  DroppedRequests drop_unsubmitted(void* tag) override { return reader_->drop_unsubmitted(tag); }

  void harvest(std::vector<FinishedRead>& out) override {
    finished_.clear();
    reader_->harvest(finished_);
    for (FinishedJob& job : finished_) {
      if (options_.verify && !job.failure && job.num_dropped == 0) verify(job);
      verified_.erase(job.tag);
      out.push_back({.tag = job.tag, .start = clock_.at(job.start), .end = clock_.at(job.end), .failure = job.failure});
    }
  }

  int event_fd() const override { return reader_->event_fd(); }

  std::string describe() const override {
    std::string text = fmt::format("{}, {}", kind_.file_system, how_);
    if (kind_.is_memory) text += "; this file system is in memory: reads never reach a device";
    if (kind_.is_remote) text += "; remote or in user space: not this machine's own device";
    if (pool_.num_outside() > 0) text += fmt::format("; {} reads outside registered staging", pool_.num_outside());
    return text;
  }

  std::span<const std::uint32_t> token_places(SegmentId segment, int layer_idx) override {
    // A file in the tokens' own order may still be on its way: it is opened for its first read, which waits for it.
    if (!options_.store->manifest().layouts[options_.layout_idx].permutation) return {};
    const TokenOrders& orders = open(segment).orders;
    return orders.empty() ? std::span<const std::uint32_t>{} : orders[static_cast<std::size_t>(layer_idx)].place_of();
  }

 private:
  struct OpenFile {
    StoreFile file;
    int number = 0;
    std::optional<PageVerifier> verifier;
    TokenOrders orders;
  };

  OpenFile& open(SegmentId segment) {
    const auto found = files_.find(segment);
    if (found != files_.end()) return found->second;
    OpenFile opened;
    opened.file =
        options_.store->open_file(segment, options_.layout_idx, options_.buffered ? DirectIo::off : DirectIo::required);
    opened.number = reader_->add_file(opened.file.descriptor(), opened.file.path().string());
    const StoreManifest& manifest = options_.store->manifest();
    const StoredLayout& layout = manifest.layouts[options_.layout_idx];
    const SegmentKey& key = options_.store->segment(segment).key;
    if (layout.permutation) {  // out of this file: `store reorder` may put another in its place
      const SegmentHeader header = read_header(opened.file, manifest, layout, key);
      check_calibration(header, opened.file.path());
      opened.orders = read_token_orders(opened.file, header);
    }
    if (options_.verify) opened.verifier = PageVerifier::load(opened.file, manifest, layout, key);
    return files_.emplace(segment, std::move(opened)).first->second;
  }

  void check_calibration(const SegmentHeader& header, const std::filesystem::path& path) const {
    if (header.calibration_requests == options_.calibration_requests) return;
    const std::string has = header.calibration_requests == 0
                                ? "the tokens' own order (appended since the store was reordered)"
                                : fmt::format("an order from {} requests", header.calibration_requests);
    throw ConfigError(
        fmt::format("{}: found {}; expected one from reorder.calibration_requests = {}: `reprefill store reorder "
                    "--store {} --calibration-requests {} ...` writes it",
                    path.string(), has, options_.calibration_requests, options_.store->folder().string(),
                    options_.calibration_requests));
  }

  int file_of(SegmentId segment) { return open(segment).number; }

  void verify(FinishedJob& job) {
    try {
      for (const StoredRange& range : verified_[job.tag]) {
        open(range.segment).verifier->check(range.offset, {range.destination, range.bytes.value});
      }
    } catch (const StoreDamage&) {
      job.failure = std::current_exception();
    }
  }

  StoreReadOptions options_;
  const RunClock& clock_;
  StagingPool pool_;
  StorageKind kind_;
  std::string how_;
  std::map<SegmentId, OpenFile> files_;
  std::map<void*, std::vector<StoredRange>> verified_;
  std::vector<FinishedJob> finished_;
  std::unique_ptr<FileReader> reader_;  // last: it waits for reads into the above
};

}  // namespace

std::unique_ptr<StoreReads> open_store_reads(const StoreReadOptions& options, const RunClock& clock) {
  return std::make_unique<SegmentReads>(options, clock);
}

}  // namespace reprefill::engine
