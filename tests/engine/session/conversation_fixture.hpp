// Conversations that a session serves turn by turn, each prompt going on with what was answered, and the same as a
// trace for the simulator.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "tests/engine/session/session_fixture.hpp"

namespace reprefill::engine::test_support {

inline constexpr std::uint32_t kBlockTokens = 64;  // of the store and of the trace

/// A store without segments, in the layout that the variant opens.
class EmptyStore {
 public:
  EmptyStore(Model& model, const Variant& variant, pipeline::PathKind path) {
    const ModelGeometry& geometry = model.checkpoint->geometry();
    StoreManifest manifest{.model = {.name = "small",
                                     .fingerprint = model.checkpoint->fingerprint(),
                                     .geometry = StoreGeometry::of(geometry)},
                           .store_block_tokens = kBlockTokens};
    const auto layout = layout_of_system(variant.system, resolve(variant, path), path, geometry);
    manifest.layouts = layout ? std::vector<StoredLayout>{*layout} : default_layouts(geometry);
    manifest_ = manifest;
    StoreWriter writer(folder(), manifest);
    store_.emplace(Store::open(folder()));
  }
  const Store& operator*() const { return *store_; }
  const StoreManifest& manifest() const { return manifest_; }
  std::filesystem::path folder() const { return folder_ / "store"; }

 private:
  TemporaryFolder folder_;
  StoreManifest manifest_;
  std::optional<Store> store_;
};

struct Turn {
  std::vector<std::int32_t> prompt;
  RequestOutcome outcome;
};

/// Every turn fills at least one more block.
struct Conversations {
  std::uint64_t count = 2;
  std::uint64_t num_turns = 5;
  std::uint64_t first_tokens = 200;
  std::uint64_t more_tokens = 90;
  std::uint32_t output_tokens = 40;  // where outputs are stored
};

/// Conversations by turns, and at last a prompt that is too short to be stored.
inline std::vector<Turn> serve_conversations(Session& session, std::uint32_t max_tokens,
                                             ImportanceRecorder* recorder = nullptr,
                                             const SessionCallbacks& callbacks = {}, const Conversations& shape = {}) {
  std::vector<std::vector<std::int32_t>> said(shape.count);
  std::vector<Turn> turns;
  const auto serve = [&](const std::vector<std::int32_t>& ids) {
    const Prompt prompt{.name = std::to_string(turns.size()), .ids = ids, .max_tokens = max_tokens};
    turns.push_back({.prompt = ids, .outcome = session.serve({&prompt, 1}, callbacks, recorder).front()});
  };
  for (std::uint64_t turn = 0; turn < shape.num_turns; ++turn) {
    for (std::uint64_t c = 0; c < shape.count; ++c) {
      std::vector<std::int32_t>& ids = said[c];
      const std::uint64_t question = turn == 0 ? shape.first_tokens : shape.more_tokens + 20 * c;
      for (std::uint64_t i = 0; i < question; ++i) {
        ids.push_back(static_cast<std::int32_t>(combine64(combine64(c, turn), i) % 256));
      }
      serve(ids);
      const std::vector<std::int32_t>& answer = turns.back().outcome.generated;
      ids.insert(ids.end(), answer.begin(), answer.end());
    }
  }
  serve(std::vector<std::int32_t>(said[0].begin() + 5, said[0].begin() + 25));
  return turns;
}

/// Mooncake JSONL: an id stands for its block and all before it. Of the last output token no KV is computed.
inline void write_trace(const std::filesystem::path& file, std::span<const Turn> turns) {
  std::map<std::vector<std::int32_t>, int> ids;
  std::ofstream out(file);
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const std::vector<std::int32_t>& prompt = turns[i].prompt;
    Json hash_ids = Json::array();
    for (std::size_t end = kBlockTokens; end < prompt.size() + kBlockTokens; end += kBlockTokens) {
      const std::vector<std::int32_t> leading(
          prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(std::min(end, prompt.size())));
      hash_ids.push_back(ids.emplace(leading, static_cast<int>(ids.size())).first->second);
    }
    const Json line = {{"timestamp", 100'000 * i},
                       {"input_length", prompt.size()},
                       {"output_length", turns[i].outcome.generated.size() - 1},
                       {"hash_ids", hash_ids}};
    out << line.dump() << "\n";
  }
}

}  // namespace reprefill::engine::test_support
