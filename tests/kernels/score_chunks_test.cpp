#include "kernels/score_chunks/score_chunks.hpp"

#include <cmath>

#include "kernels/base/kernel_error.hpp"
#include "tests/kernels/support/paged_case.hpp"

namespace reprefill::kernels::test {
namespace {

// Logits are exact to fp32's rounding of a sum of head_dim products; probabilities are not rounded. The mutations below
// are at least 20 times as far off.
constexpr double kTolerance = 1e-4;

class ScoreChunksKernel : public KernelTest {};

struct ScoreSpec {
  std::uint32_t num_queries = 8;
  std::uint32_t num_slots = 100;
  std::uint32_t page_tokens = 16;
  int num_query_heads = 4;
  int num_kv_heads = 2;
  int head_dim = 128;
  std::uint32_t first_query = 0;
  bool is_ragged = false;
  bool sum_groups = true;
  int num_splits = 0;
  std::vector<ScoreGroup> groups = {};  // empty: one per KV head
  int heads_per_group = 0;              // 0: all that read a KV head
  std::uint32_t num_stored_heads = 0;   // 0: num_kv_heads
};

struct Scored {
  std::vector<float> tokens, chunks;
};

class ScoreCase {
 public:
  explicit ScoreCase(ScoreSpec spec)
      : spec_(complete(std::move(spec))),
        paged_{.page_tokens = spec_.page_tokens,
               .num_slots = spec_.num_slots,
               .is_ragged = spec_.is_ragged,
               .num_heads = spec_.num_stored_heads,
               .head_dim = static_cast<std::uint32_t>(spec_.head_dim),
               .seed = 3},
        tokens_per_page_(page_sizes(paged_)),
        keys(paged_, "keys", tokens_per_page_) {
    const auto dim = static_cast<std::size_t>(spec_.head_dim);
    queries = random_bf16(4, "queries", spec_.num_queries * static_cast<std::size_t>(spec_.num_query_heads) * dim, 1.5);
    own_keys = random_bf16(
        5, "own", (spec_.first_query + spec_.num_queries) * static_cast<std::size_t>(spec_.num_kv_heads) * dim);
  }

  std::size_t num_rows() const { return spec_.sum_groups ? 1 : spec_.groups.size(); }
  Scored expected(const std::function<void(ScoreChunks&)>& change = {}) const {
    Scored scored = empty();
    ScoreChunks arguments = shapes();
    arguments.queries = queries.data();
    arguments.own_keys = own_keys.data();
    arguments.prefix.pages = keys.host();
    if (spec_.is_ragged) arguments.prefix.tokens.tokens_per_page = tokens_per_page_.data();
    arguments.token_scores = scored.tokens.data();
    arguments.chunk_scores = scored.chunks.data();
    if (change) change(arguments);
    score_chunks_reference(arguments);
    return scored;
  }
  Scored found(const std::function<void(ScoreChunks&)>& change = {}) const {
    const Scored start = empty();
    const DeviceArray<BFloat16> device_queries(queries), device_own_keys(own_keys);
    const DeviceArray<std::uint32_t> device_tokens(tokens_per_page_);
    const DeviceArray<float> tokens(start.tokens), chunks(start.chunks);
    ScoreChunks arguments = shapes();
    arguments.queries = device_queries.get();
    arguments.own_keys = device_own_keys.get();
    arguments.prefix.pages = keys.device();
    if (spec_.is_ragged) arguments.prefix.tokens.tokens_per_page = device_tokens.get();
    arguments.token_scores = tokens.get();
    arguments.chunk_scores = chunks.get();
    if (change) change(arguments);
    const auto workspace = DeviceArray<std::byte>::zeroed(score_chunks_workspace_bytes(arguments));
    arguments.workspace = workspace.get();
    arguments.workspace_bytes = workspace.size();
    launch_score_chunks(arguments, nullptr);
    if (!arguments.accumulate) launch_score_chunks(arguments, nullptr);  // the workspace is left usable
    synchronize();
    return {tokens.read(), chunks.read()};
  }

  void expect_agreement(const std::function<void(ScoreChunks&)>& change = {}) const {
    SCOPED_TRACE(testing::Message() << spec_.num_queries << " queries, " << spec_.num_slots << " slots in pages of "
                                    << spec_.page_tokens << ", " << spec_.groups.size() << " groups of "
                                    << spec_.heads_per_group << ", " << spec_.num_splits << " splits");
    const Scored wanted = expected(change);
    for_each_schedule([&] {
      const Scored got = found(change);
      EXPECT_LT(error(got.tokens, wanted.tokens), kTolerance);
      EXPECT_LT(error(got.chunks, wanted.chunks), kTolerance);
    });
  }

