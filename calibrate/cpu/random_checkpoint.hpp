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

/// Writes config.json (that of `config`, with fewer layers, and the head tied to the embedding, which costs the same)
/// and model.safetensors. Throws ConfigError for a config.json that the engine does not run, or where the disk is too
/// full.
void write_random_checkpoint(const std::filesystem::path& folder, const std::filesystem::path& config, int num_layers);

}  // namespace reprefill::calibrate
