#include "core/pipeline/layer_runner.hpp"

#include <algorithm>

namespace reprefill::pipeline {

LayerRunner::LayerRunner(Machine& machine, Request& request, const SystemEnvironment& environment,
                         std::uint32_t prefill_block_tokens, Loader* loader)
    : machine_(machine),
      request_(request),
      environment_(environment),
      block_tokens_(prefill_block_tokens),
      loader_(loader) {}

void LayerRunner::begin() {
  const OpContext context = this->context(-1);
  const Op framework = machine_.host(context, {.kind = HostTaskKind::framework}, {});
  const Op tokenised =
      machine_.host(context, {.kind = HostTaskKind::tokenise, .count = request_.prompt_tokens}, framework);
  const std::uint64_t num_blocks = request_.prompt_tokens / environment_.store_block_tokens;
  previous_ = machine_.host(context, {.kind = HostTaskKind::look_up, .count = num_blocks}, tokenised);
  previous_of_front_ = previous_;
}

Deps LayerRunner::project_range(int layer_idx, TokenRange range, const Deps& before) {
  Deps projected;
  for (std::uint32_t done = 0; done < range.count; done += block_tokens_) {
    const std::uint32_t count = std::min(block_tokens_, range.count - done);
    projected.add(machine_.project(context(layer_idx), {.first = range.first + done, .count = count}, before));
  }
  return projected;
}

Op LayerRunner::attend_range(int layer_idx, TokenRange range, const KvView& view, const Deps& ready) {
  Op last;
  for (std::uint32_t done = 0; done < range.count; done += block_tokens_) {
    const std::uint32_t count = std::min(block_tokens_, range.count - done);
    Deps deps = ready;
    deps.add(last);
    last = machine_.attend(context(layer_idx), request_, {.first = range.first + done, .count = count}, view, deps);
  }
  return last;
}

Deps LayerRunner::compute_front(int layer_idx) {
  static const auto kNothing = std::make_shared<const Selection>(Selection{.groups = {{}}});
  const TokenRange front{.first = 0, .count = request_.front_tokens};
  const Deps projected = project_range(layer_idx, front, previous_of_front_);
  const KvView nothing{.prefix_tokens = request_.stored_tokens, .kept = kNothing};
  // Of the last layer nobody wants more than K and V.
  const bool goes_on = layer_idx + 1 < environment_.geometry.num_layers;
  if (front.count > 0 && goes_on) previous_of_front_ = attend_range(layer_idx, front, nothing, projected);
  return projected;
}

Deps LayerRunner::project(int layer_idx) {
  Deps before = previous_;
  before.add(start_);
  start_ = {};
  const Deps projected = project_range(layer_idx, behind_front(), before);
  if (request_.append && request_.append->recompute_tokens == 0) {
    append_layer(machine_, request_, loader_->layout(), layer_idx, projected, on_write());
  }
  return projected;
}

OnWrite LayerRunner::on_write() {
  return [this](int layer_idx, const Op& write) { loader_->note_write(request_.append->segment, layer_idx, write); };
}

void LayerRunner::attend(int layer_idx, const KvView& view, const Deps& loaded_and_projected) {
  previous_ = attend_range(layer_idx, behind_front(), view, loaded_and_projected);
}

Op LayerRunner::first_token() {
  const HostTask update{.kind = HostTaskKind::cache_update, .count = request_.account.pieces_needed};
  const bool updates = update.count > 0;
  if (updates && environment_.path.cache_update == CacheUpdate::inline_) {
    previous_ = machine_.host(context(-1), update, previous_);
  }
  const Op token = machine_.first_token(context(-1), previous_);
  if (updates && environment_.path.cache_update == CacheUpdate::after) machine_.host(context(-1), update, token);
  if (request_.append && request_.append->recompute_tokens > 0) {
    const RecomputeShape shape{.num_layers = environment_.geometry.num_layers, .block_tokens = block_tokens_};
    append_recomputed(machine_, request_, loader_->layout(), shape, token, on_write());
  }
  return token;
}

KvView everything(const Request& request) {
  return {.prefix_tokens = request.stored_tokens,
          .kept_k_tokens = request.stored_tokens,
          .kept_v_tokens = request.stored_tokens};
}

}  // namespace reprefill::pipeline
