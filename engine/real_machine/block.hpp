// Memory of the engine's tiers: blocks that are taken when their bytes are due and go back with their last reference.
#pragma once

#include <cstddef>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/base/units.hpp"
#include "engine/gpu/gpu.hpp"

namespace reprefill::engine {

/// Where blocks come from. Driver thread only.
class BlockPool {
 public:
  virtual ~BlockPool() = default;
  virtual std::byte* allocate(Bytes size) = 0;
  virtual void release(std::byte* data, Bytes size) = 0;
};

/// Large pieces of one kind of memory, kept until the end.
class MemorySource {
 public:
  virtual ~MemorySource() = default;
  /// Aligned to 256 bytes.
  virtual std::byte* allocate(Bytes size) = 0;
};
std::unique_ptr<MemorySource> make_host_memory();
/// Memory of the device, and host memory that it can read.
std::unique_ptr<MemorySource> make_gpu_memory(Gpu& gpu);
std::unique_ptr<MemorySource> make_pinned_memory(Gpu& gpu);

/// Slabs that are cut into equal blocks; a pipeline uses few sizes, so freed blocks are found again at once and nothing
/// fragments. Slabs are cut from large pieces of the source, since these are slow to get.
class SlabPool final : public BlockPool {
 public:
  explicit SlabPool(std::unique_ptr<MemorySource> source, Bytes piece = Bytes{0})
      : source_(std::move(source)), piece_(piece) {}
  std::byte* allocate(Bytes size) override;
  void release(std::byte* data, Bytes size) override;

  /// Takes memory from the source now rather than when it is due.
  void reserve(Bytes size);
  Bytes used() const { return used_; }
  Bytes peak() const { return peak_; }

 private:
  std::byte* cut(std::uint64_t bytes);

  std::unique_ptr<MemorySource> source_;
  Bytes piece_;  // the least that the source is asked for
  std::byte* left_ = nullptr;
  std::uint64_t left_bytes_ = 0;
  std::unordered_map<std::uint64_t, std::vector<std::byte*>> free_;  // by size
  Bytes used_;
  Bytes peak_;
};

/// A future place of `size` bytes. Copies name blocks when they are issued; memory is taken when the first of them
/// begins.
class Block {
 public:
  Block(BlockPool& pool, Bytes size) : pool_(pool), size_(size) {}
  ~Block() {
    if (data_ != nullptr) pool_.release(data_, size_);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void take() {
    if (data_ == nullptr) data_ = pool_.allocate(size_);
  }
  /// Null before `take`.
  std::byte* data() const { return data_; }
  Bytes size() const { return size_; }
  bool is_of(const BlockPool& pool) const { return &pool_ == &pool; }

 private:
  BlockPool& pool_;
  Bytes size_;
  std::byte* data_ = nullptr;
};
using BlockRef = std::shared_ptr<Block>;

}  // namespace reprefill::engine
