// The cache rules once more, slow and obvious: every decision scans all pieces. Written from the rules in
// tiered_cache.hpp and the policies' files, sharing no code with them.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/cache/tiered_cache.hpp"

namespace reprefill::cache {

struct ReferenceParams {
  std::string policy;
  std::uint64_t score_table_entries = 0;
  double share_weight = 0;  // 0: running mean
};

class ReferenceCache {
 public:
  ReferenceCache(TierCapacities capacities, ReferenceParams params) : params_(std::move(params)) {
    capacity_[Tier::gpu] = capacities.gpu.value;
    capacity_[Tier::host] = capacities.host.value;
  }

  void note_selected(PieceKey key, double importance) {
    if (params_.policy != "attention_guided" && params_.policy != "importance_frequency") return;
    Piece& piece = known(key);
    piece.last_seen = ++clock_;
    piece.attention += importance;
    ++piece.num_selections;
    const bool is_mean = params_.share_weight == 0 || piece.num_selections == 1;
    piece.share += (is_mean ? 1.0 / piece.num_selections : params_.share_weight) * (importance - piece.share);
  }

  std::optional<Tier> lookup(PieceKey key) {
    if (params_.policy == "lfu") {
      Piece& piece = known(key);
      piece.last_seen = ++clock_;
      ++piece.num_lookups;
    }
    const auto found = pieces_.find(key);
    if (found == pieces_.end() || !found->second.tier) return std::nullopt;
    ++found->second.num_pins;
    return found->second.tier;
  }

  std::optional<Tier> admit_loaded(PieceKey key, Bytes bytes, std::vector<Move>& moves) {
    Piece& piece = known(key);
    ++piece.num_loads;
    if (piece.tier) {
      ++piece.num_pins;
      return piece.tier;
    }
    piece.bytes = bytes.value;
    for (const Tier tier : {Tier::gpu, Tier::host}) {
      if (!make_room(tier, key, moves)) continue;
      piece.num_pins = 1;
      enter(piece, tier);
      moves.push_back({key, bytes, tier == Tier::gpu ? Decision::entered_gpu : Decision::entered_host});
      return tier;
    }
    moves.push_back({key, bytes, Decision::bypassed});
    if (params_.policy == "lru") pieces_.erase(key);
    return std::nullopt;
  }

  bool try_promote(PieceKey key, std::vector<Move>& moves) {
    Piece& piece = pieces_.at(key);
    const std::optional<std::vector<PieceKey>> victims = victims_for(Tier::gpu, key);
    if (!victims) return false;
    piece.tier.reset();
    evict(Tier::gpu, *victims, moves);
    enter(piece, Tier::gpu);
    moves.push_back({key, Bytes{piece.bytes}, Decision::promoted});
    return true;
  }

  void unpin(PieceKey key) {
    Piece& piece = pieces_.at(key);
    if (--piece.num_pins == 0) piece.last_release = ++clock_;
  }

  std::optional<Tier> find(PieceKey key) const {
    const auto found = pieces_.find(key);
    return found == pieces_.end() ? std::nullopt : found->second.tier;
  }
  std::uint64_t used(Tier tier) const {
    std::uint64_t sum = 0;
    for (const auto& [key, piece] : pieces_) sum += piece.tier == tier ? piece.bytes : 0;
    return sum;
  }
  std::size_t num_known_pieces() const { return pieces_.size(); }
  std::uint64_t states_dropped() const { return states_dropped_; }

 private:
  struct Piece {
    std::optional<Tier> tier;
    std::uint64_t bytes = 0;
    int num_pins = 0;
    int num_selections = 0, num_lookups = 0, num_loads = 0;
    double attention = 0, share = 0;
    std::uint64_t entry = 0;         // into its tier
    std::uint64_t last_release = 0;  // of the last pin, or entry without one
    std::uint64_t last_seen = 0;     // selected, looked up (lfu), or since when it is absent
  };

  double worth(const Piece& piece) const {
    if (params_.policy == "lfu") return piece.num_lookups;
    if (params_.policy == "importance_frequency") return piece.num_selections * piece.share;
    return piece.attention * piece.num_loads;
  }
  bool leaves_before(const Piece& a, const Piece& b) const {
    if (params_.policy == "lru") return a.last_release < b.last_release;
    return worth(a) != worth(b) ? worth(a) < worth(b) : a.entry < b.entry;
  }

  Piece& known(PieceKey key) {
    if (!pieces_.contains(key) && params_.policy != "lru" && pieces_.size() >= params_.score_table_entries) {
      std::optional<PieceKey> oldest;
      for (const auto& [other, piece] : pieces_) {
        if (!piece.tier && (!oldest || piece.last_seen < pieces_.at(*oldest).last_seen)) oldest = other;
      }
      if (oldest) {
        pieces_.erase(*oldest);
        ++states_dropped_;
      }
    }
    if (!pieces_.contains(key)) pieces_[key].last_seen = ++clock_;
    return pieces_[key];
  }

  std::optional<std::vector<PieceKey>> victims_for(Tier tier, PieceKey candidate_key) {
    const Piece& candidate = pieces_.at(candidate_key);
    if (candidate.bytes > capacity_[tier]) return std::nullopt;
    std::vector<PieceKey> unpinned;
    for (const auto& [key, piece] : pieces_) {
      if (piece.tier == tier && piece.num_pins == 0) unpinned.push_back(key);
    }
    std::sort(unpinned.begin(), unpinned.end(),
              [&](PieceKey a, PieceKey b) { return leaves_before(pieces_.at(a), pieces_.at(b)); });
    std::uint64_t room = capacity_[tier] - used(tier);
    std::vector<PieceKey> victims;
    for (const PieceKey key : unpinned) {
      if (room >= candidate.bytes) break;
      if (params_.policy != "lru" && !(worth(candidate) > worth(pieces_.at(key)))) return std::nullopt;
      room += pieces_.at(key).bytes;
      victims.push_back(key);
    }
    if (room < candidate.bytes) return std::nullopt;
    return victims;
  }
  bool make_room(Tier tier, PieceKey candidate, std::vector<Move>& moves) {
    const std::optional<std::vector<PieceKey>> victims = victims_for(tier, candidate);
    if (victims) evict(tier, *victims, moves);
    return victims.has_value();
  }
  void evict(Tier tier, const std::vector<PieceKey>& victims, std::vector<Move>& moves) {
    for (const PieceKey key : victims) {
      Piece& piece = pieces_.at(key);
      piece.tier.reset();
      if (tier == Tier::gpu && make_room(Tier::host, key, moves)) {
        enter(piece, Tier::host);
        moves.push_back({key, Bytes{piece.bytes}, Decision::demoted});
        continue;
      }
      moves.push_back({key, Bytes{piece.bytes}, tier == Tier::gpu ? Decision::dropped_gpu : Decision::dropped_host});
      piece.last_seen = ++clock_;
      if (params_.policy == "lru") pieces_.erase(key);
    }
  }
  void enter(Piece& piece, Tier tier) {
    piece.tier = tier;
    piece.entry = ++clock_;
    if (piece.num_pins == 0) piece.last_release = ++clock_;
  }

  ReferenceParams params_;
  std::map<Tier, std::uint64_t> capacity_;
  std::map<PieceKey, Piece> pieces_;
  std::uint64_t clock_ = 0;
  std::uint64_t states_dropped_ = 0;
};

}  // namespace reprefill::cache
