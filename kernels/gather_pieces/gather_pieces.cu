#include "kernels/gather_pieces/gather_pieces.hpp"

#include "kernels/base/primitives.cuh"

namespace reprefill::kernels {
namespace {

constexpr unsigned kThreads = 512;
constexpr unsigned kWarps = kThreads / 32;
constexpr int kLoadsAtOnce = 8;  // 16 bytes each, all under way before the first is stored
constexpr std::uint64_t kRowBytes = 32 * sizeof(device::Packed8);
constexpr std::uint64_t kSliceBytes = kRowBytes * kLoadsAtOnce;

/// A warp copies 4 KiB of a piece.
__device__ void copy_slice(const GatherPiece& piece, std::uint64_t first_byte) {
  device::Packed8 values[kLoadsAtOnce];
  const std::uint64_t begin = first_byte + static_cast<std::uint64_t>(device::lane_idx()) * sizeof(device::Packed8);
#pragma unroll
  for (int i = 0; i < kLoadsAtOnce; ++i) {
    const std::uint64_t byte = begin + static_cast<std::uint64_t>(i) * kRowBytes;
    if (byte < piece.bytes) values[i] = device::load_streaming(piece.from + byte);
  }
#pragma unroll
  for (int i = 0; i < kLoadsAtOnce; ++i) {
    const std::uint64_t byte = begin + static_cast<std::uint64_t>(i) * kRowBytes;
    if (byte < piece.bytes) *reinterpret_cast<device::Packed8*>(piece.to + byte) = values[i];
  }
}

__global__ void __launch_bounds__(kThreads) gather_kernel(GatherPieces arguments, std::uint64_t slices_per_piece) {
  const std::uint32_t num_pieces =
      arguments.device_num_pieces != nullptr ? *arguments.device_num_pieces : arguments.num_pieces;
  const std::uint64_t num_slices = num_pieces * slices_per_piece;
  // Neighbouring slices go to different blocks, so that few large pieces use all of them.
  for (std::uint64_t slice = blockIdx.x + static_cast<std::uint64_t>(device::warp_idx()) * gridDim.x;
       slice < num_slices; slice += std::uint64_t{gridDim.x} * kWarps) {
    const GatherPiece piece = arguments.pieces[slice / slices_per_piece];
    copy_slice(piece, slice % slices_per_piece * kSliceBytes);
  }
}

}  // namespace

void launch_gather_pieces(const GatherPieces& arguments, cudaStream_t stream) {
  check_shape(arguments.num_blocks > 0, "gather_pieces: no block");
  check_shape(arguments.max_piece_bytes % sizeof(device::Packed8) == 0,
              "gather_pieces: pieces of {} bytes: not a multiple of 16", arguments.max_piece_bytes);
  if (arguments.max_piece_bytes == 0) return;
  if (arguments.num_pieces == 0 && arguments.device_num_pieces == nullptr) return;
  check_shape(arguments.pieces != nullptr, "gather_pieces: pieces are null");
  const std::uint64_t slices_per_piece = (arguments.max_piece_bytes + kSliceBytes - 1) / kSliceBytes;
  device::launch(gather_kernel, {.grid = dim3(arguments.num_blocks), .block_threads = kThreads}, stream, arguments,
                 slices_per_piece);
}

}  // namespace reprefill::kernels
