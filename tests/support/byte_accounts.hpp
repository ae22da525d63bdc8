// What a request reads by the formulas of reference 7, written down once more from plain numbers: no code of core/ is
// used, so that a test of a system is not a test against itself. Logical bytes, no cache hits.
#pragma once

#include <cmath>
#include <cstdint>

namespace reprefill::test_support {

/// n, L and k of reference 7, in doubles because f and g are shares.
struct ByteAccounts {
  double prefix_tokens;      // n
  double num_layers;         // L
  double k_bytes;            // K of one token in one layer
  double period_layers = 8;  // P = ceil(L / period_layers)
  double chunk_tokens = 16;

  double attention_store() const { return 2 * k_bytes * prefix_tokens * num_layers; }

  /// `touched`: f, the share of blocks that hold chosen tokens.
  double as_h2o(double touched) const { return k_bytes * prefix_tokens * num_layers * (1 + touched); }

  /// `probed`: g, the share of KV heads that are probed. In `fallback_layers` layers f is 1.
  double impress(double probed, double touched, double fallback_layers = 0) const {
    const double touched_layers = touched * (num_layers - fallback_layers) + fallback_layers;
    return probed * k_bytes * prefix_tokens * num_layers + 2 * k_bytes * prefix_tokens * touched_layers;
  }

  double num_periods() const { return std::ceil(num_layers / period_layers); }
  double contiguous_kv_keys() const { return k_bytes * prefix_tokens * num_periods(); }
  /// The budget as a fraction in whole numbers: ceil(numerator / denominator x m) of m chunks in exact arithmetic.
  double contiguous_kv_payload(std::uint64_t numerator, std::uint64_t denominator) const {
    return 2 * k_bytes * chunk_tokens * static_cast<double>(chosen_chunks(numerator, denominator)) * num_layers;
  }
  /// With the leader's keys taken from scoring rather than read again, one K less a period.
  double contiguous_kv_payload_reusing_keys(std::uint64_t numerator, std::uint64_t denominator) const {
    return contiguous_kv_payload(numerator, denominator) -
           k_bytes * chunk_tokens * static_cast<double>(chosen_chunks(numerator, denominator)) * num_periods();
  }
  double contiguous_kv(std::uint64_t numerator, std::uint64_t denominator) const {
    return contiguous_kv_keys() + contiguous_kv_payload(numerator, denominator);
  }

  std::uint64_t chosen_chunks(std::uint64_t numerator, std::uint64_t denominator) const {
    const auto chunks = static_cast<std::uint64_t>(std::ceil(prefix_tokens / chunk_tokens));
    return (numerator * chunks + denominator - 1) / denominator;
  }

  /// Expected f for tokens that are chosen at random.
  static double scattered(double budget, double block_tokens = 64) { return 1 - std::pow(1 - budget, block_tokens); }
};

}  // namespace reprefill::test_support
