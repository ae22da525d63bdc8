#include <fmt/format.h>

#include <numeric>

#include "benchmarks/kernels/cases.hpp"
#include "core/base/random.hpp"
#include "kernels/base/cuda_check.hpp"
#include "kernels/gather_pieces/gather_pieces.hpp"

namespace reprefill::benchmarks {
namespace {

constexpr std::size_t kPieceBytes = 16 * 1024;
constexpr std::size_t kSourceBytes = std::size_t{512} << 20;  // beyond every cache of the host

/// Pieces from random places of the source to consecutive pages: a list per set.
struct Pieces {
  std::vector<kernels::GatherPiece> list;
  std::vector<void*> to;
  std::vector<const void*> from;
  std::vector<std::size_t> sizes;
};

std::vector<Pieces> make_lists(const Buffer& source, const Buffer& pages, std::size_t num_pieces,
                               std::size_t num_sets) {
  std::vector<std::size_t> places(kSourceBytes / kPieceBytes);
  std::iota(places.begin(), places.end(), std::size_t{0});
  RandomStream random(1, 0, "gather");
  for (std::size_t i = places.size(); i > 1; --i) std::swap(places[i - 1], places[random.below(i)]);
  std::vector<Pieces> lists(num_sets);
  std::size_t next = 0;
  for (Pieces& pieces : lists) {
    for (std::size_t i = 0; i < num_pieces; ++i, ++next) {
      std::byte* from = source.as<std::byte>() + places[next % places.size()] * kPieceBytes;
      std::byte* to = pages.as<std::byte>() + i * kPieceBytes;
      pieces.list.push_back({from, to, kPieceBytes});
      pieces.to.push_back(to);
      pieces.from.push_back(from);
      pieces.sizes.push_back(kPieceBytes);
    }
  }
  return lists;
}

void time_total(GraphTimer& timer, const Buffer& source, std::size_t total_bytes) {
  const std::size_t num_pieces = total_bytes / kPieceBytes;
  const std::size_t num_sets = std::min<std::size_t>(num_sets_for(total_bytes), 64);
  const Buffer pages(total_bytes);
  const std::vector<Pieces> lists = make_lists(source, pages, num_pieces, num_sets);
  std::vector<Buffer> device_lists;
  for (const Pieces& pieces : lists) device_lists.push_back(upload<kernels::GatherPiece>(pieces.list));
  const std::string shape = fmt::format("{:.1f} MiB of 16 KiB", static_cast<double>(total_bytes) / (1 << 20));
  const Work work{.bytes = static_cast<double>(num_pieces * kPieceBytes)};

  for (const std::uint32_t num_blocks : {8u, 16u, 32u}) {
    const Timing timing = timer.time_on_stream(num_sets, [&](std::size_t i, cudaStream_t stream) {
      kernels::launch_gather_pieces({.pieces = device_lists[i].as<kernels::GatherPiece>(),
                                     .num_pieces = static_cast<std::uint32_t>(num_pieces),
                                     .max_piece_bytes = kPieceBytes,
                                     .num_blocks = num_blocks},
                                    stream);
    });
    print_row(fmt::format("gather_pieces, {} blocks", num_blocks), shape, timing, work);
  }
  const Timing batch = timer.time_on_stream(num_sets, [&](std::size_t i, cudaStream_t stream) {
    cudaMemcpyAttributes attributes{};
    attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
    std::size_t first = 0;
    REPREFILL_CUDA(cudaMemcpyBatchAsync(lists[i].to.data(), lists[i].from.data(), lists[i].sizes.data(), num_pieces,
                                        &attributes, &first, 1, stream));
  });
  print_row("cudaMemcpyBatchAsync", shape, batch, work);
  const Timing single = timer.time_on_stream(num_sets, [&](std::size_t i, cudaStream_t stream) {
    const std::size_t begin = i * total_bytes % (kSourceBytes - total_bytes + 1) / kPieceBytes * kPieceBytes;
    REPREFILL_CUDA(cudaMemcpyAsync(pages.as<std::byte>(), source.as<std::byte>() + begin, num_pieces * kPieceBytes,
                                   cudaMemcpyHostToDevice, stream));
  });
  print_row("one cudaMemcpyAsync", shape, single, work);
}

}  // namespace

void time_gather(GraphTimer& timer) {
  const Buffer source(kSourceBytes, Buffer::Kind::pinned_host);
  for (const std::size_t total_kib : {608u, 4096u, 16384u, 65536u}) time_total(timer, source, total_kib * 1024);
}

}  // namespace reprefill::benchmarks
