// The compute of one layer over a request's own tokens, in blocks, and the append of what it produced.
#pragma once

#include "core/pipeline/append.hpp"
#include "core/pipeline/loader.hpp"

namespace reprefill::pipeline {

/// One per request: knows its own tokens, its block size, and the operation that the next layer depends on.
class LayerRunner {
 public:
  LayerRunner(Machine& machine, Request& request, const SystemEnvironment& environment,
              std::uint32_t prefill_block_tokens, Loader* loader);

  /// Framework time, tokenising and look-up; everything else depends on it.
  void begin();
  /// The next layer's compute waits for these, too.
  void start_after(const Deps& deps) { start_ = deps; }
  /// A layer of the request's front tokens, which see nothing but themselves and wait for nothing but their own layer
  /// before: they may run ahead. The result is done when their K and V are.
  Deps compute_front(int layer_idx);
  /// QKV of all own tokens behind the front. Depends on the previous layer.
  Deps project(int layer_idx);
  /// Attention and MLP of all own tokens behind the front; afterwards `previous_layer()` is this one.
  void attend(int layer_idx, const KvView& view, const Deps& loaded_and_projected);
  Op first_token();

  /// Done when the layer before the next is: what a serial pipeline's next read waits for.
  const Op& previous_layer() const { return previous_; }
  Machine& machine() { return machine_; }
  Request& request() { return request_; }
  OpContext context(int layer_idx) const { return {.request = request_.id, .layer_idx = layer_idx}; }

 private:
  OnWrite on_write();
  Deps project_range(int layer_idx, TokenRange range, const Deps& before);
  Op attend_range(int layer_idx, TokenRange range, const KvView& view, const Deps& ready);
  TokenRange behind_front() const {
    return {.first = request_.front_tokens, .count = request_.own_tokens - request_.front_tokens};
  }

  Machine& machine_;
  Request& request_;
  const SystemEnvironment& environment_;
  std::uint32_t block_tokens_;
  Loader* loader_;
  Op previous_;
  Op previous_of_front_;
  Deps start_;
};

/// The view of a layer that keeps the whole stored prefix.
KvView everything(const Request& request);

}  // namespace reprefill::pipeline
