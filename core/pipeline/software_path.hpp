// The software between a pipeline and the devices (semantics 4). `prototype` is what the published prototypes add and
// reproduces their figures; `direct` is a good I/O path; `gds` is `direct` with reads that land in GPU memory. Every
// result names its path.
#pragma once

#include "core/base/params.hpp"

namespace reprefill::pipeline {

enum class PathKind : std::uint8_t { prototype, direct, gds };
enum class CacheUpdate : std::uint8_t { after, inline_ };
enum class CopyMemory : std::uint8_t { pinned, pageable };
/// Where reads put their bytes: host staging, from where they are copied, or the GPU memory where they are wanted.
enum class ReadTarget : std::uint8_t { host, gpu };

struct SoftwarePath {
  PathKind kind = PathKind::direct;
  Nanoseconds object_fixed_cost{0};
  std::uint32_t queue_depth = 128;
  Bytes max_request_bytes{512 * 1024};
  bool merge_reads = true;
  Bytes max_merge_gap{0};
  bool copy_per_object = false;
  CopyMemory copy_memory = CopyMemory::pinned;
  ReadTarget read_target = ReadTarget::host;
  bool charge_submission = true;
  Nanoseconds compute_overhead_per_request{0};
  Nanoseconds launch_overhead_per_layer{0};
  Nanoseconds identify_cost_per_call{0};
  Bytes score_to_host{0};
  FlopsPerSecond host_scoring_rate{1e11};
  Nanoseconds stage_synchronise{0};
  bool scoring_repeats_projection = false;
  CacheUpdate cache_update = CacheUpdate::after;
};

SoftwarePath default_software_path(PathKind kind);
const ParamTable<SoftwarePath>& software_path_params();

}  // namespace reprefill::pipeline

template <>
struct reprefill::EnumNames<reprefill::pipeline::PathKind> {
  static constexpr std::pair<const char*, pipeline::PathKind> names[] = {{"prototype", pipeline::PathKind::prototype},
                                                                         {"direct", pipeline::PathKind::direct},
                                                                         {"gds", pipeline::PathKind::gds}};
};
template <>
struct reprefill::EnumNames<reprefill::pipeline::CacheUpdate> {
  static constexpr std::pair<const char*, pipeline::CacheUpdate> names[] = {{"after", pipeline::CacheUpdate::after},
                                                                            {"inline", pipeline::CacheUpdate::inline_}};
};
template <>
struct reprefill::EnumNames<reprefill::pipeline::CopyMemory> {
  static constexpr std::pair<const char*, pipeline::CopyMemory> names[] = {
      {"pinned", pipeline::CopyMemory::pinned}, {"pageable", pipeline::CopyMemory::pageable}};
};
template <>
struct reprefill::EnumNames<reprefill::pipeline::ReadTarget> {
  static constexpr std::pair<const char*, pipeline::ReadTarget> names[] = {{"host", pipeline::ReadTarget::host},
                                                                           {"gpu", pipeline::ReadTarget::gpu}};
};
