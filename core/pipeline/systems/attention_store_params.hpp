#pragma once

#include "core/pipeline/system_params.hpp"

namespace reprefill::pipeline {

/// In which order a whole prefix comes to the GPU.
enum class LoadOrder : std::uint8_t {
  layer_wise,         // reads and copies of a layer at a time, ahead of compute
  load_then_compute,  // everything first
  host_first          // everything to host memory, then copies of a layer at a time, ahead of compute
};

/// How long a request waits for reads under host_first.
enum class PrefetchPolicy : std::uint8_t {
  wait_complete,  // for all of them
  best_effort,    // not at all: what is not there when it begins is computed
  timeout         // for a time that grows with its length
};

struct AttentionStoreParams : LoadParams {
  std::uint32_t lookahead_layers = 1;
  LoadOrder load = LoadOrder::layer_wise;
  PrefetchPolicy prefetch_policy = PrefetchPolicy::wait_complete;
  Nanoseconds timeout_base{1'000'000'000};
  Nanoseconds timeout_per_1024_tokens{250'000'000};
  std::uint32_t scheduler_lookahead = 0;
  std::uint32_t split_tokens = 0;
};

const ParamTable<AttentionStoreParams>& attention_store_params();

}  // namespace reprefill::pipeline

template <>
struct reprefill::EnumNames<reprefill::pipeline::LoadOrder> {
  static constexpr std::pair<const char*, pipeline::LoadOrder> names[] = {
      {"layer_wise", pipeline::LoadOrder::layer_wise},
      {"load_then_compute", pipeline::LoadOrder::load_then_compute},
      {"host_first", pipeline::LoadOrder::host_first}};
};
template <>
struct reprefill::EnumNames<reprefill::pipeline::PrefetchPolicy> {
  static constexpr std::pair<const char*, pipeline::PrefetchPolicy> names[] = {
      {"wait_complete", pipeline::PrefetchPolicy::wait_complete},
      {"best_effort", pipeline::PrefetchPolicy::best_effort},
      {"timeout", pipeline::PrefetchPolicy::timeout}};
};
