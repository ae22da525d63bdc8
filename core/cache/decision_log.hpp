// What a cache decided, in program order: the thing that must be equal between machines (design 4).
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/units.hpp"
#include "core/model/piece.hpp"

namespace reprefill::cache {

enum class Tier : std::uint8_t { gpu, host };
inline constexpr int kNumTiers = 2;
constexpr std::size_t index_of(Tier tier) { return static_cast<std::size_t>(tier); }
const char* name_of(Tier tier);

/// Decisions about one piece. The first seven are moves: they change where pieces are, or say that nothing did.
enum class Decision : std::uint8_t {
  entered_gpu,   // loaded from SSD
  entered_host,  // loaded from SSD
  promoted,      // host -> GPU
  demoted,       // GPU -> host: costs a copy
  dropped_gpu,   // left the GPU tier; the SSD has it
  dropped_host,  // left the host tier; the SSD has it
  bypassed,      // loaded from SSD and entered nothing
  hit_gpu,
  hit_host,
  missed,
  not_promoted,  // a host hit stays where it is
  state_dropped  // the score table was full
};
const char* name_of(Decision decision);

struct Move {
  PieceKey key;
  Bytes bytes;
  Decision decision = Decision::bypassed;
  bool operator==(const Move&) const = default;
};

/// Told of every decision as it is taken: the engine keeps bytes where the cache says that they are.
class DecisionObserver {
 public:
  virtual ~DecisionObserver() = default;
  virtual void on_decision(const Move& decision) = 0;
};

/// A running digest of all decisions, and the decisions themselves on request (24 bytes each).
class DecisionLog {
 public:
  enum class Keep : std::uint8_t { digest_only, full_list };
  explicit DecisionLog(Keep keep = Keep::digest_only) : keep_(keep) {}

  void record(const Move& decision);
  /// nullptr: nobody. Not owned.
  void set_observer(DecisionObserver* observer) { observer_ = observer; }

  /// XXH3 over the decisions, chained: equal logs have equal digests.
  std::uint64_t digest() const { return digest_; }
  std::uint64_t num_decisions() const { return num_decisions_; }
  /// Empty with Keep::digest_only.
  const std::vector<Move>& decisions() const { return decisions_; }

 private:
  Keep keep_;
  DecisionObserver* observer_ = nullptr;
  std::uint64_t digest_ = 0;
  std::uint64_t num_decisions_ = 0;
  std::vector<Move> decisions_;
};

}  // namespace reprefill::cache
