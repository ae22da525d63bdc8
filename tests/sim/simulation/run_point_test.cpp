// Result rows of whole points: what they say of themselves.
#include "sim/simulation/run_point.hpp"

#include <gmock/gmock.h>

#include "core/record/result_folder.hpp"
#include "tests/sim/simulation/one_point.hpp"
#include "tests/support/temporary_folder.hpp"
#include "traces/importance/importance_trace.hpp"

namespace reprefill::sim {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

// ---- timing_dependent ----

TEST(ResultRow, SaysWhetherItDependsOnTiming) {
  for (const char* system : {"recompute", "attention_store", "as_h2o", "impress", "contiguous_kv"}) {
    EXPECT_EQ(OnePoint(pool_scenario(system)).row()["timing_dependent"], false) << system;
    EXPECT_EQ(OnePoint(pool_scenario(system), {"workload.in_flight=2"}).row()["timing_dependent"], true) << system;
  }
  EXPECT_EQ(OnePoint(pool_scenario("contiguous_kv"), {"prefetch_drop=unsubmitted"}).row()["timing_dependent"], true);
  EXPECT_EQ(OnePoint(trace_scenario("attention_store")).row()["timing_dependent"], false)
      << "first come first served, one at a time";
  EXPECT_EQ(OnePoint(trace_scenario("attention_store"), {"workload.max_in_flight=2"}).row()["timing_dependent"], true);
}

// ---- percentiles ----

TEST(ResultRow, HasNoTailWithOneRequestInFlightAndNoNoiseAndSaysSo) {
  const Json row = OnePoint(pool_scenario("contiguous_kv")).row();
  EXPECT_TRUE(row["ttft"].at("p95_ttft_ms").is_null());
  EXPECT_THAT(row["ttft"].at("p95_note").get<std::string>(), HasSubstr("one request in flight"));
  EXPECT_THAT(record::to_csv({row}), AllOf(HasSubstr("ttft.p95_ttft_ms"), HasSubstr("ttft.p95_note")));
}

TEST(ResultRow, HasATailWithNoiseOrQueues) {
  for (const char* set : {"noise=true", "workload.in_flight=2", "workload.arrivals=poisson"}) {
    const Json row = OnePoint(pool_scenario("contiguous_kv"), {set}).row();
    EXPECT_TRUE(row["ttft"].at("p95_ttft_ms").is_number()) << set;
    EXPECT_FALSE(row["ttft"].contains("p95_note")) << set;
  }
}

// ---- busy shares ----

TEST(ResultRow, NoResourceIsBusyForLongerThanItWasMeasured) {
  // Appends write in the background: they end long after the request that issued them, and after the last one.
  for (const char* append : {"none", "suffix"}) {
    const Json row = OnePoint(trace_scenario("attention_store"),
                              {std::string("workload.append=") + append, "workload.max_in_flight=3"})
                         .row();
    for (const auto& [resource, share] : row["busy"].items()) {
      EXPECT_GE(share.get<double>(), 0) << resource;
      EXPECT_LE(share.get<double>(), 1) << resource;
    }
    EXPECT_EQ(row["busy"]["ssd_write"].get<double>() > 0, std::string(append) == "suffix");
  }
}

// ---- limits ----

TEST(ContextLimit, MayBeANumberOfTokensAName) {
  const auto dropped = [](const char* limit) {
    return OnePoint(trace_scenario("recompute"), {std::string("workload.context_limit=") + limit})
        .row()["workload"]["dropped_requests"]
        .get<int>();
  };
  EXPECT_EQ(dropped("trace"), 0);
  EXPECT_GT(dropped("4000"), 0);
  EXPECT_GT(dropped("4000"), dropped("16000"));
  EXPECT_EQ(dropped("32768"), dropped("model"));  // Qwen2.5-0.5B has 32,768 positions
  EXPECT_EQ(
      OnePoint(trace_scenario("recompute"), {"workload.context_limit=4000"}).point().workload.resolved["context_limit"],
      4000);
  Json text = trace_scenario("recompute");
  text["workload"]["context_limit"] = "4000";
  EXPECT_THAT([&] { OnePoint point(text); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("test.json: workload.context_limit: found \"4000\""),
                                               HasSubstr("\"trace\", \"model\" or a whole number"))));
}

