// Many pieces from pinned host memory to pages of device memory in one launch: demand copies on few multiprocessors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/stream.hpp"

namespace reprefill::kernels {

/// Both ends aligned to 16 bytes; bytes a multiple of 16, zero allowed.
struct GatherPiece {
  const std::byte* from = nullptr;  // pinned host memory that the device can read, or device memory
  std::byte* to = nullptr;          // device memory
  std::uint64_t bytes = 0;
};

struct GatherPieces {
  const GatherPiece* pieces = nullptr;  // device or pinned host memory; they do not overlap
  std::uint32_t num_pieces = 0;
  const std::uint32_t* device_num_pieces = nullptr;  // read when the kernel runs, in place of num_pieces
  std::uint64_t max_piece_bytes = 0;                 // of any piece: the unit of work is a slice of one
  std::uint32_t num_blocks = 16;                     // multiprocessors that the copy may take at most
};

/// to[0, bytes) = from[0, bytes) for every piece. Asynchronous on `stream`; one launch. Sources may change again when
/// the launch is done. Throws ShapeError, CudaError.
/// 16 blocks have up to 1 MiB of reads under way: a PCIe 5.0 x16 link (64 GB/s, about 1.5 us there and back) needs
/// 0.1 MB. Reference: gather_pieces_reference.
void launch_gather_pieces(const GatherPieces& arguments, cudaStream_t stream);

void gather_pieces_reference(const GatherPieces& arguments);

}  // namespace reprefill::kernels
