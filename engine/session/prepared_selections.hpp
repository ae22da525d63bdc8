// Replayed scores, drawn before a request arrives: looking them up must not count as the request's time.
#pragma once

#include <map>
#include <tuple>
#include <vector>

#include "core/pipeline/request.hpp"
#include "traces/importance/importance_source.hpp"

namespace reprefill::engine {

/// Learns from the first request which scores a system asks for; those of later requests are drawn by `prepare`. What
/// was not prepared is drawn when it is asked for. One thread.
class PreparedSelections final : public traces::ImportanceSource {
 public:
  explicit PreparedSelections(const traces::ImportanceSource& source) : source_(source) {}

  void prepare(const pipeline::Request& request);

  int num_groups(traces::HeadGrouping grouping) const override { return source_.num_groups(grouping); }
  bool has_channel(traces::HeadGrouping grouping) const override { return source_.has_channel(grouping); }
  int granularity_tokens(traces::HeadGrouping grouping) const override { return source_.granularity_tokens(grouping); }
  void unit_scores(const traces::ImportanceQuery& query, int unit_tokens, std::span<float> out) const override;

 private:
  using Wanted = std::tuple<int, traces::HeadGrouping, KeyDigest, int>;  // layer, grouping, digest, tokens of a unit

  const traces::ImportanceSource& source_;
  mutable std::map<Wanted, std::vector<float>> wanted_;  // scores of the prepared request
  std::uint64_t prepared_request_ = ~std::uint64_t{0};
};

}  // namespace reprefill::engine