TEST(CheckInputs, StagingMustHoldAReadWithItsAlignment) {
  // 8 tokens of K are 2 KiB here, read as one or two pages: a layer's logical bytes do not fit what its reads ask for.
  const std::vector<std::string> small = {"software_path=prototype", "kv_layout.block_tokens=8",
                                          "staging_bytes=600000"};  // 960 tokens, 512 bytes of K and V each
  EXPECT_THAT([&] { OnePoint(pool_scenario("attention_store"), small).check(); },
              ThrowsMessage<ConfigError>(AllOf(HasSubstr("staging_bytes"), HasSubstr("alignment"))));
  OnePoint enough(pool_scenario("attention_store"),
                  {"software_path=prototype", "kv_layout.block_tokens=8", "staging_bytes=2100000"});
  EXPECT_NO_THROW(enough.check());
  EXPECT_NO_THROW(enough.row());
}

// ---- progress ----

TEST(RunPoint, ReportsTheShareOfFinishedRequestsWhileItRuns) {
  std::vector<double> shares;
  OnePoint(pool_scenario("attention_store"),
           {"workload.measured_requests=300", "gpu_cache=1 MB", "host_cache=1 MB", "software_path=prototype"})
      .row({.num_warmup = 3, .on_progress = [&](double share) { shares.push_back(share); }});
  ASSERT_GT(shares.size(), 2u);
  EXPECT_TRUE(std::is_sorted(shares.begin(), shares.end()));
  EXPECT_GT(shares.front(), 0.0);
  EXPECT_LT(shares.front(), 0.5);
  EXPECT_LE(shares.back(), 1.0);
}

TEST(RunPoint, TheOracleReadsLessThanTheSameSelectionsUnderEveryCachePolicy) {
  const std::vector<std::string> small = {"gpu_cache=3 MB", "host_cache=0 B", "budget=0.25"};
  Json json = pool_scenario("oracle");
  json["workload"]["measured_requests"] = 40;
  const Json oracle = OnePoint(json, small).row();
  json["systems"] = {"contiguous_kv"};
  for (const char* policy : {"lru", "lfu", "s3_fifo", "arc", "attention_guided"}) {
    std::vector<std::string> sets = small;
    for (const char* set : {"inter_prefetch=false", "leader_keys=reread", "prefetch_gpu=0 B", "prefetch_host=0 B"}) {
      sets.emplace_back(set);
    }
    sets.push_back(std::string("cache_policy=") + policy);
    const Json row = OnePoint(json, sets).row();
    EXPECT_LT(oracle["bytes_per_request"]["payload_read_bytes"], row["bytes_per_request"]["payload_read_bytes"])
        << policy;
    EXPECT_EQ(oracle["bytes_per_request"]["payload_needed_bytes"], row["bytes_per_request"]["payload_needed_bytes"]);
    EXPECT_EQ(oracle["attention_mass_kept"], row["attention_mass_kept"]);
  }
}

TEST(RunPoint, TheOracleForeseesWhatATraceWillAppend) {
  // Segments that earlier requests append are looked up by later ones: they must be known before the run, too.
  const Json row = OnePoint(trace_scenario("oracle")).row();
  EXPECT_GT(row["bytes_per_request"]["appended_bytes"], 0);
  EXPECT_GT(row["efficiency"]["gpu_hit_fraction"], 0.2);
}

// ---- what is appended, and what of it is approximate ----

/// Three turns of one conversation: 128, 256 and 384 prompt tokens in blocks of 64, each answered with 64 tokens, with
/// which the next prompt goes on.
Json three_turns(const test_support::TemporaryFolder& folder, const char* system) {
  const std::string file = (folder / "turns.jsonl").string();
  test_support::write_text(
      file, R"({"timestamp": 0, "input_length": 128, "output_length": 64, "hash_ids": [1, 2]})"
            "\n"
            R"({"timestamp": 9000, "input_length": 256, "output_length": 64, "hash_ids": [1, 2, 3, 4]})"
            "\n"
            R"({"timestamp": 19000, "input_length": 384, "output_length": 64, "hash_ids": [1, 2, 3, 4, 5, 6]})"
            "\n");
  Json scenario = trace_scenario(system);
  scenario["workload"] = {{"kind", "trace"}, {"block_tokens", 64}, {"file", file}};
  return scenario;
}

TEST(Append, OutputsAreFoundByThePromptsThatGoOnWithThem) {
  const test_support::TemporaryFolder folder;
  const auto hits = [&](const char* append) {
    return OnePoint(three_turns(folder, "attention_store"), {std::string("workload.append=") + append})
        .row()["workload"]["mean_hit_tokens_trace_blocks"]
        .get<double>();
  };
  EXPECT_EQ(hits("none"), 0);
  EXPECT_EQ(hits("suffix"), (128 + 256) / 3.0);
  EXPECT_EQ(hits("suffix_and_output"), (192 + 320) / 3.0);
}

