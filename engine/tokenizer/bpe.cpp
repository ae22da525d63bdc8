#include "engine/tokenizer/bpe.hpp"

#include <limits>
#include <optional>
#include <queue>

#include "core/base/error.hpp"

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
  std::array<std::int32_t, kShortBytes> symbols{};
  std::array<Merge, kShortBytes> pairs{};  // of symbol i with symbol i + 1
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

namespace {

constexpr std::uint32_t kEnd = std::numeric_limits<std::uint32_t>::max();

/// One of a doubly linked list. A symbol that its left neighbour swallowed has the id -1.
struct Symbol {
  std::int32_t id;
  std::uint32_t previous, next;
};

/// A pair that could be merged when it was found; stale once one of its symbols has another id.
struct Candidate {
  std::int32_t rank;
  std::uint32_t left;
  std::int32_t left_id, right_id;
  bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
};

}  // namespace

void BytePairMerger::encode_long(std::string_view piece, std::vector<std::int32_t>& ids) const {
  REPREFILL_CHECK(piece.size() < kEnd, "a piece of {} bytes", piece.size());
  const auto count = static_cast<std::uint32_t>(piece.size());
  std::vector<Symbol> symbols(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    symbols[i] = {byte_ids_[static_cast<unsigned char>(piece[i])], i == 0 ? kEnd : i - 1,
                  i + 1 == count ? kEnd : i + 1};
  }
  const auto candidate_at = [&](std::uint32_t left) -> std::optional<Candidate> {
    if (left == kEnd || symbols[left].next == kEnd) return std::nullopt;
    const std::int32_t left_id = symbols[left].id, right_id = symbols[symbols[left].next].id;
    const Merge* merge = find(left_id, right_id);
    if (merge == nullptr) return std::nullopt;
    return Candidate{merge->rank, left, left_id, right_id};
  };
  std::vector<Candidate> first;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (const auto candidate = candidate_at(i)) first.push_back(*candidate);
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue({}, std::move(first));
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = symbols[best.left];
    if (left.id != best.left_id || left.next == kEnd || symbols[left.next].id != best.right_id) continue;
    Symbol& right = symbols[left.next];
    left.id = find(best.left_id, best.right_id)->merged;
    right.id = -1;
    left.next = right.next;
    if (left.next != kEnd) symbols[left.next].previous = best.left;
    for (const std::uint32_t at : {best.left, left.previous}) {
      if (const auto candidate = candidate_at(at)) queue.push(*candidate);
    }
  }
  for (std::uint32_t i = 0; i != kEnd; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace reprefill::engine
