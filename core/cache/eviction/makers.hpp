// The makers of all policies; each is defined in the policy's own file and named in registry.cpp.
#pragma once

#include <memory>

#include "core/base/params.hpp"
#include "core/cache/eviction_policy.hpp"

namespace reprefill::cache {

/// For policies that remember absent pieces too.
struct ScoreTableParams {
  std::uint64_t score_table_entries = 4'194'304;
};
struct NoParams {};

/// How the importance of a piece's accesses is averaged.
enum class ShareAverage : std::uint8_t { running_mean, exponential };

struct ImportanceFrequencyParams {
  ShareAverage share_average = ShareAverage::running_mean;
  double share_weight = 0.5;
  std::uint64_t score_table_entries = 4'194'304;
};

struct S3FifoParams {
  double small_share = 0.1;
  std::uint64_t score_table_entries = 4'194'304;
};

std::unique_ptr<EvictionPolicy> make_lru(const NoParams&);
std::unique_ptr<EvictionPolicy> make_lfu(const ScoreTableParams&);
std::unique_ptr<EvictionPolicy> make_s3_fifo(const S3FifoParams&);
std::unique_ptr<EvictionPolicy> make_arc(const ScoreTableParams&);
std::unique_ptr<EvictionPolicy> make_importance_frequency(const ImportanceFrequencyParams&);
std::unique_ptr<EvictionPolicy> make_attention_guided(const ScoreTableParams&);

}  // namespace reprefill::cache

template <>
struct reprefill::EnumNames<reprefill::cache::ShareAverage> {
  static constexpr std::pair<const char*, reprefill::cache::ShareAverage> names[] = {
      {"running_mean", reprefill::cache::ShareAverage::running_mean},
      {"exponential", reprefill::cache::ShareAverage::exponential}};
};