TEST(Append, OutputsAreWrittenToo) {
  const test_support::TemporaryFolder folder;
  const auto appended = [&](const char* append) {
    return 3 * OnePoint(three_turns(folder, "attention_store"), {std::string("workload.append=") + append})
                   .row()["bytes_per_request"]["appended_bytes"]
                   .get<double>();
  };
  const double per_token = 12'288;  // of Qwen2.5-0.5B (reference 1.1)
  EXPECT_EQ(appended("suffix"), 384 * per_token);
  EXPECT_EQ(appended("suffix_and_output"), 448 * per_token);
}

TEST(Append, KvComputedOverAPrunedPrefixIsApproximateAndCountedWhenReused) {
  const test_support::TemporaryFolder folder;
  const auto reused = [&](const char* system, const std::vector<std::string>& sets) {
    return OnePoint(three_turns(folder, system), sets).row()["efficiency"]["approximate_tokens_reused"].get<double>();
  };
  for (const char* system : {"contiguous_kv", "impress", "as_h2o"}) {
    // The first turn has no prefix, so its 128 tokens are exact; the second's 128 are not, and the third reuses them.
    EXPECT_EQ(reused(system, {"budget=0.25"}), 128 / 3.0) << system;
    EXPECT_EQ(reused(system, {"budget=0.25", "workload.append=suffix_and_output"}), 128 / 3.0)
        << system << ": 192 exact and 128 approximate tokens";
    EXPECT_EQ(reused(system, {"budget=1"}), 0) << system << " keeps everything";
    EXPECT_EQ(reused(system, {"budget=0.25", "workload.append_kv=recompute_exact"}), 0) << system;
  }
  EXPECT_EQ(reused("attention_store", {}), 0);
}

TEST(Append, ExactKvCostsComputeInTheBackgroundAndDelaysTheNextRequestOnly) {
  const test_support::TemporaryFolder folder;
  const Json scenario = three_turns(folder, "contiguous_kv");
  const Json computed = OnePoint(scenario, {"budget=0.25"}).row();
  const Json exact = OnePoint(scenario, {"budget=0.25", "workload.append_kv=recompute_exact"}).row();
  EXPECT_EQ(exact["bytes_per_request"], computed["bytes_per_request"]) << "the same blocks are stored";
  EXPECT_LT(exact["ttft"]["mean_ttft_ms"], computed["ttft"]["mean_ttft_ms"])
      << "ten seconds between turns are enough, and its writes come behind the first token, not beside reads";
  EXPECT_GT(exact["busy"]["gpu_compute"].get<double>(), computed["busy"]["gpu_compute"].get<double>());
  // With turns at once, the next one waits for what it reuses.
  const Json hurried = OnePoint(scenario, {"budget=0.25", "workload.time_scale=0.000001"}).row();
  const Json hurried_exact =
      OnePoint(scenario, {"budget=0.25", "workload.time_scale=0.000001", "workload.append_kv=recompute_exact"}).row();
  EXPECT_GT(hurried_exact["ttft"]["mean_ttft_ms"], hurried["ttft"]["mean_ttft_ms"]);
}

// ---- element sizes, streamed weights, reads that land in GPU memory ----

TEST(Reordering, OfflineLoadsFewerBlocksForTheSameTokensAndSaysWhatItCost) {
  const auto run = [](const char* io) {
    Json scenario = pool_scenario("impress");
    return OnePoint(scenario, {"budget=0.25", std::string("reorder.io=") + io}).row();
  };
  const Json off = run("off"), offline = run("offline");
  EXPECT_LT(offline["efficiency"]["tokens_loaded_per_token_selected"],
            off["efficiency"]["tokens_loaded_per_token_selected"]);
  EXPECT_EQ(offline["efficiency"]["effective_budget"], off["efficiency"]["effective_budget"]);
  EXPECT_EQ(offline["attention_mass_kept"], off["attention_mass_kept"]) << "the same tokens are chosen";
  EXPECT_FALSE(off.contains("reordering"));
  EXPECT_FALSE(offline["timing_dependent"].get<bool>());
  // Qwen2.5-0.5B: 24 layers, K of a token in a layer is 256 B; six prefixes of 960 stored tokens.
  const std::uint64_t payload = 6 * 24 * 960 * 512ull, places = 6 * 24 * 960 * 4ull;
  const Json& cost = offline["reordering"];
  EXPECT_EQ(cost["io"], "offline");
  EXPECT_EQ(cost["layers_rewritten"], 6 * 24);
  EXPECT_EQ(cost["read_bytes"], payload);
  EXPECT_EQ(cost["written_bytes"], payload + places);
  EXPECT_EQ(cost["metadata_bytes"], places);
  const SsdProfile ssd = OnePoint(pool_scenario("impress")).point().profile.ssd;
  EXPECT_NEAR(cost["before_run_s"].get<double>(),
              static_cast<double>(payload) / ssd.read_bandwidth.value +
                  static_cast<double>(payload + places) / ssd.write_bandwidth.value,
              1e-6);
  // The permutation of a prefix: 24 x 960 x 4 B = 92,160 B, in whole pages 94,208 B.
  EXPECT_EQ(offline["space"]["auxiliary_bytes_per_prefix"].get<std::uint64_t>(),
            off["space"]["auxiliary_bytes_per_prefix"].get<std::uint64_t>() + 94208);
}

