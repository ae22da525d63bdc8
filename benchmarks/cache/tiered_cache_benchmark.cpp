// Nanoseconds per piece of what a pipeline does with it: note its selection, look it up, promote or admit, unpin.
// The argument is the number of resident pieces; O(log n) shows as slow growth. Above the size of the CPU's caches the
// growth is memory latency.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "core/base/random.hpp"
#include "core/cache/eviction/registry.hpp"
#include "core/cache/tiered_cache.hpp"

namespace {

using namespace reprefill;
using namespace reprefill::cache;

constexpr Bytes kPieceBytes{32 * 1024};
constexpr std::size_t kPiecesPerRequest = 550;

/// Requests of `kPiecesPerRequest` different pieces, of a universe of `num_universe`; half of them from its hot tenth.
std::vector<PieceKey> make_pieces(std::uint64_t num_universe, std::size_t count) {
  RandomStream random(7, 0, "cache benchmark");
  std::vector<PieceKey> pieces;
  pieces.reserve(count);
  while (pieces.size() < count) {
    const std::uint64_t range = random.uniform() < 0.5 ? num_universe / 10 + 1 : num_universe;
    const std::uint64_t number = random.below(range);
    pieces.push_back(PieceKey::make(SegmentId{static_cast<std::uint32_t>(number / 10'000)},
                                    static_cast<int>(number % 28), PieceKind::key_value,
                                    static_cast<std::uint32_t>(number % 10'000)));
  }
  return pieces;
}

class Requests {
 public:
  Requests(TieredCache& cache, std::uint64_t num_universe)
      : cache_(cache), pieces_(make_pieces(num_universe, 4 * num_universe + (1 << 20))) {}

  void run_one() {
    if (next_ + kPiecesPerRequest > pieces_.size()) next_ = 0;
    const std::span<const PieceKey> request{pieces_.data() + next_, kPiecesPerRequest};
    next_ += kPiecesPerRequest;
    moves_.clear();
    pinned_.clear();
    for (const PieceKey piece : request) {
      cache_.note_selected(piece, static_cast<double>(1 + piece.packed % 13) * 0.01);
      std::optional<Tier> tier = cache_.lookup(piece);
      if (tier == Tier::host) cache_.try_promote(piece, moves_);
      if (!tier) tier = cache_.admit_loaded(piece, kPieceBytes, moves_);
      if (tier) pinned_.push_back(piece);
    }
    for (const PieceKey piece : pinned_) cache_.unpin(piece);
  }

 private:
  TieredCache& cache_;
  std::vector<PieceKey> pieces_;
  std::size_t next_ = 0;
  std::vector<Move> moves_;
  std::vector<PieceKey> pinned_;
};

void request_pieces(benchmark::State& state, const std::string& policy) {
  const auto num_resident = static_cast<std::uint64_t>(state.range(0));
  // Tiers as 10 : 24 GB, and twice as many pieces as fit.
  TieredCache cache({.gpu = kPieceBytes * (num_resident * 10 / 34), .host = kPieceBytes * (num_resident * 24 / 34)},
                    make_eviction_policy(policy));
  Requests requests(cache, 2 * num_resident);
  for (std::uint64_t i = 0; i < 4 * num_resident / kPiecesPerRequest + 10; ++i) requests.run_one();
  cache.reset_statistics();
  for (auto _ : state) requests.run_one();
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kPiecesPerRequest));
  const CacheStatistics& counts = cache.statistics();
  const auto share = [&](std::uint64_t count) {
    return static_cast<double>(count) / static_cast<double>(counts.lookups);
  };
  state.counters["time_per_piece"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(kPiecesPerRequest),
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["hit_fraction"] = share(counts[Tier::gpu].hits + counts[Tier::host].hits);
  state.counters["moves_per_piece"] = share(counts.loads + counts.promotions + counts.demotions +
                                            counts[Tier::gpu].dropped + counts[Tier::host].dropped);
}

void sizes(benchmark::internal::Benchmark* bench) { bench->RangeMultiplier(10)->Range(1'000, 1'000'000); }

BENCHMARK_CAPTURE(request_pieces, lru, "lru")->Apply(sizes);
BENCHMARK_CAPTURE(request_pieces, lfu, "lfu")->Apply(sizes);
BENCHMARK_CAPTURE(request_pieces, s3_fifo, "s3_fifo")->Apply(sizes);
BENCHMARK_CAPTURE(request_pieces, arc, "arc")->Apply(sizes);
BENCHMARK_CAPTURE(request_pieces, importance_frequency, "importance_frequency")->Apply(sizes);
BENCHMARK_CAPTURE(request_pieces, attention_guided, "attention_guided")->Apply(sizes)->Arg(300'000);

}  // namespace
