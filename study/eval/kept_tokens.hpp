// What of a prefix a request's attention kept: the mass under full KV, and the tokens that hold the answer.
#pragma once

#include <cstdint>
#include <vector>

#include "core/pipeline/machine.hpp"
#include "core/pipeline/mass_meter.hpp"
#include "core/pipeline/request.hpp"
#include "engine/tokenizer/tokenizer.hpp"
#include "study/eval/eval.hpp"

namespace reprefill::study {

/// Positions in the prompt of the tokens that overlap the item's answer spans, ascending.
std::vector<std::uint32_t> answer_tokens(const engine::Tokenizer& tokenizer, const TaskItem& item);

/// Follows the views of one request.
class KeptTokens {
 public:
  /// Without importance (a run under full KV) no mass is measured. `answer` is kept by reference.
  KeptTokens(const traces::ImportanceSource* importance, const std::vector<std::uint32_t>& answer)
      : importance_(importance), answer_(answer) {}

  void add(const pipeline::Request& request, int layer_idx, const pipeline::KvView& view);
  void write(ItemResult& result) const;

 private:
  const traces::ImportanceSource* importance_;
  const std::vector<std::uint32_t>& answer_;
  pipeline::LayerMass mass_;
  std::vector<double> recall_;
};

}  // namespace reprefill::study
