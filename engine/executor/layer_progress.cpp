#include "engine/executor/layer_progress.hpp"

#include <span>

#include "core/base/error.hpp"

namespace reprefill::engine {

void LayerProgress::check(OwnRange range) const {
  REPREFILL_CHECK(range.first <= tokens_.size() && range.count <= tokens_.size() - range.first,
                  "own tokens [{}, +{}) of {}", range.first, range.count, tokens_.size());
}

void LayerProgress::project(OwnRange range, int layer_idx) {
  check(range);
  for (Token& token : std::span(tokens_).subspan(range.first, range.count)) {
    REPREFILL_CHECK(token.attended == layer_idx, "layer {} is projected after {} layers", layer_idx, token.attended);
    token.projected = layer_idx + 1;
  }
}

void LayerProgress::attend(OwnRange range, int layer_idx) {
  check(range);
  for (const Token& before : std::span(tokens_).first(range.first)) {
    REPREFILL_CHECK(before.projected > layer_idx, "an earlier token has not been projected in layer {}", layer_idx);
  }
  for (Token& token : std::span(tokens_).subspan(range.first, range.count)) {
    REPREFILL_CHECK(token.projected == layer_idx + 1 && token.attended == layer_idx,
                    "layer {} is attended after {} were projected and {} attended", layer_idx, token.projected,
                    token.attended);
    token.attended = layer_idx + 1;
  }
}

void LayerProgress::check_scored(int layer_idx) const {
  for (const Token& token : tokens_) {
    REPREFILL_CHECK(token.projected == layer_idx + 1, "layer {} is scored, but {} were projected", layer_idx,
                    token.projected);
  }
}

void LayerProgress::check_finished(OwnRange range, int num_layers) const {
  check(range);
  for (const Token& token : std::span(tokens_).subspan(range.first, range.count)) {
    REPREFILL_CHECK(token.attended == num_layers, "logits after {} layers", token.attended);
  }
}

}  // namespace reprefill::engine
