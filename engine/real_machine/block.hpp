// Memory of the engine's tiers: blocks that are taken when their bytes are due and go back with their last reference.
#pragma once

#include <cstddef>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/base/units.hpp"

namespace reprefill::engine {

/// Where blocks come from. Driver thread only.
class BlockPool {
 public:
  virtual ~BlockPool() = default;
  virtual std::byte* allocate(Bytes size) = 0;
  virtual void release(std::byte* data, Bytes size) = 0;
};

/// Host memory in slabs that are cut into equal blocks; a pipeline uses few sizes, so freed blocks are found again at
/// once and nothing fragments. Slabs are kept until the end.
class HeapPool final : public BlockPool {
 public:
  std::byte* allocate(Bytes size) override;
  void release(std::byte* data, Bytes size) override;

  Bytes used() const { return used_; }
  Bytes peak() const { return peak_; }

 private:
  struct FreeAligned {
    void operator()(std::byte* data) const;
  };
  std::unordered_map<std::uint64_t, std::vector<std::byte*>> free_;  // by size
  std::vector<std::unique_ptr<std::byte, FreeAligned>> slabs_;
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

 private:
  BlockPool& pool_;
  Bytes size_;
  std::byte* data_ = nullptr;
};
using BlockRef = std::shared_ptr<Block>;

}  // namespace reprefill::engine
