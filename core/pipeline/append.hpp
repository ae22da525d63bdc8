// What a request stores of the KV that it computed (semantics 1, "Append"), and the operations that store it.
#pragma once

#include <functional>

#include "core/base/params.hpp"
#include "core/layout/store_layout.hpp"
#include "core/pipeline/machine.hpp"
#include "core/pipeline/request.hpp"

namespace reprefill::pipeline {

/// Which new full blocks are stored.
enum class Append : std::uint8_t { none, suffix, suffix_and_output };
/// What is stored where the own tokens saw a part of their prefix only: that, or KV of a full prefill.
enum class AppendKv : std::uint8_t { as_computed, recompute_exact };

struct NewKvOrigin {
  bool recomputed = false;
  bool approximate = false;
};
/// Of what a request stores, from its stored prefix and what its account says of that.
NewKvOrigin origin_of_new_kv(const Request& request, bool system_prunes, AppendKv append_kv);

/// Told of each write as it is issued.
using OnWrite = std::function<void(int layer_idx, const Op& write)>;

/// One layer of the request's new segment to the SSD, once its own KV is projected. Counted in the account.
void append_layer(Machine& machine, Request& request, const layout::StoreLayout& layout, int layer_idx,
                  const Deps& projected, const OnWrite& on_write);

struct RecomputeShape {
  int num_layers = 0;
  std::uint32_t block_tokens = 0;  // of the prefill
};
/// A prefill of everything up to the new segment's end, after `after`: it needs no stored KV, and what it stores is
/// exact.
void append_recomputed(Machine& machine, Request& request, const layout::StoreLayout& layout, RecomputeShape shape,
                       const Op& after, const OnWrite& on_write);

}  // namespace reprefill::pipeline

template <>
struct reprefill::EnumNames<reprefill::pipeline::Append> {
  static constexpr std::pair<const char*, pipeline::Append> names[] = {
      {"none", pipeline::Append::none},
      {"suffix", pipeline::Append::suffix},
      {"suffix_and_output", pipeline::Append::suffix_and_output}};
};
template <>
struct reprefill::EnumNames<reprefill::pipeline::AppendKv> {
  static constexpr std::pair<const char*, pipeline::AppendKv> names[] = {
      {"as_computed", pipeline::AppendKv::as_computed}, {"recompute_exact", pipeline::AppendKv::recompute_exact}};
};
