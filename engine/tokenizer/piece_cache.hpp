// Ids of the pieces that a text has had before: words repeat.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer/tokenizer_file.hpp"

namespace reprefill::engine {

/// Bounded in pieces and in their length, so that a text of distinct words costs little memory.
class PieceCache {
 public:
  /// Appends the piece's ids, if it is known.
  bool append(std::string_view piece, std::vector<std::int32_t>& ids) const {
    if (piece.size() > kMaxPieceBytes) return false;
    const auto found = pieces_.find(piece);
    if (found == pieces_.end()) return false;
    const auto first = ids_.begin() + found->second.first;
    ids.insert(ids.end(), first, first + found->second.count);
    return true;
  }

  void keep(std::string_view piece, std::span<const std::int32_t> ids) {
    if (piece.size() > kMaxPieceBytes || pieces_.size() >= kMaxPieces) return;
    pieces_.emplace(piece, Ids{static_cast<std::uint32_t>(ids_.size()), static_cast<std::uint32_t>(ids.size())});
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }

 private:
  static constexpr std::size_t kMaxPieceBytes = 64;
  static constexpr std::size_t kMaxPieces = std::size_t{1} << 16;
  struct Ids {
    std::uint32_t first, count;
  };
  boost::unordered_flat_map<std::string, Ids, TextHash, std::equal_to<>> pieces_;
  std::vector<std::int32_t> ids_;
};

}  // namespace reprefill::engine
