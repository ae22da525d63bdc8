#include "calibrate/cpu/host_cells.hpp"

#include <cstring>
#include <functional>

#include "calibrate/session/lane_meter.hpp"
#include "core/base/random.hpp"
#include "core/cache/eviction/registry.hpp"
#include "core/cache/segment_tree.hpp"
#include "core/cache/tiered_cache.hpp"
#include "core/pipeline/selection.hpp"

namespace reprefill::calibrate {
namespace {

/// A cell that is one function of what `setup` made; made at the first turn, since a plan needs no buffers.
template <typename State>
class StateCell final : public Cell {
 public:
  StateCell(CellSpec spec, std::function<std::unique_ptr<State>()> setup, std::function<Sample(State&)> sample)
      : Cell(std::move(spec)), setup_(std::move(setup)), sample_(std::move(sample)) {}
  void prepare() override {
    if (state_ == nullptr) state_ = setup_();
  }
  Sample sample() override { return sample_(*state_); }

 private:
  std::function<std::unique_ptr<State>()> setup_;
  std::function<Sample(State&)> sample_;
  std::unique_ptr<State> state_;
};

template <typename State>
std::unique_ptr<Cell> make_cell(CellSpec spec, std::function<std::unique_ptr<State>()> setup,
                                std::function<Sample(State&)> sample) {
  return std::make_unique<StateCell<State>>(std::move(spec), std::move(setup), std::move(sample));
}

/// Repeats work so short that the clock's own cost would show.
double time_each(Clock& clock, int repeats, const std::function<void()>& work) {
  return time_of(clock,
                 [&] {
                   for (int i = 0; i < repeats; ++i) work();
                 }) /
         repeats;
}

// ---- copies ----

/// Rings of source and destination buffers of 256 MiB: the next copy finds neither of its own in a cache.
struct CopyBuffers {
  explicit CopyBuffers(std::size_t size)
      : bytes(size), source(kRing + size, std::byte{1}), target(kRing + size, std::byte{2}) {}
  static constexpr std::size_t kRing = std::size_t{128} << 20;
  std::size_t bytes;
  std::vector<std::byte> source, target;
  std::size_t at = 0;

