// How the bytes of a copy move: by the CPU, or by a GPU's gather kernel and copy engines.
#pragma once

#include <memory>
#include <span>

#include "engine/gpu/gpu.hpp"
#include "engine/real_machine/block.hpp"

namespace reprefill::engine {

/// Holds no operation: what fills a destination may hold the copy.
struct PartCopy {
  BlockRef source;
  std::uint64_t source_offset = 0;
  BlockRef destination;

  Bytes bytes() const { return destination->size(); }
  const std::byte* from() const { return source->data() + source_offset; }
  std::byte* to() const { return destination->data(); }
};

/// Neighbours count as one; more of them go in one launch.
inline constexpr std::size_t kMostSingleCopies = 16;

/// Inside host memory.
void copy_on_cpu(std::span<const PartCopy> copies);

/// To, from and inside a GPU's memory. One thread calls.
class GpuCopier {
 public:
  explicit GpuCopier(Gpu& gpu);
  ~GpuCopier();

  /// Demand copies in one launch; what the device cannot read by itself (staging that is not pinned) is copied singly.
  void gather(std::span<const PartCopy> copies, cudaStream_t stream);
  /// By the copy engine, neighbours together; many small ones in one launch that takes few multiprocessors.
  void copy(std::span<const PartCopy> copies, cudaStream_t stream);
  /// One copy for each part, waited for: what the published prototypes do.
  void copy_singly(std::span<const PartCopy> copies, cudaStream_t stream);

 private:
  struct Lists;
  struct Move;
  void gather(std::span<const Move> moves, std::uint32_t num_blocks, cudaStream_t stream);
  Gpu& gpu_;
  std::unique_ptr<Lists> lists_;
};

}  // namespace reprefill::engine
