#pragma once

#include "core/pipeline/identification.hpp"
#include "core/pipeline/system_params.hpp"

namespace reprefill::pipeline {

enum class InterTarget : std::uint8_t { subperiod, period };
enum class LeaderKeys : std::uint8_t { reread, reuse };
enum class DigestScoring : std::uint8_t { host, device };
enum class PrefetchDrop : std::uint8_t { never, unsubmitted };

struct ContiguousKvParams : LoadParams, IdentifyParams {
  Budget budget{1, 20};
  std::uint32_t chunk_tokens = 16;
  KeyDigest scorer = KeyDigest::none;
  DigestScoring digest_scoring = DigestScoring::host;
  int period_layers = 8;
  int subperiod_layers = 4;
  bool intra_prefetch = true;
  bool inter_prefetch = true;
  bool identify_keys_prefetch = false;
  InterTarget inter_target = InterTarget::subperiod;
  int inter_trigger_layer = 4;
  LeaderKeys leader_keys = LeaderKeys::reread;
  PrefetchDrop prefetch_drop = PrefetchDrop::never;
  Bytes prefetch_gpu{200'000'000};
  Bytes prefetch_host{400'000'000};
  std::uint64_t score_table_entries = 4'000'000;
};

const ParamTable<ContiguousKvParams>& contiguous_kv_params();
ContiguousKvParams contiguous_kv_defaults(PathKind path);
/// What lies beside the payload for scoring.
layout::AuxiliarySlabs auxiliary_slabs(const ContiguousKvParams& params);
/// Fills what follows from other parameters and refuses what does not go together.
void finish_contiguous_kv_params(ContiguousKvParams& params, const JsonValue& object);

}  // namespace reprefill::pipeline

template <>
struct reprefill::EnumNames<reprefill::pipeline::InterTarget> {
  static constexpr std::pair<const char*, pipeline::InterTarget> names[] = {
      {"subperiod", pipeline::InterTarget::subperiod}, {"period", pipeline::InterTarget::period}};
};
template <>
struct reprefill::EnumNames<reprefill::pipeline::LeaderKeys> {
  static constexpr std::pair<const char*, pipeline::LeaderKeys> names[] = {{"reread", pipeline::LeaderKeys::reread},
                                                                           {"reuse", pipeline::LeaderKeys::reuse}};
};
template <>
struct reprefill::EnumNames<reprefill::pipeline::DigestScoring> {
  static constexpr std::pair<const char*, pipeline::DigestScoring> names[] = {
      {"host", pipeline::DigestScoring::host}, {"device", pipeline::DigestScoring::device}};
};
template <>
struct reprefill::EnumNames<reprefill::pipeline::PrefetchDrop> {
  static constexpr std::pair<const char*, pipeline::PrefetchDrop> names[] = {
      {"never", pipeline::PrefetchDrop::never}, {"unsubmitted", pipeline::PrefetchDrop::unsubmitted}};
};
