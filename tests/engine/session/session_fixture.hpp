// A tiny model on disk, a store with prefixes that share segments, and a sequence of requests on them.
#pragma once

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "engine/session/prefix_builder.hpp"
#include "engine/session/session.hpp"
#include "engine/store/calibration.hpp"
#include "engine/store/system_layouts.hpp"
#include "tests/engine/tokenizer/tiny_tokenizer.hpp"
#include "tests/sim/machines/machines_fixture.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tiny_checkpoint.hpp"

namespace reprefill::engine::test_support {

using reprefill::test_support::TemporaryFolder;
using reprefill::test_support::Variant;

/// The shape of machines_fixture's small_model, with attention that is neither uniform nor a single token.
inline reprefill::test_support::TinyCheckpoint small_checkpoint() {
  return {.num_layers = 10,
          .hidden = 256,
          .num_query_heads = 8,
          .num_kv_heads = 2,
          .head_dim = 32,
          .intermediate = 128,
          .vocab = 300,
          .weight_scale = 1.5};
}

/// A model folder with a tokenizer of single bytes, opened.
class SmallModel {
 public:
  explicit SmallModel(const reprefill::test_support::TinyCheckpoint& shape = small_checkpoint()) {
    write_checkpoint(folder_ / "model", shape);
    std::ofstream(folder_ / "model" / "tokenizer.json") << tiny_tokenizer({}).dump();
    model = Model::open(folder_ / "model", "", {.cpu = {.num_threads = 2}});
  }
  std::filesystem::path folder() const { return folder_ / "model"; }

 private:
  TemporaryFolder folder_;

 public:
  Model model;
};

/// Four prefixes: two by themselves, two that share their first 384 tokens.
inline std::vector<std::vector<std::int32_t>> some_prefixes() {
  std::vector<std::vector<std::int32_t>> prefixes;
  for (std::uint64_t p = 0; p < 4; ++p) {
    std::vector<std::int32_t> ids;
    const std::uint64_t start = p == 3 ? 0 : p;
    for (std::uint64_t i = 0; i < (p == 3 ? 704u : 640u); ++i) {
      ids.push_back(static_cast<std::int32_t>(combine64(i < 384 ? start : p + 10, i) % 256));
    }
    prefixes.push_back(std::move(ids));
  }
  return prefixes;
}

inline std::vector<Prompt> some_requests(std::size_t count = 12) {
  const auto prefixes = some_prefixes();
  std::vector<Prompt> requests;
  for (std::size_t r = 0; r < count; ++r) {
    Prompt request{.name = std::to_string(r), .ids = prefixes[(r * 7 + r / 3) % 4]};
    for (std::uint64_t i = 0; i < 30; ++i) {
      request.ids.push_back(static_cast<std::int32_t>(combine64(100 + r, i) % 256));
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

inline Json resolve(const Variant& variant, pipeline::PathKind path) {
  const Json name = variant.system;
  return pipeline::find_system(JsonValue(name, "test")).resolve(JsonValue(variant.params, variant.name), path);
}

/// What stores of systems that reorder offline are ordered by.
inline const traces::ImportanceSource& calibration_importance() {
  static const traces::SyntheticImportance importance(traces::importance_preset("paper-5pct", "test").params,
                                                      {.num_kv_heads = 2, .probe_kv_heads = {0, 0, 0}}, 13);
  return importance;
}

inline std::uint32_t calibration_requests_of(const Variant& variant, pipeline::PathKind path) {
  const Json params = resolve(variant, path);
  if (!params.contains("reorder") || params["reorder"]["io"] != "offline") return 0;
  return params["reorder"]["calibration_requests"].get<std::uint32_t>();
}

/// A store with the prefixes above, in the layout that the variant opens (the defaults, where it opens none), reordered
/// where that is a reordered one.
class PrefixStore {
 public:
  PrefixStore(Model& model, const Variant& variant, pipeline::PathKind path) {
    const ModelGeometry& geometry = model.checkpoint->geometry();
    StoreGeometry stored = StoreGeometry::of(geometry);
    stored.kv_type = model.executor->kv_type();
    StoreManifest manifest{
        .model = {.name = "small", .fingerprint = model.checkpoint->fingerprint(), .geometry = stored}};
    std::optional<StoredLayout> layout = layout_of_system(variant.system, resolve(variant, path), path, geometry);
    if (layout) layout->permutation = false;
    manifest.layouts = layout ? std::vector<StoredLayout>{*layout} : default_layouts(geometry);
    {
      StoreWriter writer(folder_ / "store", manifest);
      for (const auto& prefix : some_prefixes()) build_prefix(*model.executor, writer, prefix);
    }
    if (const std::uint32_t requests = calibration_requests_of(variant, path)) {
      reorder_store(folder_ / "store", {.calibration_requests = requests}, [&](const Store& store) {
        return orders_from_generator(store, calibration_importance(), requests);
      });
    }
    store_.emplace(Store::open(folder_ / "store"));
  }
  const Store& operator*() const { return *store_; }
  std::filesystem::path folder() const { return folder_ / "store"; }

 private:
  TemporaryFolder folder_;
  std::optional<Store> store_;
};

/// For systems that know selections beforehand; null for the others, which score.
inline const traces::ImportanceSource* known_selections(const Variant& variant) {
  static const traces::SyntheticImportance known(traces::importance_preset("paper-5pct", "test").params,
                                                 {.num_kv_heads = 2, .probe_kv_heads = {0, 0, 0}}, 11);
  return variant.system == "oracle" ? &known : nullptr;
}

inline SessionOptions session_options(const Variant& variant, pipeline::PathKind path) {
  return {.system = variant.system,
          .system_params = variant.params,
          .path = path,
          .selections = known_selections(variant),
          .keep_logits = true};
}

/// "direct_ckv_reuse".
inline std::string name_of(const testing::TestParamInfo<std::tuple<Variant, pipeline::PathKind>>& info) {
  return enum_name(std::get<1>(info.param)) + "_" + std::get<0>(info.param).name;
}

}  // namespace reprefill::engine::test_support
