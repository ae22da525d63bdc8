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
    if (params_.policy == "lfu" || is_queued()) {
      Piece& piece = known(key);
      piece.last_seen = ++clock_;
      ++piece.num_lookups;
    }
    const auto found = pieces_.find(key);
    if (found == pieces_.end() || !found->second.tier) return std::nullopt;
    found->second.uses = std::min(found->second.uses + 1, 3);
    if (params_.policy == "arc") found->second.is_old = true;
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
    load_into_queue(piece);
    for (const Tier tier : {Tier::gpu, Tier::host}) {
      if (!make_room(tier, key, moves)) continue;
      piece.num_pins = 1;
      enter(piece, tier);
      trim_ghosts();
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

  void discard(PieceKey key, std::vector<Move>& moves) {
    const std::optional<Tier> tier = find(key);
    if (!tier) return;
    pieces_.at(key).tier.reset();
    drop(key, *tier, moves);
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
    // s3_fifo: in the main queue, its place, uses there, and the number of its ghost; arc: in the frequent list.
    bool is_old = false;
    std::uint64_t place = 0;
    int uses = 0;
    std::uint64_t ghost = 0;  // 0: none; arc: when it became one
    bool from_old_ghost = false;
    bool is_resident = false;  // also on its way from tier to tier
  };

  bool is_queued() const { return params_.policy == "s3_fifo" || params_.policy == "arc"; }

  /// Pieces of a tier with this kind; `free` ones are unpinned and not taken.
  template <typename Key>
  std::optional<PieceKey> first_free(Tier tier, bool old, const std::vector<PieceKey>& taken, Key key_of) const {
    std::optional<PieceKey> first;
    for (const auto& [key, piece] : pieces_) {
      if (piece.tier != tier || piece.is_old != old || piece.num_pins > 0) continue;
      if (std::find(taken.begin(), taken.end(), key) != taken.end()) continue;
      if (!first || key_of(piece) < key_of(pieces_.at(*first))) first = key;
    }
    return first;
  }
  std::uint64_t count(std::optional<Tier> tier, bool old) const {
    std::uint64_t number = 0;
    for (const auto& [key, piece] : pieces_) {
      number += (tier ? piece.tier == tier : piece.is_resident) && piece.is_old == old;
    }
    return number;
  }
  std::uint64_t num_resident() const { return count(std::nullopt, false) + count(std::nullopt, true); }
  std::uint64_t num_ghosts(bool old) const {
    std::uint64_t number = 0;
    for (const auto& [key, piece] : pieces_) number += piece.ghost > 0 && piece.is_old == old;
    return number;
  }

  void load_into_queue(Piece& piece) {
    if (params_.policy == "s3_fifo") {
      piece.is_old = piece.ghost > 0 && num_ghosts_made_ - piece.ghost < num_resident();
      piece.uses = 0;
    }
    if (params_.policy == "arc") {
      piece.from_old_ghost = false;
      if (piece.ghost == 0) {
        piece.is_old = false;
      } else {
        const std::uint64_t young = num_ghosts(false), old = num_ghosts(true);
        if (!piece.is_old) target_ = std::min(num_resident(), target_ + std::max<std::uint64_t>(1, old / young));
        if (piece.is_old) target_ -= std::min(target_, std::max<std::uint64_t>(1, young / old));
        piece.from_old_ghost = piece.is_old;
        piece.is_old = true;
      }
    }
    piece.ghost = 0;
  }
  void trim_ghosts() {
    if (params_.policy != "arc") return;
    while (num_ghosts(false) > 0 && num_ghosts(false) + count(std::nullopt, false) > num_resident()) drop_ghost(false);
    while (num_ghosts(false) + num_ghosts(true) > num_resident()) drop_ghost(num_ghosts(true) > 0);
  }
  void drop_ghost(bool old) {
    Piece* oldest = nullptr;
    for (auto& [key, piece] : pieces_) {
      if (piece.ghost > 0 && piece.is_old == old && (!oldest || piece.ghost < oldest->ghost)) oldest = &piece;
    }
    oldest->ghost = 0;
  }

  std::optional<PieceKey> next_of_s3_fifo(Tier tier, const std::vector<PieceKey>& taken) {
    const auto pop = [&](bool main) -> std::optional<PieceKey> {
      while (const auto key = first_free(tier, main, taken, [](const Piece& p) { return p.place; })) {
        Piece& piece = pieces_.at(*key);
        if (main ? piece.uses == 0 : piece.uses < 2) return key;
        piece.uses = main ? piece.uses - 1 : 0;
        piece.is_old = true;
        piece.place = ++clock_;
      }
      return std::nullopt;
    };
    const auto small = static_cast<double>(count(tier, false));
    const bool small_first = small >= 0.1 * (small + static_cast<double>(count(tier, true)));
    for (const bool main : {!small_first, small_first, true}) {
      if (const auto key = pop(main)) return key;
    }
    return std::nullopt;
  }
  std::optional<PieceKey> next_of_arc(Tier tier, const std::vector<PieceKey>& taken, const Piece& candidate) {
    const std::uint64_t young = count(tier, false) * num_resident();
    const std::uint64_t target = target_ * (count(tier, false) + count(tier, true));
    const bool too_many = young > target || (young == target && candidate.from_old_ghost);
    for (const bool old : {!too_many, too_many}) {
      if (const auto key = first_free(tier, old, taken, [](const Piece& p) { return p.last_release; })) return key;
    }
    return std::nullopt;
  }
  std::optional<std::vector<PieceKey>> queued_victims(Tier tier, const Piece& candidate) {
    std::uint64_t room = capacity_[tier] - used(tier);
    std::vector<PieceKey> victims;
    while (room < candidate.bytes) {
      const std::optional<PieceKey> next =
          params_.policy == "arc" ? next_of_arc(tier, victims, candidate) : next_of_s3_fifo(tier, victims);
      if (!next) return std::nullopt;
      victims.push_back(*next);
      room += pieces_.at(*next).bytes;
    }
    return victims;
  }

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
    if (is_queued()) return queued_victims(tier, candidate);
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
      drop(key, tier, moves);
    }
  }
  void drop(PieceKey key, Tier tier, std::vector<Move>& moves) {
    Piece& piece = pieces_.at(key);
    moves.push_back({key, Bytes{piece.bytes}, tier == Tier::gpu ? Decision::dropped_gpu : Decision::dropped_host});
    piece.last_seen = ++clock_;
    piece.is_resident = false;
    if (params_.policy == "s3_fifo" && !piece.is_old) piece.ghost = ++num_ghosts_made_;
    if (params_.policy == "arc") piece.ghost = clock_;
    if (params_.policy == "lru") pieces_.erase(key);
  }
  void enter(Piece& piece, Tier tier) {
    piece.tier = tier;
    piece.entry = piece.place = ++clock_;
    piece.from_old_ghost = false;
    piece.is_resident = true;
    if (piece.num_pins == 0) piece.last_release = ++clock_;
  }

  ReferenceParams params_;
  std::map<Tier, std::uint64_t> capacity_;
  std::map<PieceKey, Piece> pieces_;
  std::uint64_t clock_ = 0;
  std::uint64_t states_dropped_ = 0;
  std::uint64_t num_ghosts_made_ = 0;
  std::uint64_t target_ = 0;  // arc
};

}  // namespace reprefill::cache
