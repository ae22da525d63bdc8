// Scorers that read digests, through the store and the engine: what they choose beside what keys choose.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

#include "core/pipeline/selection.hpp"
#include "tests/engine/session/session_fixture.hpp"
#include "traces/importance/recorded_importance.hpp"

namespace reprefill::engine {
namespace {

using namespace test_support;
using pipeline::PathKind;

class Scorers : public testing::Test {
 protected:
  /// Chunks that the first leader of each request chose; records under `mode` if there is one.
  std::vector<std::vector<std::uint32_t>> chosen(const Json& params, std::optional<RecordMode> mode = std::nullopt) {
    const Variant variant{.name = "scorer", .system = "contiguous_kv", .params = params};
    const PrefixStore store(small_.model, variant, PathKind::direct);
    Session session(small_.model, &*store, session_options(variant, PathKind::direct));
    std::vector<std::vector<std::uint32_t>> chosen;
    SessionCallbacks callbacks;
    callbacks.on_attend = [&](const pipeline::Request&, int layer_idx, const pipeline::KvView& view) {
      if (layer_idx == 0) chosen.push_back(view.kept->shared());
    };
    std::unique_ptr<ImportanceRecorder> recorder;
    if (mode) {
      ImportanceRecorder::Options options{.mode = *mode, .geometry = small_.model.checkpoint->geometry()};
      ImportanceRecorder::add_channels_of(session.resolved().at("params"), options);
      recorder = std::make_unique<ImportanceRecorder>(folder_ / "scores.rimp", options);
    }
    requests_ = session.serve(some_requests(4), callbacks, recorder.get());
    if (recorder) recorder->finish();
    return chosen;
  }

  static double overlap(const std::vector<std::vector<std::uint32_t>>& a,
                        const std::vector<std::vector<std::uint32_t>>& b) {
    double both = 0, all = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      std::vector<std::uint32_t> common;
      std::ranges::set_intersection(a[i], b[i], std::back_inserter(common));
      both += static_cast<double>(common.size());
      all += static_cast<double>(a[i].size());
    }
    return both / all;
  }

  SmallModel small_;
  reprefill::test_support::TemporaryFolder folder_;
  std::vector<RequestOutcome> requests_;
};

TEST_F(Scorers, ChunksOfOneTokenAreChosenByMeanAndExtremesAsByKeys) {
  const auto params = [](const char* scorer) {
    return Json{{"scorer", scorer}, {"chunk_tokens", 1}, {"budget", 0.25}, {"kv_layout", {{"block_tokens", 16}}}};
  };
  const auto keys = chosen(params("keys"));
  ASSERT_EQ(keys.size(), 4u);
  // The sums are taken in another order: ranks that are nearly equal may change places.
  EXPECT_GT(overlap(keys, chosen(params("digest:mean"))), 0.99);
  EXPECT_GT(overlap(keys, chosen(params("digest:minmax"))), 0.99);
}

TEST_F(Scorers, FourBitKeysChooseNearlyAsKeysAndDigestsOfChunksBetterThanChance) {
  const auto params = [](const char* scorer) { return Json{{"scorer", scorer}, {"budget", 0.25}}; };
  const auto keys = chosen(params("keys"));
  const double int4 = overlap(keys, chosen(params("int4_keys")));
  EXPECT_GT(int4, 0.8);
  EXPECT_GT(overlap(keys, chosen(params("digest:mean"))), 0.3) << "chance is 0.25";
}

TEST_F(Scorers, ATraceOfFullKvHasTheScoresThatTheScorerChoseByAtLayerZero) {
  for (const auto& [name, digest] : EnumNames<KeyDigest>::names) {
    if (digest == KeyDigest::none) continue;
    const auto found = chosen({{"scorer", name}, {"budget", 0.25}}, RecordMode::full);
    const auto trace = traces::RecordedImportance::open(folder_ / "scores.rimp");
    for (std::size_t i = 0; i < found.size(); ++i) {
      const pipeline::Request& request = requests_[i].request;
      std::vector<float> scores(request.stored_tokens / 16);
      trace.unit_scores({.request = request.importance_id, .prefix = request.stored_prefix, .digest = digest}, 16,
                        scores);
      // fp16 in the trace: ranks that are nearly equal may change places.
      EXPECT_GT(overlap({found[i]}, {pipeline::top_k(scores, found[i].size())}), 0.85) << name << " " << i;
    }
  }
}

TEST_F(Scorers, AStoreWithoutTheDigestIsRefusedByName) {
  const Variant keys{.name = "keys", .system = "contiguous_kv", .params = Json::object()};
  const PrefixStore store(small_.model, keys, PathKind::direct);
  const Variant mean{.name = "mean", .system = "contiguous_kv", .params = {{"scorer", "digest:mean"}}};
  try {
    Session session(small_.model, &*store, session_options(mean, PathKind::direct));
    FAIL() << "was opened";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("layer-adjacent-16+ident8mean16"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace reprefill::engine
