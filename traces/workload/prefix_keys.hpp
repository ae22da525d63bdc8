// Detail of readers: prefix keys for blocks whose ids stand for their own tokens only.
#pragma once

#include <cstdint>
#include <optional>

#include <boost/unordered/unordered_flat_map.hpp>

#include "core/base/random.hpp"

namespace reprefill::traces::detail {

/// Numbers leading runs of blocks: equal runs get equal keys, different runs different ones, so that comparing keys one
/// by one compares leading runs. Exact, from 0 up in order of first use.
class PrefixKeys {
 public:
  /// The key of the run that goes on behind `predecessor` (nothing: starts a prompt) with `block`.
  std::uint64_t key_of(std::optional<std::uint64_t> predecessor, std::uint64_t block) {
    // Keys stay below 2^63, so 0 is free for "starts a prompt".
    return keys_.try_emplace({predecessor ? *predecessor + 1 : 0, block}, keys_.size()).first->second;
  }

 private:
  struct Step {
    std::uint64_t after;
    std::uint64_t block;
    bool operator==(const Step&) const = default;
  };
  struct StepHash {
    using is_avalanching = void;
    std::size_t operator()(const Step& step) const { return combine64(step.after, step.block); }
  };
  boost::unordered_flat_map<Step, std::uint64_t, StepHash> keys_;  // never iterated
};

}  // namespace reprefill::traces::detail
