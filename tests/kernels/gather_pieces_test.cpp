#include "kernels/gather_pieces/gather_pieces.hpp"

#include "kernels/base/kernel_error.hpp"
#include "tests/kernels/support/kernel_test.hpp"

namespace reprefill::kernels::test {
namespace {

class GatherPiecesKernel : public KernelTest {};

/// Pieces of these sizes, in reversed places of the destination with 16 bytes between them.
void expect_copied(const std::vector<std::size_t>& sizes, std::uint32_t num_blocks, bool on_device_count = false) {
  std::size_t total = 0, largest = 0;
  for (const std::size_t size : sizes) total += size + 16, largest = std::max(largest, size);
  RandomStream random(sizes.size(), 0, "bytes");
  std::vector<std::byte> source(total);
  for (std::byte& byte : source) byte = static_cast<std::byte>(random.below(256));
  const DeviceArray<std::byte> from(std::span<const std::byte>(source), DeviceMemory::Kind::pinned_host);

  for_each_schedule([&] {
    const auto to = DeviceArray<std::byte>::poisoned(total);
    std::vector<std::byte> expected(total, std::byte{0xff});
    std::vector<GatherPiece> pieces, host_pieces;
    std::size_t begin = 0;
    for (const std::size_t size : sizes) {
      const std::size_t place = total - begin - size - 16;
      pieces.push_back({from.get() + begin, to.get() + place, size});
      host_pieces.push_back({source.data() + begin, expected.data() + place, size});
      begin += size + 16;
    }
    const DeviceArray<GatherPiece> device_pieces(pieces);
    const DeviceArray<std::uint32_t> count(std::vector{static_cast<std::uint32_t>(sizes.size())});
    GatherPieces arguments{.pieces = device_pieces.get(),
                           .num_pieces = static_cast<std::uint32_t>(sizes.size()),
                           .max_piece_bytes = largest,
                           .num_blocks = num_blocks};
    if (on_device_count) arguments.num_pieces = 0, arguments.device_num_pieces = count.get();
    launch_gather_pieces(arguments, nullptr);
    synchronize();
    gather_pieces_reference({.pieces = host_pieces.data(), .num_pieces = static_cast<std::uint32_t>(sizes.size())});
    EXPECT_EQ(to.read(), expected);
  });
}

TEST_F(GatherPiecesKernel, PiecesOfEveryLengthAreCopiedAndNothingElseIsWritten) {
  expect_copied({16}, 1);
  expect_copied({16384, 16384, 16384}, 2);
  expect_copied({4096, 4112, 4080, 16, 0, 65536, 8192}, 16);
  expect_copied(std::vector<std::size_t>(100, 528), 3);
}

TEST_F(GatherPiecesKernel, MoreBlocksThanSlicesAndACountOnTheDevice) {
  expect_copied({32, 48}, 20);
  expect_copied({32, 48, 64}, 2, true);
}

TEST_F(GatherPiecesKernel, NothingToCopyIsNoLaunch) {
  launch_gather_pieces({}, nullptr);
  launch_gather_pieces({.max_piece_bytes = 16}, nullptr);
}

TEST_F(GatherPiecesKernel, SizesThatAreNotWholeVectorsAreRefused) {
  GatherPiece piece;
  EXPECT_THROW(launch_gather_pieces({.pieces = &piece, .num_pieces = 1, .max_piece_bytes = 24}, nullptr), ShapeError);
  EXPECT_THROW(
      launch_gather_pieces({.pieces = &piece, .num_pieces = 1, .max_piece_bytes = 16, .num_blocks = 0}, nullptr),
      ShapeError);
  EXPECT_THROW(launch_gather_pieces({.num_pieces = 1, .max_piece_bytes = 16}, nullptr), ShapeError);
}

}  // namespace
}  // namespace reprefill::kernels::test
