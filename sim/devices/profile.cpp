#include "sim/devices/profile.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/base/files.hpp"
#include "core/base/nearest_name.hpp"

namespace reprefill::sim {
namespace {

ParamInfo info(std::string name, std::string doc, double minimum, double maximum) {
  return {.name = std::move(name),
          .doc = std::move(doc),
          .source = "profile bundle",
          .minimum = minimum,
          .maximum = maximum,
          .required = true};
}

ParamInfo sigma() { return info("residual_sigma", "spread of the logarithm of durations, used with noise on", 0, 2); }

std::vector<ReadCost> read_curve(const JsonValue& list) {
  std::vector<ReadCost> curve;
  list.require_array();
  for (std::size_t i = 0; i < list.json().size(); ++i) {
    const JsonValue item = list.element(i).require_object();
    item.refuse_unknown_keys({"bytes", "latency_ns", "bandwidth_bytes_per_s"});
    curve.push_back({Bytes{static_cast<std::uint64_t>(item.key("bytes").as_integer(1, std::int64_t{1} << 40, "bytes"))},
                     Nanoseconds{item.key("latency_ns").as_integer(0, 1'000'000'000, "ns")},
                     BytesPerSecond{item.key("bandwidth_bytes_per_s").as_number(1e3, 1e13, "bytes/s")}});
    if (i > 0 && curve[i].size <= curve[i - 1].size) item.key("bytes").fail_expected("ascending sizes");
  }
  return curve;
}

DriverCosts read_driver(const JsonValue& object) {
  object.require_object().refuse_unknown_keys({"per_operation_ns", "per_piece_ns", "start_ns", "notice_ns", "streams"});
  const auto cost = [&](const char* key) { return Nanoseconds{object.key(key).as_integer(0, 1'000'000'000, "ns")}; };
  return {.per_operation = cost("per_operation_ns"),
          .per_piece = cost("per_piece_ns"),
          .start = cost("start_ns"),
          .notice = cost("notice_ns"),
          .streams = object.has("streams") && object.key("streams").as_bool()};
}

// What a part holds beside its numbers.
template <typename Part>
void read_measured(const JsonValue&, Part&) {}
void read_measured(const JsonValue& object, GpuProfile& gpu) {
  if (object.has("select_per_score_ns")) {
    gpu.select_per_score_ns = object.key("select_per_score_ns").as_number(0, 1e6, "ns");
  }
  if (object.has("select_per_vote_ns")) {
    gpu.select_per_vote_ns = object.key("select_per_vote_ns").as_number(0, 1e6, "ns");
  }
  if (!object.has("operations")) return;
  gpu.operations = std::make_shared<const std::vector<ModelOperations>>(read_operations(object.key("operations")));
}
void read_measured(const JsonValue& object, SsdProfile& ssd) {
  if (object.has("read_curve")) ssd.read_curve = read_curve(object.key("read_curve"));
  if (object.has("service")) {
    ssd.service = EnumNames<SsdService>::names[detail::read_choice(object.key("service"), {"fifo", "shared"})].second;
  }
}
void read_measured(const JsonValue& object, LinkProfile& link) {
  if (!object.has("single_copies")) return;
  const JsonValue single = object.key("single_copies").require_object();
  single.refuse_unknown_keys({"most_pieces", "latency_ns", "per_piece_ns"});
  const auto cost = [&](const char* key) { return Nanoseconds{single.key(key).as_integer(0, 1'000'000'000, "ns")}; };
  link.single_copies = {
      .most_pieces = static_cast<std::uint32_t>(single.key("most_pieces").as_integer(1, 65536, "pieces")),
      .latency = cost("latency_ns"),
      .per_piece = cost("per_piece_ns")};
}
void read_measured(const JsonValue& object, HostProfile& host) {
  if (object.has("driver")) host.driver = read_driver(object.key("driver"));
}
/// What a bundle's fits say of a part.
template <typename Part>
void read_fits(const JsonValue&, Part&) {}
void read_fits(const JsonValue& model, SsdProfile& ssd) {
  if (!model.has("fits")) return;
  const JsonValue fits = model.key("fits").require_array();
  for (std::size_t i = 0; i < fits.json().size(); ++i) {
    if (fits.element(i).key("name").as_string() != "ssd_read") continue;
    const JsonValue points = fits.element(i).key("points").require_array();
    for (std::size_t j = 0; j < points.json().size(); ++j) {
      const JsonValue shape = points.element(j).key("shape");
      const auto whole = [&](const char* key) { return shape.key(key).as_integer(1, std::int64_t{1} << 40, key); };
      ssd.measured_reads.push_back({.size = Bytes{static_cast<std::uint64_t>(whole("bytes"))},
                                    .depth = static_cast<std::uint32_t>(whole("depth")),
                                    .ns = points.element(j).key("measured").as_number(0, 1e15, "ns")});
    }
  }
}

template <typename Part>
std::vector<std::string> measured_keys() {
  if constexpr (std::is_same_v<Part, GpuProfile>) return {"operations", "select_per_score_ns", "select_per_vote_ns"};
  if constexpr (std::is_same_v<Part, SsdProfile>) return {"read_curve", "service"};
  if constexpr (std::is_same_v<Part, LinkProfile>) return {"single_copies"};
  if constexpr (std::is_same_v<Part, HostProfile>) return {"driver"};
  return {};
}

// What was measured, once a scenario has overridden numbers of the part.
template <typename Part>
void follow_overrides(Part&, const Part&) {}
/// A what-if GPU is its numbers: durations measured on another one say nothing of it.
void follow_overrides(GpuProfile& gpu, const GpuProfile&) { gpu.operations = GpuProfile().operations; }
/// Nor does what few copies took on another link.
void follow_overrides(LinkProfile& link, const LinkProfile&) { link.single_copies = {}; }
/// A what-if drive keeps the curve's form: every bandwidth and latency changes as the headline number does.
void follow_overrides(SsdProfile& ssd, const SsdProfile& before) {
  const double faster = ssd.read_bandwidth.value / before.read_bandwidth.value;
  const auto latency_before = static_cast<double>(before.read_latency.value);
  const double slower = latency_before > 0 ? static_cast<double>(ssd.read_latency.value) / latency_before : 1;
  for (ReadCost& cost : ssd.read_curve) {
    cost.bandwidth.value *= faster;
    cost.latency = Nanoseconds{std::llround(static_cast<double>(cost.latency.value) * slower)};
  }
  ssd.measured_reads.clear();
}

// Into the resolved configuration, so that rows of different measurements have different inputs.
template <typename Part>
void write_measured(Json&, const Part&) {}
void write_measured(Json& json, const GpuProfile& gpu) {
  if (gpu.select_per_score_ns > 0) json["select_per_score_ns"] = gpu.select_per_score_ns;
  if (gpu.select_per_vote_ns > 0) json["select_per_vote_ns"] = gpu.select_per_vote_ns;
  if (gpu.operations->empty()) return;
  std::string text;
  for (const ModelOperations& model : *gpu.operations) {
    text += Json{shape_json(model.shape),
                 model.project.to_json(),
                 model.attend.to_json(),
                 model.score.to_json(),
                 model.score_probe ? model.score_probe->to_json() : Json(nullptr),
                 model.first_token_ns}
                .dump();
    for (const auto* table : {&model.begin, &model.mask_keys, &model.mask_values}) {
      if (*table) text += (*table)->to_json().dump();
    }
    json["operations"]["models"].push_back(model.shape.name);
  }
  json["operations"]["digest"] = fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}
void write_measured(Json& json, const LinkProfile& link) {
  const SingleCopies& single = link.single_copies;
  if (single.most_pieces == 0) return;
  json["single_copies"] = {{"most_pieces", single.most_pieces},
                           {"latency_ns", single.latency.value},
                           {"per_piece_ns", single.per_piece.value}};
}
void write_measured(Json& json, const SsdProfile& ssd) {
  // Only where it is not as always: rows of other drives keep their inputs.
  if (ssd.service != SsdService::fifo) json["service"] = enum_name(ssd.service);
  for (const ReadCost& cost : ssd.read_curve) {
    json["read_curve"].push_back({{"bytes", cost.size.value},
                                  {"latency_ns", cost.latency.value},
                                  {"bandwidth_bytes_per_s", cost.bandwidth.value}});
  }
}
void write_measured(Json& json, const HostProfile& host) {
  const DriverCosts& driver = host.driver;
  if (!driver.any()) return;
  json["driver"] = {{"per_operation_ns", driver.per_operation.value},
                    {"per_piece_ns", driver.per_piece.value},
                    {"start_ns", driver.start.value},
                    {"notice_ns", driver.notice.value},
                    {"streams", driver.streams}};
}

/// A bundle's part: numbers, and a source for each of them.
template <typename Part>
Part read_part(const JsonValue& object, const ParamTable<Part>& table) {
  Part part;
  std::vector<std::string> others = measured_keys<Part>();
  others.push_back("sources");
  table.read(object, part, others);
  read_measured(object, part);
  if (!object.has("sources")) object.fail("sources is missing: every number of a profile names its source");
  const JsonValue sources = object.key("sources").require_object();
  std::vector<std::string> numbers;
  for (const ParamInfo& param : table.infos()) {
    if (param.name == "name") continue;
    if (!sources.has(param.name)) sources.fail(param.name + ": the number has no source");
    if (sources.key(param.name).as_string().empty()) sources.key(param.name).fail_expected("where the number is from");
    numbers.push_back(param.name);
  }
  for (const std::string& key : measured_keys<Part>()) numbers.push_back(key);
  sources.refuse_unknown_keys(numbers);
  return part;
}

struct Bundle {
  std::string name;
  bool hypothetical;
  Json model;
  std::string origin;
};

Bundle load_bundle(const std::filesystem::path& path) {
  const Json all = read_bundle(path);
  Bundle bundle{.name = path.filename().string(),
                .hypothetical = true,
                .model = all.at("model"),
                .origin = (path / "model.json").string()};
  const JsonValue meta(all.at("meta"), (path / "meta.json").string());
  if (!meta.require_object().has("kind")) meta.fail("kind is missing: expected \"measured\" or \"hypothetical\"");
  const std::string kind = meta.key("kind").as_string();
  if (kind != "measured" && kind != "hypothetical") meta.key("kind").fail_expected("\"measured\" or \"hypothetical\"");
  bundle.hypothetical = kind == "hypothetical";
  return bundle;
}

void refuse_unknown_parts(const JsonValue& model) {
  model.require_object().refuse_unknown_keys(
      {"schema_version", "gpu", "ssd", "link", "host", "interference", "fits", "common_mode"});
  // A later one would be refused by a key that this reader does not know; this says why.
  if (model.has("schema_version")) model.key("schema_version").as_integer(1, kBundleSchemaVersion, "");
}

/// Empty where there is none of this name.
std::filesystem::path look_for_bundle(const std::string& wanted, const std::filesystem::path& folder) {
  const std::vector<std::string> shipped = shipped_profiles(folder);
  if (std::find(shipped.begin(), shipped.end(), wanted) != shipped.end()) return folder / wanted;
  if (path_exists(std::filesystem::path(wanted) / "model.json")) return wanted;
  return {};
}

std::string no_such_bundle(const std::string& wanted, const std::filesystem::path& folder) {
  return fmt::format("no profile \"{}\": neither a shipped bundle nor a folder with model.json{}", wanted,
                     nearest_and_allowed(wanted, shipped_profiles(folder)));
}

std::filesystem::path find_bundle(const JsonValue& name, const std::filesystem::path& folder) {
  const std::filesystem::path found = look_for_bundle(name.as_string(), folder);
  if (found.empty()) name.fail(no_such_bundle(name.as_string(), folder));
  return found;
}

/// One part, from the bundle it names, with the numbers that the scenario overrides.
template <typename Part>
void mix_part(const std::string& key, const JsonValue& scenario, const std::filesystem::path& folder, Profile& profile,
              Part& part, const ParamTable<Part>& table, bool in_bundle) {
  const auto take = [&](const JsonValue& name) {
    const Bundle bundle = load_bundle(find_bundle(name, folder));
    const JsonValue model(bundle.model, bundle.origin);
    if (!model.has(key)) name.fail(fmt::format("bundle {} has no part {}", bundle.name, key));
    part = read_part(model.key(key), table);
    read_fits(model, part);
    profile.hypothetical |= bundle.hypothetical;
  };
  if (scenario.has(key)) {
    const JsonValue value = scenario.key(key);
    if (value.json().is_string()) {
      take(value);
    } else {
      value.require_object();
      if (value.has("from")) take(value.key("from"));
      Json numbers = value.json();
      numbers.erase("from");
      // Without a bundle underneath, the numbers are all there is: what is missing is refused, not zero.
      Json merged = value.has("from") || in_bundle ? table.write(part) : Json::object();
      for (const ParamInfo& param : table.infos()) {
        // "read_bandwidth": "14 GB/s" replaces read_bandwidth_bytes_per_s.
        if (numbers.contains(detail::name_without_suffix(param))) merged.erase(param.name);
      }
      for (const auto& [name, number] : numbers.items()) {
        merged[name] = number;
        profile.hypothetical = true;
      }
      const Part before = part;
      table.read(JsonValue(merged, value.origin(), value.path()), part);
      if (!numbers.empty()) follow_overrides(part, before);
    }
  }
  profile.resolved[key] = table.write(part);
  write_measured(profile.resolved[key], part);
}

/// What was seen of one part says nothing of another in its place.
void drop_terms_of_other_parts(const JsonValue& scenario, Profile& profile) {
  if (!profile.common_mode) return;
  if (scenario.has("gpu")) profile.common_mode->gpu = {};
  if (scenario.has("ssd")) profile.common_mode->ssd = {};
  if (scenario.has("link")) profile.common_mode->link = {};
  if (scenario.has("host")) profile.common_mode->host = {};
}

std::vector<InterferencePair> read_interference(const JsonValue& list) {
  std::vector<InterferencePair> pairs;
  list.require_array();
  for (std::size_t i = 0; i < list.json().size(); ++i) {
    const JsonValue item = list.element(i).require_object();
    item.refuse_unknown_keys({"slowed", "by", "factor"});
    const auto activity = [&](const char* key) {
      std::vector<std::string> names;
      for (const auto& [name, value] : EnumNames<Activity>::names) names.emplace_back(name);
      return EnumNames<Activity>::names[detail::read_choice(item.key(key), names)].second;
    };
    const InterferencePair pair{activity("slowed"), activity("by"), item.key("factor").as_number(1, 100, "")};
    if (pair.slowed == pair.by) item.fail("an activity does not slow itself down here: its own device shares it");
    const auto same = [&](const InterferencePair& known) { return known.slowed == pair.slowed && known.by == pair.by; };
    if (std::any_of(pairs.begin(), pairs.end(), same)) item.fail("the pair is there twice");
    pairs.push_back(pair);
  }
  return pairs;
}

}  // namespace

ReadCost SsdProfile::read_cost(Bytes size) const {
  if (read_curve.empty()) return {size, read_latency, read_bandwidth};
  const auto above = std::ranges::upper_bound(read_curve, size, {}, &ReadCost::size);
  if (above == read_curve.begin()) return {size, above->latency, above->bandwidth};
  const ReadCost& low = *std::prev(above);
  if (above == read_curve.end()) return {size, low.latency, low.bandwidth};
  const auto log_of = [](Bytes bytes) { return std::log2(static_cast<double>(bytes.value)); };
  const double share = (log_of(size) - log_of(low.size)) / (log_of(above->size) - log_of(low.size));
  const auto latency =
      static_cast<double>(low.latency.value) + share * static_cast<double>((above->latency - low.latency).value);
  return {size, Nanoseconds{std::llround(latency)},
          BytesPerSecond{low.bandwidth.value + share * (above->bandwidth.value - low.bandwidth.value)}};
}

int Profile::num_missing_interference_pairs() const {
  return kNumActivities * (kNumActivities - 1) - static_cast<int>(interference.size());
}

const ParamTable<GpuProfile>& gpu_profile_params() {
  using P = GpuProfile;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::name, {.name = "name", .doc = "the part", .source = ""});
    t.add(&P::peak_rate, info("peak_flops_per_s", "dense bf16 rate of the tensor cores", 1e9, 1e18));
    t.add(&P::memory_bandwidth, info("memory_bandwidth_bytes_per_s", "device memory", 1e9, 1e15));
    t.add(&P::memory, info("memory_bytes", "device memory size", 1e6, 1e15));
    t.add(&P::gemm_efficiency, info("gemm_efficiency", "share of the peak that matrix products reach", 0.001, 1));
    t.add(&P::attention_efficiency, info("attention_efficiency", "share of the peak that attention reaches", 0.001, 1));
    t.add(&P::memory_efficiency, info("memory_efficiency", "share of the memory bandwidth reached", 0.001, 1));
    t.add(&P::operation_overhead, info("operation_overhead_ns", "fixed time of project, score, attend", 0, 1e9));
    t.add(&P::select_overhead, info("select_overhead_ns", "fixed time of select", 0, 1e9));
    t.add(&P::residual_sigma, sigma());
    return t;
  }();
  return table;
}

const ParamTable<SsdProfile>& ssd_profile_params() {
  using P = SsdProfile;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::name, {.name = "name", .doc = "the part", .source = ""});
    t.add(&P::read_bandwidth, info("read_bandwidth_bytes_per_s", "sequential read, one device", 1e6, 1e13));
    t.add(&P::write_bandwidth, info("write_bandwidth_bytes_per_s", "sequential write, one device", 1e6, 1e13));
    t.add(&P::read_latency, info("read_latency_ns", "4 KiB read at depth 1", 0, 1e9));
    t.add(&P::write_latency, info("write_latency_ns", "4 KiB write at depth 1", 0, 1e9));
    t.add(&P::num_channels, info("num_channels", "requests whose latencies overlap, one device", 1, 65536));
    t.add(&P::num_devices, info("num_devices", "devices that the store is striped over", 1, 1024));
    t.add(&P::stripe_bytes, info("stripe_bytes", "stripe unit", 4096, 1e9));
    t.add(&P::mixed_slowdown,
          info("mixed_slowdown", "transfers last this much longer while reads and writes mix", 1, 100));
    t.add(&P::residual_sigma, sigma());
    return t;
  }();
  return table;
}

const ParamTable<LinkProfile>& link_profile_params() {
  using P = LinkProfile;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::name, {.name = "name", .doc = "the part", .source = ""});
    t.add(&P::copy_latency, info("copy_latency_ns", "one copy-engine transfer", 0, 1e9));
    t.add(&P::copy_bandwidth,
          info("copy_bandwidth_bytes_per_s", "copy engine, pinned memory, each direction", 1e6, 1e13));
    t.add(&P::gather_latency, info("gather_latency_ns", "one gather kernel", 0, 1e9));
    t.add(&P::gather_bandwidth, info("gather_bandwidth_bytes_per_s", "gather kernel, pinned memory", 1e6, 1e13));
    t.add(&P::pageable_bandwidth, info("pageable_bandwidth_bytes_per_s", "copies from pageable memory", 1e6, 1e13));
    t.add(&P::residual_sigma, sigma());
    return t;
  }();
  return table;
}

const ParamTable<HostProfile>& host_profile_params() {
  using P = HostProfile;
  static const ParamTable<P> table = [] {
    ParamTable<P> t;
    t.add(&P::name, {.name = "name", .doc = "the part", .source = ""});
    t.add(&P::memcpy_bandwidth, info("memcpy_bandwidth_bytes_per_s", "staging to host tier", 1e6, 1e13));
    t.add(&P::submission_cost, info("submission_cost_ns", "submission thread, one read or write", 0, 1e9));
    t.add(&P::completion_cost, info("completion_cost_ns", "submission thread, one completion", 0, 1e9));
    t.add(&P::selection_cost, info("selection_cost_ns", "indices to the host and the host's wake-up", 0, 1e9));
    t.add(&P::first_token_cost, info("first_token_cost_ns", "token id to the host and the host's wake-up", 0, 1e9));
    t.add(&P::tokenise_per_token, info("tokenise_per_token_ns", "tokenising, a token", 0, 1e9));
    t.add(&P::look_up_per_block, info("look_up_per_block_ns", "prefix look-up, a stored block", 0, 1e9));
    t.add(&P::cache_update_per_entry, info("cache_update_per_entry_ns", "cache bookkeeping, a piece", 0, 1e9));
    return t;
  }();
  return table;
}

std::string bundle_digest(std::string_view model_text) {
  return fmt::format("{:016x}", XXH3_64bits(model_text.data(), model_text.size()));
}

Json read_bundle(const std::filesystem::path& bundle) {
  Json all = Json::object();
  all["meta"] = read_json_file(bundle / "meta.json");
  const FileContents model = read_whole_file(bundle / "model.json", 0);
  if (all["meta"].is_object() && all["meta"].contains("model_digest") &&
      all["meta"]["model_digest"] != bundle_digest(model.text())) {
    throw ConfigError(
        fmt::format("{}: is not what was measured: its digest is {}, meta.json has {}. Calibrate again, or, for "
                    "numbers of your own, "
                    "`reprefill profile derive`",
                    (bundle / "model.json").string(), bundle_digest(model.text()), all["meta"]["model_digest"].dump()));
  }
  all["model"] = parse_json(model.text(), (bundle / "model.json").string());
  return all;
}

std::vector<std::string> shipped_profiles(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (path_exists(entry.path() / "model.json")) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void check_bundle(const std::filesystem::path& path) {
  const Bundle bundle = load_bundle(path);
  const JsonValue model(bundle.model, bundle.origin);
  refuse_unknown_parts(model);
  if (model.has("gpu")) read_part(model.key("gpu"), gpu_profile_params());
  if (model.has("ssd")) read_part(model.key("ssd"), ssd_profile_params());
  if (model.has("link")) read_part(model.key("link"), link_profile_params());
  if (model.has("host")) read_part(model.key("host"), host_profile_params());
  if (model.has("interference")) read_interference(model.key("interference"));
  if (model.has("common_mode")) read_common_mode(model.key("common_mode"));
}

Profile read_whole_model(const Json& json, const std::string& origin) {
  const JsonValue model(json, origin);
  Profile profile;
  profile.name = origin;
  profile.hypothetical = false;
  profile.gpu = read_part(model.key("gpu"), gpu_profile_params());
  profile.ssd = read_part(model.key("ssd"), ssd_profile_params());
  profile.link = read_part(model.key("link"), link_profile_params());
  profile.host = read_part(model.key("host"), host_profile_params());
  if (model.has("interference")) profile.interference = read_interference(model.key("interference"));
  return profile;
}

std::filesystem::path find_bundle(const std::string& name, const std::filesystem::path& folder) {
  const std::filesystem::path found = look_for_bundle(name, folder);
  if (found.empty()) throw ConfigError(no_such_bundle(name, folder));
  return found;
}

Profile read_profile(const JsonValue& value, const std::filesystem::path& folder) {
  Json as_object = value.json();
  if (value.json().is_string()) {
    as_object = Json{{"name", value.json()}};
  }
  const JsonValue scenario(as_object, value.origin(), value.path());
  scenario.require_object().refuse_unknown_keys({"name", "gpu", "ssd", "link", "host"});
  Profile profile;
  profile.hypothetical = false;
  profile.resolved = Json::object();
  std::set<std::string> in_bundle;
  if (scenario.has("name")) {
    const JsonValue name = value.json().is_string() ? value : value.key("name");
    const Bundle bundle = load_bundle(find_bundle(name, folder));
    const JsonValue model(bundle.model, bundle.origin);
    refuse_unknown_parts(model);
    profile.name = bundle.name;
    profile.hypothetical = bundle.hypothetical;
    const auto take = [&]<typename Part>(const std::string& key, Part& part, const ParamTable<Part>& table) {
      if (model.has(key)) {
        part = read_part(model.key(key), table);
        read_fits(model, part);
        in_bundle.insert(key);
      } else if (!scenario.has(key)) {
        model.fail(fmt::format("{} is missing: name a part to mix in, {{\"name\": \"{}\", \"{}\": ...}}", key,
                               bundle.name, key));
      }
    };
    take("gpu", profile.gpu, gpu_profile_params());
    take("ssd", profile.ssd, ssd_profile_params());
    take("link", profile.link, link_profile_params());
    take("host", profile.host, host_profile_params());
    if (model.has("interference")) profile.interference = read_interference(model.key("interference"));
    if (model.has("common_mode")) profile.common_mode = read_common_mode(model.key("common_mode"));
  } else {
    profile.name = "mixed";
    for (const char* part : {"gpu", "ssd", "link", "host"}) {
      if (!scenario.has(part))
        scenario.fail(fmt::format("{} is missing: a profile without a name gives all parts", part));
    }
  }
  drop_terms_of_other_parts(scenario, profile);
  mix_part("gpu", scenario, folder, profile, profile.gpu, gpu_profile_params(), in_bundle.contains("gpu"));
  mix_part("ssd", scenario, folder, profile, profile.ssd, ssd_profile_params(), in_bundle.contains("ssd"));
  mix_part("link", scenario, folder, profile, profile.link, link_profile_params(), in_bundle.contains("link"));
  mix_part("host", scenario, folder, profile, profile.host, host_profile_params(), in_bundle.contains("host"));
  profile.resolved["name"] = profile.name;
  profile.resolved["kind"] = profile.hypothetical ? "hypothetical" : "measured";
  if (profile.common_mode) profile.resolved["common_mode"] = to_json(*profile.common_mode);
  for (const InterferencePair& pair : profile.interference) {
    profile.resolved["interference"].push_back(
        {{"slowed", enum_name(pair.slowed)}, {"by", enum_name(pair.by)}, {"factor", pair.factor}});
  }
  return profile;
}

}  // namespace reprefill::sim
