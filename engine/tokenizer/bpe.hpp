// Byte-pair merging by rank (Sennrich et al. 2016, arXiv 1508.07909).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

namespace reprefill::engine {

class BytePairMerger {
 public:
  void reserve(std::size_t num_merges) { merges_.reserve(num_merges); }
  void set_byte_id(unsigned char byte, std::int32_t id) { byte_ids_[byte] = id; }
  /// Merges are added in order of rank. False: the pair has one already.
  bool add_merge(std::int32_t left, std::int32_t right, std::int32_t merged);

  /// Appends the ids of one piece: merges the pair of lowest rank, of equal ones the leftmost, until there is none.
  /// O(n log n) in its bytes, of which there are fewer than 2^32.
  void encode(std::string_view piece, std::vector<std::int32_t>& ids) const;

 private:
  struct Merge {
    std::int32_t rank = 0;
    std::int32_t merged = 0;
  };
  const Merge* find(std::int32_t left, std::int32_t right) const {
    const auto found = merges_.find(pair_of(left, right));
    return found == merges_.end() ? nullptr : &found->second;
  }
  static std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }
  void encode_short(std::string_view piece, std::vector<std::int32_t>& ids) const;
  void encode_long(std::string_view piece, std::vector<std::int32_t>& ids) const;

  std::array<std::int32_t, 256> byte_ids_{};
  boost::unordered_flat_map<std::uint64_t, Merge> merges_;
};

}  // namespace reprefill::engine
