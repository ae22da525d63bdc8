#include "engine/tokenizer/bpe.hpp"

#include <limits>
#include <queue>

namespace reprefill::engine {
namespace {

/// Up to here a scan for the lowest rank is faster than a heap.
constexpr std::size_t kShortBytes = 48;

}  // namespace

bool BytePairMerger::add_merge(std::int32_t left, std::int32_t right, std::int32_t merged) {
  const auto rank = static_cast<std::int32_t>(merges_.size());
  return merges_.emplace(pair_of(left, right), Merge{rank, merged}).second;
}

void BytePairMerger::encode(std::string_view piece, std::vector<std::int32_t>& ids) const {
  if (piece.size() <= kShortBytes) {
    encode_short(piece, ids);
  } else {
    encode_long(piece, ids);
  }
}

void BytePairMerger::encode_short(std::string_view piece, std::vector<std::int32_t>& ids) const {
  constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();
  std::array<std::int32_t, kShortBytes> symbols;
  std::array<Merge, kShortBytes> pairs;  // of symbol i with symbol i + 1
  std::size_t count = piece.size();
  const auto pair_at = [&](std::size_t i) {
    if (i + 1 >= count) return Merge{kNone, 0};
    const Merge* merge = find(symbols[i], symbols[i + 1]);
    return merge == nullptr ? Merge{kNone, 0} : *merge;
  };
  for (std::size_t i = 0; i < count; ++i) symbols[i] = byte_ids_[static_cast<unsigned char>(piece[i])];
  for (std::size_t i = 0; i < count; ++i) pairs[i] = pair_at(i);
  for (;;) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < count; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (count == 0 || pairs[best].rank == kNone) break;
    symbols[best] = pairs[best].merged;
    for (std::size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      pairs[i] = pairs[i + 1];
    }
    --count;
    pairs[best] = pair_at(best);
    if (best > 0) pairs[best - 1] = pair_at(best - 1);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + static_cast<std::ptrdiff_t>(count));
}

void BytePairMerger::encode_long(std::string_view piece, std::vector<std::int32_t>& ids) const {
  constexpr std::size_t kEnd = std::numeric_limits<std::size_t>::max();
  struct Symbol {
    std::int32_t id;
    std::size_t previous, next;
  };
  struct Candidate {
    std::int32_t rank;
    std::size_t left;
    std::int32_t left_id, right_id, merged;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  std::vector<Symbol> symbols(piece.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](std::size_t left) {
    if (left == kEnd || symbols[left].next == kEnd) return;
    const std::int32_t a = symbols[left].id, b = symbols[symbols[left].next].id;
    if (const Merge* merge = find(a, b)) queue.push({merge->rank, left, a, b, merge->merged});
  };
  for (std::size_t i = 0; i < piece.size(); ++i) {
    symbols[i] = {byte_ids_[static_cast<unsigned char>(piece[i])], i == 0 ? kEnd : i - 1,
                  i + 1 == piece.size() ? kEnd : i + 1};
  }
  for (std::size_t i = 0; i < piece.size(); ++i) consider(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.left];
    // Entries that a merge made stale: a swallowed symbol has id -1, a grown one another id.
    if (left.id != best.left_id || left.next == kEnd || symbols[left.next].id != best.right_id) continue;
    Symbol& right = symbols[left.next];
    left.id = best.merged;
    right.id = -1;
    left.next = right.next;
    if (left.next != kEnd) symbols[left.next].previous = best.left;
    consider(best.left);
    consider(left.previous);
  }
  for (std::size_t i = 0; i != kEnd; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace reprefill::engine
