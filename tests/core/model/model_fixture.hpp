// Shapes that the tests of this folder and of core/layout share.
#pragma once

#include "core/model/geometry.hpp"

namespace reprefill::test_support {

/// Small enough to count by hand: 3 layers, 4 query heads on 2 KV heads of 8, K of one token in one layer = 32 bytes.
inline ModelGeometry tiny_model() {
  ModelGeometry geometry;
  geometry.name = "tiny";
  geometry.num_layers = 3;
  geometry.hidden = 32;
  geometry.num_query_heads = 4;
  geometry.num_kv_heads = 2;
  geometry.head_dim = 8;
  geometry.intermediate = 48;
  geometry.vocab = 100;
  geometry.max_position_embeddings = 1024;
  return geometry;
}

/// Reference 1.1, row 7B.
inline ModelGeometry qwen_7b() {
  ModelGeometry geometry;
  geometry.name = "qwen2.5-7b";
  geometry.num_layers = 28;
  geometry.hidden = 3584;
  geometry.num_query_heads = 28;
  geometry.num_kv_heads = 4;
  geometry.head_dim = 128;
  geometry.intermediate = 18944;
  geometry.vocab = 152064;
  geometry.max_position_embeddings = 32768;
  return geometry;
}

/// Reference 1.1, row 0.5B: the smallest K of a token (256 bytes), and tied embeddings.
inline ModelGeometry qwen_0_5b() {
  ModelGeometry geometry;
  geometry.name = "qwen2.5-0.5b";
  geometry.num_layers = 24;
  geometry.hidden = 896;
  geometry.num_query_heads = 14;
  geometry.num_kv_heads = 2;
  geometry.head_dim = 64;
  geometry.intermediate = 4864;
  geometry.vocab = 151936;
  geometry.tied_embeddings = true;
  geometry.max_position_embeddings = 32768;
  return geometry;
}

}  // namespace reprefill::test_support
