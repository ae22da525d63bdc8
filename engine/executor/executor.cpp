#include "engine/executor/executor.hpp"

#include <cmath>

#include "core/base/error.hpp"

namespace reprefill::engine {

void check_tokens(const DecoderConfig& config, std::span<const std::int32_t> ids, std::uint32_t num_stored_tokens,
                  std::uint32_t num_own_tokens) {
  const ModelGeometry& geometry = config.geometry;
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= geometry.vocab) {
      throw ConfigError(fmt::format("token id {} is outside the vocabulary of {}: allowed are 0 to {}", id,
                                    geometry.name, geometry.vocab - 1));
    }
  }
  const std::uint64_t end = std::uint64_t{num_stored_tokens} + num_own_tokens;
  if (end > config.max_positions) {
    throw ConfigError(fmt::format("{} tokens ({} stored, {} own) are more than the {} positions of {}", end,
                                  num_stored_tokens, num_own_tokens, config.max_positions, geometry.name));
  }
}

std::int32_t argmax(std::span<const float> logits) {
  REPREFILL_CHECK(!logits.empty(), "the highest of no logits");
  std::size_t best = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    REPREFILL_CHECK(!std::isnan(logits[i]), "logit {} is not a number", i);
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<std::int32_t>(best);
}

}  // namespace reprefill::engine