TEST(Reordering, InTheBackgroundWritesDuringTheRunAndIsFlagged) {
  const Json row = OnePoint(pool_scenario("impress"), {"budget=0.25", "reorder.io=background",
                                                       "reorder.interval_s=0.005", "reorder.calibration_requests=2"})
                       .row();
  EXPECT_TRUE(row["timing_dependent"].get<bool>());
  EXPECT_GT(row["reordering"]["layers_rewritten"].get<int>(), 0);
  EXPECT_GT(row["reordering"]["discarded_pieces"].get<int>(), 0);
  EXPECT_GT(row["busy"]["ssd_write"].get<double>(), 0);
  EXPECT_GT(row["reordering"]["metadata_bytes"].get<int>(), 0);
  EXPECT_FALSE(row["reordering"].contains("before_run_s"));
}

TEST(Reordering, InTheBackgroundGoesOnWhileSegmentsComeAndLeaveAFullStore) {
  const Json row =
      OnePoint(trace_scenario("impress"), {"budget=0.25", "reorder.io=background", "reorder.interval_s=0.5",
                                           "reorder.calibration_requests=1", "workload.ssd_capacity=150 MB"})
          .row();
  EXPECT_GT(row["reordering"]["layers_rewritten"].get<int>(), 0);
  EXPECT_GT(row["workload"]["segments_removed"].get<int>(), 0);
}

TEST(Reordering, OfflineLeavesWhatATraceAppendsInItsOrder) {
  const auto row = [](const char* io) {
    return OnePoint(trace_scenario("impress"), {"budget=0.25", std::string("reorder.io=") + io}).row();
  };
  const Json offline = row("offline");
  EXPECT_EQ(offline["reordering"]["layers_rewritten"], 0);
  EXPECT_EQ(offline["bytes_per_request"]["payload_needed_bytes"],
            row("off")["bytes_per_request"]["payload_needed_bytes"]);
}

TEST(Reordering, OfflineIsRefusedWhereImportanceIsRecorded) {
  const reprefill::test_support::TemporaryFolder folder;
  const std::string file = (folder / "one.rimp").string();
  traces::ImportanceTraceWriter(file, {.channels = {{.name = "keys", .num_heads = 2}}, .recorded_under = {}}).finish();
  Json scenario = pool_scenario("impress");
  scenario["importance"] = {{"kind", "recorded"}, {"file", file}};
  try {
    OnePoint(scenario, {"reorder.io=offline"}).check();
    FAIL() << "the trace has no requests to calibrate on";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("reorder.io: found offline with recorded importance"));
  }
  EXPECT_NO_THROW(OnePoint(scenario, {"reorder.io=background"}).check());
}

TEST(RunPoint, OneByteKvHalvesTheBytes) {
  const auto bytes = [](const char* set) {
    return OnePoint(pool_scenario("attention_store"), {set, "workload.order=distinct", "workload.num_prefixes=30"})
        .row()["bytes_per_request"]["logical_bytes"]
        .get<double>();
  };
  EXPECT_EQ(bytes("kv_element_bytes=2"), 2 * bytes("kv_element_bytes=1"));
}

TEST(RunPoint, StreamedWeightsTakeAtLeastTheirWayOverTheLink) {
  OnePoint streamed(pool_scenario("resident"), {"weights.placement=stream_from_host"});
  const ModelGeometry& geometry = streamed.point().geometry;
  const double seconds = static_cast<double>(geometry.layer_weight_bytes().value) * geometry.num_layers / 25e9;
  const Json row = streamed.row();
  const double ttft_ms = row["ttft"]["mean_ttft_ms"];
  const double resident_ms = OnePoint(pool_scenario("resident")).row()["ttft"]["mean_ttft_ms"];
  EXPECT_GT(ttft_ms, 1e3 * seconds);
  EXPECT_LT(ttft_ms, 1e3 * seconds + resident_ms + geometry.num_layers * 0.02) << "copies and compute overlap";
  EXPECT_EQ(row["bottleneck"], "link");
}

