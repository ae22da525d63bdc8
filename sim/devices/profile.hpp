// What the simulator knows of a machine: the numbers of a profile bundle (design 5 and 6). A datasheet profile is a
// roofline: peaks, bandwidths, efficiencies and overheads, each with its source in the bundle. A measured one adds what
// was measured by shape: `gpu.operations`, `ssd.read_curve`.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/params.hpp"
#include "sim/devices/common_mode.hpp"
#include "sim/devices/operation_tables.hpp"

namespace reprefill::sim {

struct GpuProfile {
  std::string name;
  FlopsPerSecond peak_rate;
  BytesPerSecond memory_bandwidth;
  Bytes memory;
  double gemm_efficiency = 1;       // of peak_rate
  double attention_efficiency = 1;  // of peak_rate
  double memory_efficiency = 1;     // of memory_bandwidth
  Nanoseconds operation_overhead{0};
  Nanoseconds select_overhead{0};
  double select_per_score_ns = 0;  // besides, for each score it chooses from; measured only
  double select_per_vote_ns = 0;   // instead, where probe heads vote; 0: as above
  double residual_sigma = 0;
  /// Measured durations by model; none in a datasheet profile, nor once a scenario overrides one of the numbers above.
  std::shared_ptr<const std::vector<ModelOperations>> operations =
      std::make_shared<const std::vector<ModelOperations>>();
};

/// What one read of a size costs a drive: a latency that overlaps with others, then a share of its bandwidth.
struct ReadCost {
  Bytes size;
  Nanoseconds latency{0};
  BytesPerSecond bandwidth;
};

/// Random reads of one size, so many at a time, as calibration measured them: nanoseconds from one to the next.
struct MeasuredRead {
  Bytes size;
  std::uint32_t depth = 1;
  double ns = 0;
};

/// Which of the transfers under way a drive works at.
enum class SsdService : std::uint8_t {
  fifo,   // one after the other, as they were submitted
  shared  // at all of them alike: what is queued together ends together
};

struct SsdProfile {
  std::string name;
  BytesPerSecond read_bandwidth;
  BytesPerSecond write_bandwidth;
  Nanoseconds read_latency{0};
  Nanoseconds write_latency{0};
  std::uint32_t num_channels = 1;
  std::uint32_t num_devices = 1;
  Bytes stripe_bytes{131072};
  double mixed_slowdown = 1;
  double residual_sigma = 0;
  SsdService service = SsdService::fifo;  // a measured drive's bundle says so
  /// By ascending size, measured; empty: read_latency and read_bandwidth at every size. Between sizes both are linear
  /// in the logarithm of the size, outside as at the nearest.
  std::vector<ReadCost> read_curve = {};
  /// What the curve was fitted to; empty in a datasheet profile, nor of use once a scenario overrides its numbers.
  std::vector<MeasuredRead> measured_reads = {};

