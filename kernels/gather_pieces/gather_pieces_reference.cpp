#include <cstring>

#include "kernels/gather_pieces/gather_pieces.hpp"

namespace reprefill::kernels {

void gather_pieces_reference(const GatherPieces& arguments) {
  const std::uint32_t num_pieces =
      arguments.device_num_pieces != nullptr ? *arguments.device_num_pieces : arguments.num_pieces;
  for (std::uint32_t i = 0; i < num_pieces; ++i) {
    const GatherPiece& piece = arguments.pieces[i];
    if (piece.bytes > 0) std::memcpy(piece.to, piece.from, piece.bytes);
  }
}

}  // namespace reprefill::kernels