TEST(RunPoint, SmallerWeightsAreFasterWhereTheyAreWhatIsWaitedFor) {
  const auto ttft = [](const char* bytes) {
    return OnePoint(pool_scenario("resident"), {"weights.placement=stream_from_host", bytes})
        .row()["ttft"]["mean_ttft_ms"]
        .get<double>();
  };
  EXPECT_LT(ttft("weights.bytes_per_param=1"), 0.7 * ttft("weights.bytes_per_param=2"));
}

TEST(RunPoint, ReadsThatLandInGpuMemoryCopyOnlyWhatEntersTheHostTier) {
  const auto row = [](const char* path, const char* system) {
    return OnePoint(pool_scenario(system), {std::string("software_path=") + path, "gpu_cache=2 MB", "host_cache=4 MB",
                                            "workload.order=distinct", "workload.num_prefixes=30"})
        .row();
  };
  for (const char* system : {"attention_store", "as_h2o", "impress"}) {
    const Json direct = row("direct", system);
    const Json gds = row("gds", system);
    EXPECT_EQ(gds["software_path"], "gds");
    EXPECT_EQ(gds["bytes_per_request"], direct["bytes_per_request"]) << system << ": the path changes no decision";
    EXPECT_EQ(gds["cache"]["decisions_digest"], direct["cache"]["decisions_digest"]) << system;
    EXPECT_GT(direct["busy"]["link_h2d_gather"], 0.0) << system;
    EXPECT_EQ(gds["busy"]["link_h2d_gather"], 0.0) << system << ": nothing hits, so nothing is copied to the GPU";
    EXPECT_EQ(gds["busy"]["host_memory"], 0.0) << system;
    EXPECT_GT(gds["busy"]["link_d2h"], 0.0) << system << ": the host tier is filled from the GPU";
    EXPECT_LE(gds["ttft"]["mean_ttft_ms"], direct["ttft"]["mean_ttft_ms"]) << system;
  }
}

// ---- traces with small blocks ----

std::string agentic_file(const test_support::TemporaryFolder& folder) {
  const std::string file = (folder / "a.json").string();
  std::string requests;
  std::string ids;
  int next_id = 0;
  // Each turn has 3 blocks of 64 tokens more, and a few tokens behind them.
  for (int turn = 1; turn <= 4; ++turn) {
    for (int i = 0; i < 3; ++i, ++next_id) ids += fmt::format("{}{}", next_id > 0 ? ", " : "", next_id);
    requests += fmt::format(R"({}{{"t": {}, "in": {}, "out": 20, "hash_ids": [{}]}})", turn > 1 ? "," : "", turn,
                            turn * 192 + 10, ids);
  }
  test_support::write_text(file,
                           R"({"block_size": 64, "hash_id_scope": "local", "tool_tokens": 0, "system_tokens": 0, )"
                           R"("requests": [)" +
                               requests + "]}");
  return file;
}

TEST(RunPoint, AgenticTurnsFindWhatTheTurnsBeforeAppended) {
  const test_support::TemporaryFolder folder;
  Json scenario = trace_scenario("attention_store");
  scenario["workload"] = {{"kind", "trace"}, {"format", "agentic"}, {"file", agentic_file(folder)}};
  const Json row = OnePoint(scenario).row();
  EXPECT_EQ(row["workload"]["measured_requests"], 4);
  EXPECT_EQ(row["workload"]["mean_hit_tokens_trace_blocks"], (192 + 2 * 192 + 3 * 192) / 4.0);
  EXPECT_EQ(OnePoint(scenario, {"workload.append=none"}).row()["workload"]["mean_hit_tokens_trace_blocks"], 0);
}

TEST(RunPoint, TraceBlocksSmallerThanTheStoresAreJoined) {
  const test_support::TemporaryFolder folder;
  Json scenario = trace_scenario("attention_store");
  scenario["workload"] = {{"kind", "trace"}, {"format", "agentic"}, {"file", agentic_file(folder)}};
  // Of 192, 384 and 576 stored tokens, whole blocks of 128 are found: 128, 384 and 512.
  EXPECT_EQ(OnePoint(scenario, {"store_block_tokens=128"}).row()["workload"]["mean_hit_tokens_trace_blocks"],
            (128 + 384 + 512) / 4.0);
  EXPECT_THROW(OnePoint(scenario, {"store_block_tokens=96"}).row(), ConfigError);
}

}  // namespace
}  // namespace reprefill::sim
