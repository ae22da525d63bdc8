// Reading profile bundles: what ships, what is refused and how, and how parts of different bundles mix.
#include "sim/devices/profile.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/shared_data.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::sim {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSubsetOf;
using testing::ThrowsMessage;

std::filesystem::path shipped_folder() { return test_support::source_folder() / "calibrate/profiles"; }

/// As if `text` stood under the key "profile" of scenario.json.
Profile read_text(const std::string& text, const std::filesystem::path& folder) {
  const Json json = parse_json(text, "scenario.json");
  return read_profile(JsonValue(json, "scenario.json", "profile"), folder);
}

/// Some bundles hold some parts only, to be mixed in: the others come from the complete one.
Json completed(const std::string& name) {
  const Json model = read_bundle(shipped_folder() / name).at("model");
  Json scenario = {{"name", "a800-990pro"}};
  for (const char* part : {"gpu", "ssd", "link", "host"}) {
    if (model.contains(part)) scenario[part] = name;
  }
  return scenario;
}

class ShippedProfile : public testing::TestWithParam<std::string> {};

TEST_P(ShippedProfile, IsReadAndEveryNumberHasASource) {
  const Profile profile = read_text(completed(GetParam()).dump(), shipped_folder());
  EXPECT_GT(profile.gpu.peak_rate.value, 0);
  const Json model = read_bundle(shipped_folder() / GetParam()).at("model");
  for (const char* part : {"gpu", "ssd", "link", "host"}) {
    if (!model.contains(part)) continue;
    for (const auto& [key, value] : model.at(part).items()) {
      if (key == "name" || key == "sources" || !value.is_primitive()) continue;  // tables say how they were measured
      EXPECT_FALSE(model.at(part).at("sources").at(key).get<std::string>().empty()) << part << "." << key;
    }
  }
}

TEST_P(ShippedProfile, ReadsBackFromItsResolvedForm) {
  const Profile profile = read_text(completed(GetParam()).dump(), shipped_folder());
  Json parts = profile.resolved;
  for (const char* key : {"name", "kind", "interference"}) parts.erase(key);
  // A resolved form names tables by their digest: the numbers are what it can be read from.
  parts["gpu"].erase("operations");
  for (const char* key : {"select_per_score_ns", "select_per_vote_ns"}) parts["gpu"].erase(key);  // no settings either
  parts["link"].erase("single_copies");
  parts["host"].erase("driver");
  for (const char* key : {"read_curve", "service"}) parts["ssd"].erase(key);
  const Profile again = read_text(parts.dump(), shipped_folder());
  for (const char* part : {"gpu", "ssd", "link", "host"}) {
    EXPECT_EQ(again.resolved.at(part), parts.at(part));
  }
}

INSTANTIATE_TEST_SUITE_P(AllBundles, ShippedProfile, testing::ValuesIn(shipped_profiles(shipped_folder())),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
                           return name;
                         });

TEST(Profile, PartsToMixShipForEveryKindOfGpuAndDrive) {
  EXPECT_THAT((std::vector<std::string>{"a100-80gb-sxm", "h100-sxm", "h200-sxm", "l40s", "rtx-3090", "rtx-4090",
                                        "rtx-5090", "ssd-cloud", "ssd-datacentre", "ssd-gen3", "ssd-gen4",
                                        "ssd-gen4-x4", "ssd-gen5", "ssd-sata"}),
              IsSubsetOf(shipped_profiles(shipped_folder())));
}

