// How far the own tokens of a request have come: what the order of an executor's calls is checked by.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/executor/executor.hpp"

namespace reprefill::engine {

/// Layers that each token has been through: `project` of layer l needs l layers attended and may be repeated, `attend`
/// needs it projected. Every call throws InvariantError for what is out of order, or outside the tokens there are.
class LayerProgress {
 public:
  void resize(std::size_t num_tokens) { tokens_.resize(num_tokens); }
  void project(OwnRange range, int layer_idx);
  void attend(OwnRange range, int layer_idx);
  /// All own tokens must be projected, and nothing later.
  void check_scored(int layer_idx) const;
  void check_finished(OwnRange range, int num_layers) const;

 private:
  struct Token {
    int projected = 0;
    int attended = 0;
  };
  void check(OwnRange range) const;

  std::vector<Token> tokens_;
};

}  // namespace reprefill::engine
