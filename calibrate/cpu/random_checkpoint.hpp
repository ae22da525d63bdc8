// A checkpoint of any published shape with few layers of random weights: layers are alike, so a few of them say what an
// operation costs, and no weights need to be had.
#pragma once

#include <filesystem>

#include "core/base/units.hpp"
#include "core/model/geometry.hpp"

namespace reprefill::calibrate {

/// Enough layers that their weights, as the executor reads them, are several times a last-level cache, so that a
/// layer's weights come from memory as they do in the whole model; never more than the model has.
int num_random_layers(const ModelGeometry& geometry);
Bytes random_checkpoint_bytes(const ModelGeometry& geometry, int num_layers);

/// Writes config.json and model.safetensors of this shape with so many layers; the head is tied to the embedding, which
/// costs the same. Throws ConfigError where the disk is too full.
void write_random_checkpoint(const std::filesystem::path& folder, const ModelGeometry& geometry, int num_layers);

}  // namespace reprefill::calibrate