TEST(Profile, TheMachineOfContiguousKvShipsAsADatasheet) {
  EXPECT_THAT((std::vector<std::string>{"a800-990pro"}), IsSubsetOf(shipped_profiles(shipped_folder())));
  const Profile profile = read_text("\"a800-990pro\"", shipped_folder());
  EXPECT_TRUE(profile.hypothetical);
  EXPECT_EQ(profile.gpu.peak_rate.value, 312e12);
  EXPECT_EQ(profile.gpu.memory, Bytes{80'000'000'000});
  EXPECT_EQ(profile.ssd.read_bandwidth.value, 7.45e9);
  EXPECT_EQ(profile.ssd.read_latency, Nanoseconds{45'000});
  EXPECT_EQ(profile.ssd.num_devices, 1u);
  EXPECT_EQ(profile.link.copy_bandwidth.value, 25e9);
  EXPECT_EQ(profile.host.submission_cost, Nanoseconds{1000});
  EXPECT_EQ(profile.num_missing_interference_pairs(), 30);  // six classes, each by five others
}

/// Two bundles in a folder of their own, "one" and "two", that tests damage.
class Bundles : public testing::Test {
 protected:
  Bundles() {
    bundle = read_bundle(shipped_folder() / "a800-990pro");
    write("one", bundle);
    Json second = bundle;
    second["model"]["ssd"]["name"] = "SSD two";
    second["model"]["ssd"]["read_bandwidth_bytes_per_s"] = 3e9;
    second["model"]["gpu"]["peak_flops_per_s"] = 989e12;
    second["meta"]["kind"] = "measured";
    write("two", second);
  }

  void write(const std::string& name, const Json& contents) const {
    std::filesystem::create_directories(folder / name);
    for (const char* part : {"meta", "model"}) {
      test_support::write_text(folder / name / (std::string(part) + ".json"), contents.at(part).dump());
    }
  }
  Profile read(const std::string& text) const { return read_text(text, folder.path()); }

  template <typename... Parts>
  void expect_refused(const std::string& text, const Parts&... parts) const {
    EXPECT_THAT([&] { read(text); }, ThrowsMessage<ConfigError>(AllOf(HasSubstr(parts)...))) << text;
  }
  /// Writes the damaged bundle as "one"; expects reading it to be refused.
  template <typename... Parts>
  void expect_damage_found(const Json& damaged, const Parts&... parts) const {
    write("one", damaged);
    expect_refused("\"one\"", parts...);
  }

  test_support::TemporaryFolder folder;
  Json bundle;
};

// ---- bundles that are refused ----

TEST_F(Bundles, ANumberWithoutASourceIsRefused) {
  Json damaged = bundle;
  damaged["model"]["ssd"]["sources"].erase("read_latency_ns");
  expect_damage_found(damaged, "one/model.json: ssd.sources: read_latency_ns: the number has no source");
  damaged["model"]["ssd"]["sources"]["read_latency_ns"] = "";
  expect_damage_found(damaged, "ssd.sources.read_latency_ns", "where the number is from");
  damaged["model"]["ssd"]["sources"]["read_latency_ns"] = 5;
  expect_damage_found(damaged, "ssd.sources.read_latency_ns", "found 5");
  damaged["model"]["ssd"].erase("sources");
  expect_damage_found(damaged, "one/model.json: ssd: sources is missing");
}

TEST_F(Bundles, ASourceWithoutANumberIsRefused) {
  Json damaged = bundle;
  damaged["model"]["ssd"]["sources"]["queue_dept"] = "somewhere";
  expect_damage_found(damaged, "ssd.sources.queue_dept: unknown key");
}

TEST_F(Bundles, EveryNumberIsRequired) {
  for (const char* part : {"gpu", "ssd", "link", "host"}) {
    for (const auto& [key, value] : bundle["model"][part].items()) {
      if (key == "name" || key == "sources") continue;
      Json damaged = bundle;
      damaged["model"][part].erase(key);
      expect_damage_found(damaged, "one/model.json", part, key + " is missing");
    }
  }
}

TEST_F(Bundles, EveryNumberHasBounds) {
  for (const char* part : {"gpu", "ssd", "link", "host"}) {
    for (const auto& [key, value] : bundle["model"][part].items()) {
      if (key == "name" || key == "sources") continue;
      for (const Json& nonsense : {Json(-1), Json(1e300), Json("fast"), Json(nullptr), Json(true), Json::array()}) {
        Json damaged = bundle;
        damaged["model"][part][key] = nonsense;
        expect_damage_found(damaged, "one/model.json", std::string(part) + "." + key, "found");
      }
    }
  }
}

TEST_F(Bundles, UnknownKeysAreRefusedWithTheNearestName) {
  Json damaged = bundle;
  damaged["model"]["ssd"]["num_chanels"] = 4;
  expect_damage_found(damaged, "one/model.json: ssd.num_chanels: unknown key; did you mean num_channels?");
  damaged = bundle;
  damaged["model"]["gpus"] = Json::object();
  expect_damage_found(damaged, "gpus: unknown key; did you mean gpu?");
}

TEST_F(Bundles, AMissingPartIsRefusedByName) {
  for (const char* part : {"gpu", "ssd", "link", "host"}) {
    Json damaged = bundle;
    damaged["model"].erase(part);
    expect_damage_found(damaged, "one/model.json", std::string(part) + " is missing");
  }
}

TEST_F(Bundles, TheKindSaysWhetherItWasMeasured) {
  Json damaged = bundle;
  damaged["meta"]["kind"] = "guessed";
  expect_damage_found(damaged, "one/meta.json: kind", "guessed", "\"measured\" or \"hypothetical\"");
  damaged["meta"].erase("kind");
  expect_damage_found(damaged, "one/meta.json", "kind is missing");
  EXPECT_FALSE(read("\"two\"").hypothetical);
}

TEST_F(Bundles, WhatOperationsShareIsReadAndDroppedForPartsOfOtherBundles) {
  EXPECT_FALSE(read("\"one\"").common_mode);  // as in bundles from before it was measured
  const CommonMode common{.gpu = {0.02, 6}, .ssd = {0.2, 6}, .link = {0.1, 6}, .host = {0.3, 6}, .session = {0.01, 6}};
  Json with = bundle;
  with["model"]["common_mode"] = to_json(common);
  write("one", with);
  const Profile profile = read("\"one\"");
  EXPECT_EQ(profile.common_mode, common);
  EXPECT_EQ(profile.resolved["common_mode"], to_json(common));  // rows of other terms have other inputs
  const Profile mixed = read(R"({"name": "one", "ssd": "two"})");
  ASSERT_TRUE(mixed.common_mode);
  EXPECT_EQ(mixed.common_mode->ssd, CommonTerm{});
  EXPECT_EQ(mixed.common_mode->gpu, common.gpu);
  EXPECT_FALSE(read(R"({"name": "two", "ssd": "one"})").common_mode);
}

TEST_F(Bundles, ADriveSaysHowItServesWhatIsQueued) {
  EXPECT_EQ(read("\"one\"").ssd.service, SsdService::fifo);
  EXPECT_FALSE(read("\"one\"").resolved["ssd"].contains("service"));
  Json with = bundle;
  with["model"]["ssd"]["service"] = "shared";
  write("one", with);
  EXPECT_EQ(read("\"one\"").ssd.service, SsdService::shared);
  EXPECT_EQ(read("\"one\"").resolved["ssd"]["service"], "shared");
  with["model"]["ssd"]["service"] = "round_robin";
  write("one", with);
  EXPECT_THROW(read("\"one\""), ConfigError);
}

TEST_F(Bundles, TheReadsThatADriveWasFittedToGoWithItUntilItsNumbersAreOthers) {
  Json with = bundle;
  with["model"]["fits"] = {{{"name", "ssd_read"},
                            {"unit", "ns"},
                            {"rule", "x"},
                            {"points", {{{"shape", {{"bytes", 16384}, {"depth", 4}}}, {"measured", 25'000.5}}}}}};
  write("one", with);
  for (const char* text : {"\"one\"", R"({"name": "two", "ssd": "one"})"}) {
    const Profile profile = read(text);
    ASSERT_EQ(profile.ssd.measured_reads.size(), 1u) << text;
    EXPECT_EQ(profile.ssd.measured_reads[0].size, Bytes{16384});
    EXPECT_EQ(profile.ssd.measured_reads[0].depth, 4u);
    EXPECT_EQ(profile.ssd.measured_reads[0].ns, 25'000.5);
  }
  EXPECT_TRUE(read("\"two\"").ssd.measured_reads.empty());
  EXPECT_TRUE(read(R"({"name": "one", "ssd": {"read_bandwidth": "5 GB/s"}})").ssd.measured_reads.empty());
}

TEST_F(Bundles, FilesThatAreNotThereOrNoJsonAreRefused) {
  test_support::write_text(folder / "one" / "model.json", "{");
  expect_refused("\"one\"", "one/model.json");
  std::filesystem::remove(folder / "one" / "meta.json");
  expect_refused("\"one\"", "one/meta.json");
}

TEST_F(Bundles, AFolderWithoutAModelIsNoBundle) {
  std::filesystem::create_directories(folder / "empty");
  EXPECT_THAT(shipped_profiles(folder.path()), ElementsAre("one", "two"));
  EXPECT_THAT(shipped_profiles(folder / "nowhere"), ElementsAre());
}

TEST_F(Bundles, AnUnknownNameIsRefusedWithTheNearestAndAllNames) {
  expect_refused("\"onee\"", "scenario.json: profile", "no profile \"onee\"", "did you mean one?", "allowed: one, two");
  expect_refused("3", "scenario.json: profile", "found 3");
  expect_refused("[]", "scenario.json: profile");
}

TEST_F(Bundles, ABundleMayBeNamedByItsPath) {
  EXPECT_EQ(read_text("\"" + (folder / "two").string() + "\"", shipped_folder()).ssd.read_bandwidth.value, 3e9);
}

// ---- mixing ----

TEST_F(Bundles, PartsMixByName) {
  const Profile profile = read(R"({"gpu": "two", "ssd": "one", "link": "one", "host": "two"})");
  EXPECT_EQ(profile.name, "mixed");
  EXPECT_EQ(profile.gpu.peak_rate.value, 989e12);
  EXPECT_EQ(profile.ssd.read_bandwidth.value, 7.45e9);
  EXPECT_TRUE(profile.hypothetical);  // one of its parts is
  EXPECT_FALSE(read(R"({"gpu": "two", "ssd": "two", "link": "two", "host": "two"})").hypothetical);
}

TEST_F(Bundles, ANamedProfileWithOnePartOfAnother) {
  const Profile profile = read(R"({"name": "one", "ssd": "two"})");
  EXPECT_EQ(profile.name, "one");
  EXPECT_EQ(profile.ssd.name, "SSD two");
  EXPECT_EQ(profile.ssd.read_bandwidth.value, 3e9);
  EXPECT_EQ(profile.gpu.peak_rate.value, 312e12);
  EXPECT_EQ(profile.resolved["ssd"]["read_bandwidth_bytes_per_s"], 3e9);
}

TEST_F(Bundles, WithoutANameAllPartsAreNeeded) {
  expect_refused(R"({"gpu": "one", "ssd": "one", "link": "one"})", "scenario.json: profile: host is missing");
  expect_refused("{}", "gpu is missing");
}

TEST_F(Bundles, UnknownPartsAreRefused) {
  expect_refused(R"({"name": "one", "sdd": "two"})", "profile.sdd: unknown key; did you mean ssd?");
  expect_refused(R"({"name": "one", "ssd": "twoo"})", "profile.ssd: no profile \"twoo\"", "did you mean two?");
  expect_refused(R"({"name": "one", "ssd": 7})", "profile.ssd");
}

// ---- numbers that win ----

TEST_F(Bundles, ANumberWinsOverTheBundleThatItIsFrom) {
  const Profile profile =
      read(R"({"name": "one", "ssd": {"from": "two", "read_bandwidth": "14 GB/s", "num_devices": 4}})");
  EXPECT_EQ(profile.ssd.read_bandwidth.value, 14e9);
  EXPECT_EQ(profile.ssd.num_devices, 4u);
  EXPECT_EQ(profile.ssd.name, "SSD two");
  EXPECT_EQ(profile.ssd.write_bandwidth.value, 6.9e9);
}

TEST_F(Bundles, ANumberMayBeGivenInEitherFormButNotInBoth) {
  EXPECT_EQ(read(R"({"name": "one", "ssd": {"read_bandwidth_bytes_per_s": 14e9}})").ssd.read_bandwidth.value, 14e9);
  EXPECT_EQ(read(R"({"name": "one", "ssd": {"read_latency": "80 us"}})").ssd.read_latency, Nanoseconds{80'000});
  expect_refused(R"({"name": "one", "ssd": {"read_bandwidth": "1 GB/s", "read_bandwidth_bytes_per_s": 2e9}})", "both");
  expect_refused(R"({"name": "one", "ssd": {"read_bandwidth_bytes_per_s": 2e9, "read_bandwidth": "1 GB/s"}})", "both");
}

TEST_F(Bundles, AnOwnNumberMakesAMeasuredProfileHypothetical) {
  EXPECT_FALSE(read(R"({"name": "two", "ssd": {"from": "two"}})").hypothetical);
  const Profile profile = read(R"({"name": "two", "ssd": {"read_bandwidth": "14 GB/s"}})");
  EXPECT_TRUE(profile.hypothetical);
  EXPECT_EQ(profile.resolved["kind"], "hypothetical");
  EXPECT_EQ(profile.ssd.name, "SSD two");  // without "from": the named profile's own part
}

TEST_F(Bundles, OwnNumbersAreCheckedLikeABundles) {
  expect_refused(R"({"name": "one", "ssd": {"read_bandwith": "14 GB/s"}})",
                 "profile.ssd.read_bandwith: unknown key; did you mean read_bandwidth?");
  expect_refused(R"({"name": "one", "ssd": {"read_bandwidth": "14 GB"}})", "profile.ssd.read_bandwidth", "GB/s");
  expect_refused(R"({"name": "one", "ssd": {"read_bandwidth": 14}})", "profile.ssd.read_bandwidth", "unit");
  expect_refused(R"({"name": "one", "ssd": {"num_devices": 0}})", "profile.ssd.num_devices", "found 0");
  expect_refused(R"({"name": "one", "gpu": {"gemm_efficiency": 1.2}})", "profile.gpu.gemm_efficiency");
}

TEST_F(Bundles, APartOfOwnNumbersAloneMustHaveThemAll) {
  // No bundle underneath: nothing may fall back to zero.
  const std::string others = R"("gpu": "one", "link": "one", "host": "one")";
  expect_refused("{" + others + R"(, "ssd": {"read_bandwidth": "14 GB/s"}})", "scenario.json: profile.ssd",
                 "write_bandwidth_bytes_per_s is missing");
  Json ssd = bundle["model"]["ssd"];
  ssd.erase("sources");
  EXPECT_EQ(read("{" + others + ", \"ssd\": " + ssd.dump() + "}").ssd.num_channels, 64u);
  ssd.erase("num_channels");
  expect_refused("{" + others + ", \"ssd\": " + ssd.dump() + "}", "profile.ssd: num_channels is missing");
}

// ---- what a measured bundle of a later schema holds ----

TEST_F(Bundles, VotesAndSingleCopiesAreReadAndBelongToWhatWasMeasured) {
  EXPECT_EQ(read("\"one\"").link.single_copies.most_pieces, 0u);
  Json measured = bundle;
  measured["model"]["schema_version"] = 2;
  measured["model"]["gpu"]["select_per_vote_ns"] = 19.5;
  measured["model"]["link"]["single_copies"] = {{"most_pieces", 16}, {"latency_ns", 2000}, {"per_piece_ns", 2700}};
  write("one", measured);
  const Profile profile = read("\"one\"");
  EXPECT_EQ(profile.gpu.select_per_vote_ns, 19.5);
  EXPECT_EQ(profile.link.single_copies.most_pieces, 16u);
  EXPECT_EQ(profile.link.single_copies.latency, Nanoseconds{2000});
  EXPECT_EQ(profile.link.single_copies.per_piece, Nanoseconds{2700});
  EXPECT_EQ(profile.resolved["link"]["single_copies"]["per_piece_ns"], 2700);
  EXPECT_EQ(profile.resolved["gpu"]["select_per_vote_ns"], 19.5);
  // A link of other numbers is another link.
  EXPECT_EQ(read(R"({"name": "one", "link": {"copy_bandwidth": "50 GB/s"}})").link.single_copies.most_pieces, 0u);
}

TEST_F(Bundles, SingleCopiesThatMakeNoSenseAreRefused) {
  const auto with = [&](Json single) {
    Json damaged = bundle;
    damaged["model"]["link"]["single_copies"] = std::move(single);
    return damaged;
  };
  expect_damage_found(with({{"most_pieces", 0}, {"latency_ns", 1}, {"per_piece_ns", 1}}), "most_pieces", "found 0");
  expect_damage_found(with({{"most_pieces", 4}, {"latency_ns", 1}}), "per_piece_ns is missing");
  expect_damage_found(with({{"most_pieces", 4}, {"latency_ns", 1}, {"per_piece_ns", 1}, {"x", 1}}), "unknown key");
}

TEST_F(Bundles, ALaterSchemaThanThisProgramKnowsIsRefused) {
  Json later = bundle;
  later["model"]["schema_version"] = kBundleSchemaVersion + 1;
  expect_damage_found(later, "schema_version", "found 3");
}

// ---- interference ----

class InterferenceTable : public Bundles {
 protected:
  Json with(const char* text) const {
    Json changed = bundle;
    changed["model"]["interference"] = parse_json(text, "test");
    return changed;
  }
};

TEST_F(InterferenceTable, PairsAreReadAndMissingOnesCounted) {
  write("one",
        with(R"([{"slowed": "gemm", "by": "h2d", "factor": 1.25}, {"slowed": "h2d", "by": "gemm", "factor": 1}])"));
  const Profile profile = read("\"one\"");
  ASSERT_EQ(profile.interference.size(), 2u);
  EXPECT_EQ(profile.interference[0].slowed, Activity::gemm);
  EXPECT_EQ(profile.interference[0].by, Activity::h2d);
  EXPECT_EQ(profile.interference[0].factor, 1.25);
  EXPECT_EQ(profile.num_missing_interference_pairs(), 28);
  EXPECT_EQ(profile.resolved["interference"][0]["factor"], 1.25);
}

TEST_F(InterferenceTable, WhatMakesNoSenseIsRefused) {
  expect_damage_found(with("{}"), "interference", "a list");
  expect_damage_found(with("[3]"), "interference[0]", "an object");
  expect_damage_found(with(R"([{"slowed": "gem", "by": "h2d", "factor": 2}])"), "interference[0].slowed",
                      "did you mean gemm?");
  expect_damage_found(with(R"([{"slowed": "gemm", "by": "h2d", "factor": 0.5}])"), "interference[0].factor", "0.5");
  expect_damage_found(with(R"([{"slowed": "gemm", "by": "h2d"}])"), "interference[0]: factor is missing");
  expect_damage_found(with(R"([{"by": "h2d", "factor": 2}])"), "interference[0]: slowed is missing");
  expect_damage_found(with(R"([{"slowed": "gemm", "by": "h2d", "factor": 2, "why": 1}])"), "why: unknown key");
}

TEST_F(InterferenceTable, APairIsThereOnceAndOfTwoClasses) {
  expect_damage_found(with(R"([{"slowed": "h2d", "by": "h2d", "factor": 2}])"), "interference[0]", "itself");
  expect_damage_found(
      with(R"([{"slowed": "gemm", "by": "h2d", "factor": 2}, {"slowed": "gemm", "by": "h2d", "factor": 3}])"),
      "interference[1]", "twice");
}

}  // namespace
}  // namespace reprefill::sim