  /// The largest difference, relative to the expected value or, for small ones, to the mean of all.
  static double error(const std::vector<float>& found, const std::vector<float>& expected) {
    double mean = 0, worst = 0;
    for (const float value : expected) mean += static_cast<double>(value) / static_cast<double>(expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (std::isnan(expected[i]) && std::isnan(found[i])) continue;
      const double difference = std::abs(static_cast<double>(found[i]) - static_cast<double>(expected[i]));
      if (difference == 0) continue;
      const double relative = difference / std::max(std::abs(static_cast<double>(expected[i])), mean);
      worst = std::isnan(relative) ? INFINITY : std::max(worst, relative);
    }
    return worst;
  }

 private:
  ScoreSpec spec_;
  PagedSpec paged_;
  std::vector<std::uint32_t> tokens_per_page_;

 public:
  PagedRows keys;
  std::vector<BFloat16> queries, own_keys;

 private:
  static ScoreSpec complete(ScoreSpec spec) {
    if (spec.heads_per_group == 0) spec.heads_per_group = spec.num_query_heads / spec.num_kv_heads;
    if (spec.num_stored_heads == 0) spec.num_stored_heads = static_cast<std::uint32_t>(spec.num_kv_heads);
    if (!spec.groups.empty()) return spec;
    for (int head = 0; head < spec.num_kv_heads; ++head) {
      spec.groups.push_back({.first_query_head = head * spec.heads_per_group, .stored_head = head, .own_head = head});
    }
    return spec;
  }
  Scored empty() const {
    return {std::vector<float>(spec_.groups.size() * spec_.num_slots, NAN),
            std::vector<float>(num_rows() * tokens_per_page_.size(), NAN)};
  }
  ScoreChunks shapes() const {
    ScoreChunks arguments;
    arguments.prefix = {.tokens = {.page_tokens = spec_.page_tokens, .num_slots = spec_.num_slots},
                        .num_heads = spec_.num_stored_heads};
    arguments.num_queries = spec_.num_queries;
    arguments.first_query = spec_.first_query;
    arguments.num_query_heads = spec_.num_query_heads;
    arguments.num_kv_heads = spec_.num_kv_heads;
    arguments.head_dim = spec_.head_dim;
    arguments.scale = 1 / std::sqrt(static_cast<float>(spec_.head_dim));
    arguments.num_groups = static_cast<int>(spec_.groups.size());
    std::copy(spec_.groups.begin(), spec_.groups.end(), arguments.groups);
    arguments.heads_per_group = spec_.heads_per_group;
    arguments.sum_groups = spec_.sum_groups;
    arguments.token_stride = spec_.num_slots;
    arguments.chunk_stride = static_cast<std::uint32_t>(tokens_per_page_.size());
    arguments.num_splits = spec_.num_splits;
    arguments.instructions = tested_instructions;
    return arguments;
  }
};

TEST_F(ScoreChunksKernel, OneQueryOneStoredTokenIsATwoWaySoftmax) {
  ScoreCase({.num_queries = 1, .num_slots = 1, .num_query_heads = 1, .num_kv_heads = 1}).expect_agreement();
}

TEST_F(ScoreChunksKernel, EqualKeysShareTheMassEqually) {
  ScoreCase scores({.num_queries = 1, .num_slots = 31, .num_query_heads = 2, .num_kv_heads = 1});
  for (std::size_t page = 0; page < 2; ++page) std::fill_n(scores.keys.page_of(page), 16 * 128, BFloat16{});
  std::fill(scores.own_keys.begin(), scores.own_keys.end(), BFloat16{});
  scores.keys.upload();
  const Scored found = scores.found();  // two heads, 31 stored keys and the query's own: 1/32 each
  for (const float score : found.tokens) EXPECT_NEAR(score, 2.0f / 32, 1e-6);
  EXPECT_NEAR(found.chunks[0], 1.0f, 1e-5);
  EXPECT_NEAR(found.chunks[1], 15.0f / 16, 1e-5);
}

TEST_F(ScoreChunksKernel, LengthsAroundTileBoundariesAgree) {
  for (const std::uint32_t num_slots : {63u, 64u, 65u, 127u, 128u, 129u, 200u}) {
    ScoreCase({.num_queries = 5, .num_slots = num_slots, .num_query_heads = 3, .num_kv_heads = 1, .head_dim = 64})
        .expect_agreement();
  }
  for (const std::uint32_t num_queries : {31u, 32u, 33u, 65u}) {
    ScoreCase({.num_queries = num_queries, .num_slots = 40, .num_query_heads = 4, .num_kv_heads = 1, .head_dim = 64})
        .expect_agreement();
  }
}

TEST_F(ScoreChunksKernel, PagesOfAnySizeAndRaggedOnesAgree) {
  for (const std::uint32_t page_tokens : {1u, 7u, 16u, 128u}) {
    ScoreCase({.num_slots = 130, .page_tokens = page_tokens, .head_dim = 64}).expect_agreement();
    ScoreCase({.num_slots = 130, .page_tokens = page_tokens, .is_ragged = true}).expect_agreement();
  }
}

TEST_F(ScoreChunksKernel, PrefixesOfManyTilesAgree) {
  for (const int num_splits : {1, 2, 7}) {
    ScoreCase({.num_queries = 40,
               .num_slots = 1400,
               .num_query_heads = 7,
               .num_kv_heads = 1,
               .head_dim = num_splits == 2 ? 64 : 128,
               .first_query = 30,
               .num_splits = num_splits})
        .expect_agreement();
  }
  ScoreCase({.num_queries = 70,
             .num_slots = 900,
             .page_tokens = 50,
             .num_query_heads = 4,
             .num_kv_heads = 2,
             .is_ragged = true,
             .num_splits = 3})
      .expect_agreement();
}

TEST_F(ScoreChunksKernel, SplitsGiveTheSameSums) {
  for (const int num_splits : {1, 2, 5, 32}) {
    ScoreCase({.num_slots = 300, .head_dim = 64, .sum_groups = false, .num_splits = num_splits}).expect_agreement();
  }
}

TEST_F(ScoreChunksKernel, GroupsStayApartOrAreSummed) {
  ScoreCase({.num_queries = 6, .num_slots = 90, .num_query_heads = 28, .num_kv_heads = 4, .sum_groups = true})
      .expect_agreement();
  ScoreCase({.num_queries = 6,
             .num_slots = 90,
             .num_query_heads = 14,
             .num_kv_heads = 2,
             .head_dim = 64,
             .sum_groups = false})
      .expect_agreement();
}

TEST_F(ScoreChunksKernel, ProbeHeadsReadSlabsOfTheirOwnKvHeads) {
  ScoreCase({.num_queries = 6,
             .num_slots = 90,
             .num_query_heads = 8,
             .num_kv_heads = 4,
             .sum_groups = false,
             .groups = {{.first_query_head = 2, .stored_head = 0, .own_head = 1},
                        {.first_query_head = 6, .stored_head = 1, .own_head = 3},
                        {.first_query_head = 7, .stored_head = 1, .own_head = 3}},
             .heads_per_group = 1,
             .num_stored_heads = 2})
      .expect_agreement();
}

TEST_F(ScoreChunksKernel, RandomShapesAgree) {
  RandomStream random(20261123, 0, "shapes");
  for (int i = 0; i < 10; ++i) {
    const auto below = [&](std::uint64_t count) { return static_cast<std::uint32_t>(random.below(count)); };
    const int num_kv_heads = 1 + static_cast<int>(below(3));
    ScoreCase({.num_queries = 1 + below(30),
               .num_slots = 1 + below(260),
               .page_tokens = 1 + below(128),
               .num_query_heads = num_kv_heads * (1 + static_cast<int>(below(8))),
               .num_kv_heads = num_kv_heads,
               .head_dim = below(2) == 0 ? 64 : 128,
               .first_query = below(2) * below(90),
               .is_ragged = below(2) == 0,
               .sum_groups = below(2) == 0,
               .num_splits = static_cast<int>(below(4))})
        .expect_agreement();
  }
}

TEST_F(ScoreChunksKernel, LaterBlocksOfASuffixAddToEarlierOnes) {
  const ScoreCase scores({.num_queries = 20, .num_slots = 70, .first_query = 45});
  scores.expect_agreement();
  const std::vector<float> before(2 * 70, 0.25f);
  DeviceArray<float> tokens(before);
  std::vector<float> host = before;
  const Scored wanted = scores.expected([&](ScoreChunks& a) { a.accumulate = true, a.token_scores = host.data(); });
  const Scored got = scores.found([&](ScoreChunks& a) { a.accumulate = true, a.token_scores = tokens.get(); });
  EXPECT_LT(ScoreCase::error(tokens.read(), host), kTolerance);
  EXPECT_LT(ScoreCase::error(got.chunks, wanted.chunks), kTolerance);
}

TEST_F(ScoreChunksKernel, PaddedQueriesAndCountsOnTheDeviceDoNotCount) {
  ScoreCase scores({.num_queries = 32, .num_slots = 150});
  std::fill(scores.queries.begin() + 19 * 4 * 128, scores.queries.end(), BFloat16{0x7fc0});  // padding is not read
  const std::uint32_t counts[] = {19, 133};
  const DeviceArray<std::uint32_t> device_counts{std::span<const std::uint32_t>(counts)};
  const Scored wanted = scores.expected([&](ScoreChunks& a) {
    a.device_num_queries = counts;
    a.prefix.tokens.device_num_slots = counts + 1;
  });
  for_each_schedule([&] {
    const Scored got = scores.found([&](ScoreChunks& a) {
      a.device_num_queries = device_counts.get();
      a.prefix.tokens.device_num_slots = device_counts.get() + 1;
    });
    EXPECT_LT(ScoreCase::error(got.tokens, wanted.tokens), kTolerance);
    EXPECT_TRUE(std::isnan(got.tokens[133]));  // not written
    for (std::size_t page = 0; page < 9; ++page) EXPECT_NEAR(got.chunks[page], wanted.chunks[page], 1e-3);
  });
}

TEST_F(ScoreChunksKernel, NanReachesTheScoresThatItTouches) {
  ScoreCase scores({.num_queries = 3, .num_slots = 40, .sum_groups = false});
  scores.queries[2 * 128 + 5] = {0x7fc0};  // query 0, head 2: the second KV head's group
  scores.expect_agreement();
  const Scored found = scores.found();
  EXPECT_TRUE(std::isfinite(found.tokens[0]));
  EXPECT_TRUE(std::isnan(found.tokens[40]));
}

TEST_F(ScoreChunksKernel, LargeLogitsNeitherOverflowNorVanish) {
  ScoreCase scores({.num_queries = 4, .num_slots = 80, .num_splits = 2});
  // Logits reach some hundreds: their own error, up to 2^-20 of them on tensor cores, is the probabilities'.
  for (BFloat16& query : scores.queries) query = BFloat16::round(query.widen() * 16);
  const Scored wanted = scores.expected(), got = scores.found();
  EXPECT_LT(ScoreCase::error(got.tokens, wanted.tokens), 5e-3);
}

TEST_F(ScoreChunksKernel, NoQueriesGiveZeros) {
  const ScoreCase scores({.num_queries = 0, .num_slots = 20});
  const Scored found = scores.found();
  EXPECT_EQ(found.tokens, std::vector<float>(2 * 20, 0.0f));
  EXPECT_EQ(found.chunks, std::vector<float>(2, 0.0f));
}

TEST_F(ScoreChunksKernel, TheSameArgumentsGiveTheSameBits) {
  const ScoreCase scores({.num_queries = 9, .num_slots = 200, .num_splits = 3});
  EXPECT_EQ(scores.found().tokens, scores.found().tokens);
}

TEST_F(ScoreChunksKernel, TheToleranceCatchesBrokenKernels) {
  ScoreCase scores({.num_queries = 6, .num_slots = 100, .sum_groups = false});
  const Scored wanted = scores.expected();
  const auto expect_caught = [&](const char* what, const std::function<void(ScoreChunks&)>& change) {
    EXPECT_GT(ScoreCase::error(scores.found(change).chunks, wanted.chunks), 20 * kTolerance) << what;
  };
  expect_caught("a query is left out", [](ScoreChunks& a) { a.num_queries = 5; });
  expect_caught("logits are 1 % too small", [](ScoreChunks& a) { a.scale *= 0.99f; });
  expect_caught("own keys are another head's",
                [](ScoreChunks& a) { std::swap(a.groups[0].own_head, a.groups[1].own_head); });
  expect_caught("stored keys are another head's",
                [](ScoreChunks& a) { std::swap(a.groups[0].stored_head, a.groups[1].stored_head); });
  scores.keys.swap_on_device(1, 4);
  EXPECT_GT(ScoreCase::error(scores.found().chunks, wanted.chunks), 20 * kTolerance) << "two pages are mixed up";
}

TEST_F(ScoreChunksKernel, ShapesOutsideTheContractAreRefused) {
  const ScoreCase scores({});
  const auto refused = [&](const std::function<void(ScoreChunks&)>& change) {
    EXPECT_THROW(scores.found(change), ShapeError);
  };
  refused([](ScoreChunks& a) { a.head_dim = 32; });
  refused([](ScoreChunks& a) { a.num_groups = 0; });
  refused([](ScoreChunks& a) { a.heads_per_group = 17; });
  refused([](ScoreChunks& a) { a.groups[1].first_query_head = 3; });
  refused([](ScoreChunks& a) { a.groups[0].stored_head = 2; });
  refused([](ScoreChunks& a) { a.token_stride = 99; });
  refused([](ScoreChunks& a) { a.chunk_stride = 6; });
  refused([](ScoreChunks& a) { a.prefix.pages = nullptr; });
}

}  // namespace
}  // namespace reprefill::kernels::test