  ReadCost read_cost(Bytes size) const;
};

/// Few pieces go one by one, through the copy engine; more of them in one launch.
struct SingleCopies {
  std::uint32_t most_pieces = 0;  // 0: not measured; all as copy_latency and copy_bandwidth say
  Nanoseconds latency{0};
  Nanoseconds per_piece{0};  // beside its transfer, at copy_bandwidth
};

struct LinkProfile {
  std::string name;
  Nanoseconds copy_latency{0};
  BytesPerSecond copy_bandwidth;
  Nanoseconds gather_latency{0};
  BytesPerSecond gather_bandwidth;
  BytesPerSecond pageable_bandwidth;
  double residual_sigma = 0;
  SingleCopies single_copies = {};  // measured only
};

/// Of a bundle's model.json: 2 since it may hold what masks cost and how votes and single copies go; 1 is read, too.
inline constexpr int kBundleSchemaVersion = 2;

/// The thread that runs the systems: it issues operations one after the other and hears of their ends. Measured on an
/// engine; all zero in a datasheet profile: there operations begin and end unheard.
struct DriverCosts {
  Nanoseconds per_operation{0};  // its time for issuing one
  Nanoseconds per_piece{0};      // besides, for each piece that is looked up, read, copied or attended to
  Nanoseconds start{0};          // from there until the lane's thread has begun; the driver goes on meanwhile
  Nanoseconds notice{0};         // from an operation's end until the driver has heard of it
  /// Operations of the GPU, issued ahead, begin when those before them end; the driver hears of reads and host work
  /// only.
  bool streams = false;
  bool any() const { return (per_operation + per_piece + start + notice).value > 0; }
  bool operator==(const DriverCosts&) const = default;
};

struct HostProfile {
  std::string name;
  BytesPerSecond memcpy_bandwidth;
  Nanoseconds submission_cost{0};
  Nanoseconds completion_cost{0};
  Nanoseconds selection_cost{0};
  Nanoseconds first_token_cost{0};
  Nanoseconds tokenise_per_token{0};
  Nanoseconds look_up_per_block{0};
  Nanoseconds cache_update_per_entry{0};
  DriverCosts driver;
};

/// What runs at the same time slows each other down: an operation of class `slowed` progresses at 1 / factor while one
/// of class `by` is active.
enum class Activity : std::uint8_t { ssd_read, h2d, d2h, gemm, attention, gather };
inline constexpr int kNumActivities = 6;
struct InterferencePair {
  Activity slowed;
  Activity by;
  double factor;
};

struct Profile {
  std::string name;
  bool hypothetical = true;
  GpuProfile gpu;
  SsdProfile ssd;
  LinkProfile link;
  HostProfile host;
  std::vector<InterferencePair> interference;
  /// None in a datasheet profile, nor in bundles from before it was measured. A part from another bundle, or with a
  /// scenario's numbers, has no term.
  std::optional<CommonMode> common_mode = std::nullopt;
  Json resolved;  // every number as used, with where each part came from

  /// Pairs without a measured factor count as 1; a row says how many.
  int num_missing_interference_pairs() const;
  /// Some device's durations have a spread.
  bool has_residuals() const { return gpu.residual_sigma > 0 || ssd.residual_sigma > 0 || link.residual_sigma > 0; }
};

/// Reads the scenario's `profile`: a name, a path, or {"name"?, "gpu", "ssd", "link", "host"} where a part is the name
/// of the bundle to take it from, or an object {"from": name, ...numbers that win}. `folder` holds the shipped bundles.
Profile read_profile(const JsonValue& value, const std::filesystem::path& folder);

/// A bundle's model.json that has all parts, before it is a bundle.
Profile read_whole_model(const Json& model, const std::string& origin);

/// Parameters of each part, for `profile show`, the schema and errors.
const ParamTable<GpuProfile>& gpu_profile_params();
const ParamTable<SsdProfile>& ssd_profile_params();
const ParamTable<LinkProfile>& link_profile_params();
const ParamTable<HostProfile>& host_profile_params();

/// Of model.json's text, as meta.json's `model_digest` keeps it.
std::string bundle_digest(std::string_view model_text);
/// The bundle's files as they are, sources included. Throws ConfigError where model.json is not the text that meta.json
/// has the digest of (only measured bundles have one).
Json read_bundle(const std::filesystem::path& bundle);
/// The folder of a shipped bundle's name or of a path. Throws ConfigError with the nearest and all names.
std::filesystem::path find_bundle(const std::string& name, const std::filesystem::path& folder);
/// Reads every part that the bundle has as a profile would: ConfigError for what is wrong, missing sources among it.
void check_bundle(const std::filesystem::path& bundle);
std::vector<std::string> shipped_profiles(const std::filesystem::path& folder);

}  // namespace reprefill::sim

template <>
struct reprefill::EnumNames<reprefill::sim::SsdService> {
  static constexpr std::pair<const char*, sim::SsdService> names[] = {{"fifo", sim::SsdService::fifo},
                                                                      {"shared", sim::SsdService::shared}};
};

template <>
struct reprefill::EnumNames<reprefill::sim::Activity> {
  static constexpr std::pair<const char*, sim::Activity> names[] = {{"ssd_read", sim::Activity::ssd_read},
                                                                    {"h2d", sim::Activity::h2d},
                                                                    {"d2h", sim::Activity::d2h},
                                                                    {"gemm", sim::Activity::gemm},
                                                                    {"attention", sim::Activity::attention},
                                                                    {"gather", sim::Activity::gather}};
};