  void copy() {
    std::memcpy(target.data() + at, source.data() + at, bytes);
    // Away from where the prefetcher is.
    at = (at + bytes + (std::size_t{1} << 20)) % kRing;
  }
};

std::unique_ptr<Cell> copy_cell(std::size_t bytes, Clock& clock) {
  CellSpec spec{.id = fmt::format("copy/bytes={}", bytes),
                .quantity = "copy",
                .shape = {{"bytes", bytes}},
                .expected_s = 1e-4 + static_cast<double>(bytes) / 5e9};
  const int repeats = bytes < (1u << 16) ? 16 : 1;
  return make_cell<CopyBuffers>(
      std::move(spec), [bytes] { return std::make_unique<CopyBuffers>(bytes); },
      [&clock, repeats](CopyBuffers& buffers) {
        return Sample{.values = {time_each(clock, repeats, [&] { buffers.copy(); })}};
      });
}

// ---- threads ----

std::unique_ptr<Cell> hand_over_cell() {
  CellSpec spec{.id = "hand_over", .quantity = "hand_over", .metrics = {"start_ns", "notice_ns"}, .expected_s = 0.002};
  return make_cell<ThreadLaneMeter>(
      std::move(spec), [] { return std::make_unique<ThreadLaneMeter>(); },
      [](ThreadLaneMeter& lane) {
        constexpr int kRepeats = 32;
        Sample sample{.values = {0, 0}};
        for (int i = 0; i < kRepeats; ++i) {
          const LaneTiming timing = lane.run([] {});
          sample.values[0] += timing.start_ns / kRepeats;
          sample.values[1] += timing.notice_ns / kRepeats;
        }
        return sample;
      });
}

// ---- decisions ----

std::unique_ptr<Cell> select_cell(std::size_t candidates, Clock& clock) {
  CellSpec spec{.id = fmt::format("select/candidates={}", candidates),
                .quantity = "select",
                .shape = {{"candidates", candidates}},
                .expected_s = 0.002};
  return make_cell<pipeline::Scores>(
      std::move(spec),
      [candidates] {
        auto scores = std::make_unique<pipeline::Scores>();
        RandomStream random(3, 0, "calibrate/scores");
        scores->num_units = candidates;
        for (std::size_t i = 0; i < candidates; ++i) scores->values.push_back(static_cast<float>(random.uniform()));
        return scores;
      },
      [candidates, &clock](pipeline::Scores& scores) {
        const pipeline::SelectionRule rule{.k = divide_rounding_up<std::uint64_t>(candidates, 20)};
        return Sample{.values = {time_each(clock, 16, [&] { pipeline::select_units(scores, rule); })}};
      });
}

struct StoredPrefix {
  explicit StoredPrefix(std::size_t num_blocks) : tree(64) {
    RandomStream random(4, 0, "calibrate/blocks");
    for (std::size_t i = 0; i < num_blocks; ++i) blocks.push_back(random.below(~std::uint64_t{0}));
    tree.insert(tree.match(blocks), blocks);
  }
  cache::SegmentTree tree;
  std::vector<std::uint64_t> blocks;
};

std::unique_ptr<Cell> look_up_cell(std::size_t blocks, Clock& clock) {
  CellSpec spec{.id = fmt::format("look_up/blocks={}", blocks),
                .quantity = "look_up",
                .shape = {{"blocks", blocks}},
                .expected_s = 0.0005};
  return make_cell<StoredPrefix>(
      std::move(spec), [blocks] { return std::make_unique<StoredPrefix>(blocks); },
      [&clock](StoredPrefix& stored) {
        return Sample{.values = {time_each(clock, 64, [&] { stored.tree.match(stored.blocks); })}};
      });
}

/// A cache that is full, of 10,000 pieces, and requests of 512 of 40,000.
class FullCache {
 public:
  FullCache()
      : cache_({.gpu = 5000 * kPiece, .host = 5000 * kPiece}, cache::make_eviction_policy("importance_frequency")) {
    for (int i = 0; i < 100; ++i) request();
  }
  static constexpr std::size_t kPiecesPerRequest = 512;
  void request() {
    std::vector<PieceKey> pinned;
    moves_.clear();
    for (std::size_t i = 0; i < kPiecesPerRequest; ++i) {
      const std::uint64_t number = random_.below(40'000);
      const PieceKey piece =
          PieceKey::make(SegmentId{static_cast<std::uint32_t>(number / 1000)}, static_cast<int>(number % 24),
                         PieceKind::key_value, static_cast<std::uint32_t>(number % 1000));
      cache_.note_selected(piece, 0.01);
      auto tier = cache_.lookup(piece);
      if (!tier) tier = cache_.admit_loaded(piece, kPiece, moves_);
      if (tier) pinned.push_back(piece);
    }
    for (const PieceKey piece : pinned) cache_.unpin(piece);
  }

 private:
  static constexpr Bytes kPiece{16 * 1024};
  cache::TieredCache cache_;
  RandomStream random_{5, 0, "calibrate/pieces"};
  std::vector<cache::Move> moves_;
};

std::unique_ptr<Cell> cache_cell(Clock& clock) {
  CellSpec spec{.id = "cache_update",
                .quantity = "cache_update",
                .shape = {{"pieces", FullCache::kPiecesPerRequest}},
                .expected_s = 0.001};
  return make_cell<FullCache>(
      std::move(spec), [] { return std::make_unique<FullCache>(); },
      [&clock](FullCache& cache) { return Sample{.values = {time_of(clock, [&] { cache.request(); })}}; });
}

/// English-like words of a closed list, in random order: the tokenizer sees text, not noise.
std::string sample_text(std::size_t bytes) {
  static constexpr const char* kWords[] = {"the ",  "request ",  "of ",      "a ",  "prefix, ",  "which ", "was ",
                                           "read ", "from ",     "storage ", "in ", "42 ",       "parts ", "and ",
                                           "its ",  "answer.\n", "Latency ", "is ", "measured ", "here; "};
  RandomStream random(6, 0, "calibrate/text");
  std::string text;
  while (text.size() < bytes) text += kWords[random.below(std::size(kWords))];
  return text;
}

std::unique_ptr<Cell> tokenise_cell(const engine::Tokenizer* tokenizer, std::size_t bytes, Clock& clock) {
  CellSpec spec{.id = fmt::format("tokenise/bytes={}", bytes),
                .quantity = "tokenise",
                .shape = {{"bytes", bytes}},
                .metrics = {"ns", "tokens"},
                .expected_s = 0.002};
  return make_cell<std::string>(
      std::move(spec), [bytes] { return std::make_unique<std::string>(sample_text(bytes)); },
      [tokenizer, &clock](std::string& text) {
        std::size_t tokens = 0;
        const double ns = time_of(clock, [&] { tokens = tokenizer->encode(text).size(); });
        return Sample{.values = {ns, static_cast<double>(tokens)}};
      });
}

}  // namespace

std::vector<std::unique_ptr<Cell>> host_cells(bool full, const engine::Tokenizer* tokenizer, Clock& clock) {
  std::vector<std::unique_ptr<Cell>> cells;
  const std::size_t step = full ? 4 : 16;
  for (std::size_t bytes = 4096; bytes <= (std::size_t{64} << 20); bytes *= step)
    cells.push_back(copy_cell(bytes, clock));
  cells.push_back(hand_over_cell());
  for (const std::size_t candidates : {64, 512, 4096}) cells.push_back(select_cell(candidates, clock));
  for (const std::size_t blocks : {16, 128}) cells.push_back(look_up_cell(blocks, clock));
  cells.push_back(cache_cell(clock));
  if (tokenizer != nullptr) {
    for (const std::size_t bytes : {1024, 16384}) cells.push_back(tokenise_cell(tokenizer, bytes, clock));
  }
  return cells;
}

}  // namespace reprefill::calibrate
