#include "engine/real_machine/copier.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/gpu/gpu_memory.hpp"

namespace reprefill::engine {

struct GpuCopier::Move {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
  std::uint64_t bytes = 0;
};

namespace {

// On an H100 eight blocks already fill the link (docs/performance.md); a copy engine's call costs about 2 us of the
// host.
constexpr std::uint32_t kDemandBlocks = 16, kPrefetchBlocks = 8;

/// Copies whose sources and destinations both follow on each other become one.
template <typename Move>
std::vector<Move> join_neighbours(std::span<const PartCopy> copies) {
  std::vector<Move> moves;
  for (const PartCopy& copy : copies) {
    if (!moves.empty()) {
      Move& last = moves.back();
      if (last.from + last.bytes == copy.from() && last.to + last.bytes == copy.to()) {
        last.bytes += copy.bytes().value;
        continue;
      }
    }
    moves.push_back({copy.from(), copy.to(), copy.bytes().value});
  }
  return moves;
}

template <typename Move>
bool is_gatherable(const Move& move) {
  const auto is_aligned = [](const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; };
  return is_aligned(move.from) && is_aligned(move.to) && move.bytes % 16 == 0;
}

}  // namespace

void copy_on_cpu(std::span<const PartCopy> copies) {
  for (const PartCopy& copy : copies) std::memcpy(copy.to(), copy.from(), copy.bytes().value);
}

/// Piece lists that launches read while they run, in pinned memory.
struct GpuCopier::Lists {
  explicit Lists(Gpu& gpu) : blocks(gpu, GpuBlockCache::Kind::pinned) {}
  struct InUse {
    std::shared_ptr<std::byte> memory;
    GpuEventRef end;
  };
  static constexpr std::size_t kNumInUse = 64;

  /// A list that no launch uses any more, or a new one.
  GpuBlockCache blocks;
  std::vector<InUse> in_use{kNumInUse};
  std::size_t next = 0;
};

GpuCopier::GpuCopier(Gpu& gpu) : gpu_(gpu), lists_(std::make_unique<Lists>(gpu)) {}
GpuCopier::~GpuCopier() = default;

void GpuCopier::gather(std::span<const PartCopy> copies, cudaStream_t stream) {
  gather(join_neighbours<Move>(copies), kDemandBlocks, stream);
}

void GpuCopier::gather(std::span<const Move> moves, std::uint32_t num_blocks, cudaStream_t stream) {
  Lists::InUse& list = lists_->in_use[lists_->next];
  lists_->next = (lists_->next + 1) % Lists::kNumInUse;
  if (list.end) gpu_.synchronize(*list.end);
  list = {.memory = lists_->blocks.take(Bytes{moves.size() * sizeof(kernels::GatherPiece)}), .end = nullptr};
  auto* pieces = reinterpret_cast<kernels::GatherPiece*>(list.memory.get());
  kernels::GatherPieces gathered{.pieces = pieces, .num_blocks = num_blocks};
  for (const Move& move : moves) {
    if (!is_gatherable(move) || !gpu_.can_read(move.from)) {
      gpu_.copy(move.to, move.from, Bytes{move.bytes}, stream);
      continue;
    }
    pieces[gathered.num_pieces++] = {.from = move.from, .to = move.to, .bytes = move.bytes};
    gathered.max_piece_bytes = std::max(gathered.max_piece_bytes, move.bytes);
  }
  if (gathered.num_pieces > 0) gpu_.gather(gathered, stream);
  list.end = gpu_.record(stream);
}

void GpuCopier::copy(std::span<const PartCopy> copies, cudaStream_t stream) {
  const std::vector<Move> moves = join_neighbours<Move>(copies);
  if (moves.size() > kMostSingleCopies) return gather(moves, kPrefetchBlocks, stream);
  for (const Move& move : moves) gpu_.copy(move.to, move.from, Bytes{move.bytes}, stream);
}

void GpuCopier::copy_singly(std::span<const PartCopy> copies, cudaStream_t stream) {
  for (const PartCopy& copy : copies) {
    gpu_.copy(copy.to(), copy.from(), copy.bytes(), stream);
    gpu_.synchronize(stream);
  }
}

}  // namespace reprefill::engine
