#include "engine/real_machine/layer_view.hpp"

#include <algorithm>

#include "core/pipeline/attention_walk.hpp"

namespace reprefill::engine {

using namespace pipeline;

reprefill::KvView LayerView::resolve() {
  resolved_.clear();
  for (const Page& page : pages_) {
    const auto address = [](const Located& where, const std::byte* resident) {
      return where ? static_cast<const std::byte*>(where.data()) : resident;
    };
    resolved_.push_back({.keys = address(page.keys, page.resident_keys),
                         .values = address(page.values, page.resident_values),
                         .num_tokens = page.num_tokens});
  }
  return {.pages = resolved_, .num_tokens = num_tokens_, .keep_k = keep_k_, .keep_v = keep_v_};
}

KeyView LayerView::resolve_keys(int num_heads) {
  resolve();
  resolved_keys_.clear();
  for (const KvPage& page : resolved_) resolved_keys_.push_back({.keys = page.keys, .num_tokens = page.num_tokens});
  return {.pages = resolved_keys_, .num_tokens = num_tokens_, .num_heads = num_heads};
}

namespace {

/// [num_heads][num_tokens]: 1 where the head chose the token.
std::vector<std::uint8_t> mask_of(const Selection& selection, std::uint32_t num_heads, std::uint32_t num_tokens) {
  std::vector<std::uint8_t> mask(std::size_t{num_heads} * num_tokens, 0);
  for (std::uint32_t head = 0; head < num_heads; ++head) {
    const auto& tokens = selection.groups.size() == 1 ? selection.shared() : selection.groups[head];
    for (const std::uint32_t token : tokens) mask[std::size_t{head} * num_tokens + token] = 1;
  }
  return mask;
}

/// A mask of the prefix's tokens as one of the pages' tokens.
std::vector<std::uint8_t> in_order(std::vector<std::uint8_t> mask, std::uint32_t num_heads,
                                   std::span<const std::uint32_t> token_order) {
  if (token_order.empty()) return mask;
  std::vector<std::uint8_t> result;
  const std::size_t num_tokens = mask.size() / num_heads;
  for (std::uint32_t head = 0; head < num_heads; ++head) {
    for (const std::uint32_t token : token_order) result.push_back(mask[head * num_tokens + token]);
  }
  return result;
}

}  // namespace

std::uint32_t LayerViewBuilder::block_tokens() const { return options_.layout->kv_layout().block_tokens; }

/// Without a selection, or under a mask, the whole prefix; else the kept units, neighbours joined.
std::vector<LayerViewBuilder::Run> LayerViewBuilder::kept_runs(const Request& request, const pipeline::KvView& view) {
  if (!view.kept || attention_walk(view).mask != AttentionMask::none) return {{0, request.stored_tokens}};
  std::vector<Run> runs;
  for (const std::uint32_t unit : view.kept->shared()) {
    const std::uint32_t first = unit * view.unit_tokens;
    if (!runs.empty() && runs.back().first + runs.back().count == first) {
      runs.back().count += view.unit_tokens;
    } else {
      runs.push_back({first, view.unit_tokens});
    }
  }
  return runs;
}

LayerView LayerViewBuilder::attention(OpContext context, const Request& request, const pipeline::KvView& view,
                                      const Op& op) {
  LayerView result;
  if (request.stored_tokens == 0) return result;
  Target target{.view = result, .context = context, .op = op};
  const AttentionWalk walk = attention_walk(view);
  // Blocks that were not read stand for zeros under the mask: with `full_length` the compute is spent all the same.
  target.missing_is_zero = walk.mask != AttentionMask::none;
  const std::vector<Run> runs = kept_runs(request, view);
  std::vector<std::uint32_t> token_order;  // of the pages; empty: the prefix's own
  if (is_reordered(request, context.layer_idx)) {
    token_order = add_in_payload_order(target, request, runs);
  } else {
    for (const Run& run : runs) add_run(target, request, run);
  }
  const auto num_heads = static_cast<std::uint32_t>(options_.geometry->num_kv_heads);
  REPREFILL_CHECK(result.num_tokens_ == walk.num_tokens, "pages of {} tokens for a walk through {}", result.num_tokens_,
                  walk.num_tokens);
  REPREFILL_CHECK(token_order.empty() || walk.mask != AttentionMask::values,
                  "choices of single heads out of a reordered store");
  if (walk.mask == AttentionMask::values) {
    result.keep_v_ = mask_of(*view.kept, num_heads, request.stored_tokens);
  } else if (walk.mask == AttentionMask::keys) {
    result.keep_k_ = in_order(mask_of(*view.kept, num_heads, request.stored_tokens), num_heads, token_order);
  }
  return result;
}

bool LayerViewBuilder::is_reordered(const Request& request, int layer_idx) const {
  const auto has_places = [&](const SegmentSpan& span) {
    return !options_.token_places(span.segment, layer_idx).empty();
  };
  return options_.token_places && std::any_of(request.stored_prefix.begin(), request.stored_prefix.end(), has_places);
}

/// Pages of the runs' tokens, in each segment by their places: attention does not care in which order tokens come,
/// since their positions are in their keys. Neighbouring places are one page. Returns the tokens in the order of the
/// pages.
std::vector<std::uint32_t> LayerViewBuilder::add_in_payload_order(Target& target, const Request& request,
                                                                  std::span<const Run> runs) {
  std::vector<std::uint32_t> token_order;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> kept;  // place, token of the segment
  std::uint32_t span_start = 0;
  for (const SegmentSpan& span : request.stored_prefix) {
    const std::span<const std::uint32_t> places = options_.token_places(span.segment, target.context.layer_idx);
    kept.clear();
    for (const Run& run : runs) {
      const std::uint32_t first = std::max(run.first, span_start);
      const std::uint32_t end = std::min(run.first + run.count, span_start + span.num_tokens);
      for (std::uint32_t token = first; token < end; ++token) {
        const std::uint32_t in_segment = token - span_start;
        kept.emplace_back(places.empty() ? in_segment : places[in_segment], in_segment);
      }
    }
    std::sort(kept.begin(), kept.end());
    for (std::size_t i = 0; i < kept.size();) {
      const std::uint32_t first = kept[i].first;
      std::uint32_t count = 0;
      for (; i < kept.size() && kept[i].first == first + count &&
             kept[i].first / block_tokens() == first / block_tokens();
           ++i, ++count) {
        token_order.push_back(span_start + kept[i].second);
      }
      add_page(target, span.segment, first, count);
    }
    span_start += span.num_tokens;
  }
  return token_order;
}

LayerView LayerViewBuilder::scoring_keys(OpContext context, const Request& request, ScorerKind kind, const Op& op) {
  LayerView result;
  if (kind == ScorerKind::probe) {
    add_slabs(result, context, request, PieceKind::probe_keys);
  } else if (options_.layout != nullptr && options_.layout->has_identification_keys(context.layer_idx)) {
    add_slabs(result, context, request, PieceKind::identification_keys);
  } else {
    Target target{.view = result, .context = context, .op = op, .values = false};
    add_run(target, request, {0, request.stored_tokens});
  }
  return result;
}

void LayerViewBuilder::add_slabs(LayerView& view, OpContext context, const Request& request, PieceKind kind) {
  for (const SegmentSpan& span : request.stored_prefix) {
    const PieceKey slab = PieceKey::make(span.segment, context.layer_idx, kind, span.num_tokens);
    LayerView::Page page;
    page.num_tokens = span.num_tokens;
    page.keys = options_.placement->find_slab(context, slab);
    REPREFILL_CHECK(page.keys, "keys for scoring of segment {}, layer {} are not in device memory", span.segment.value,
                    context.layer_idx);
    view.deps.add(page.keys.fill);
    view.pages_.push_back(std::move(page));
    view.num_tokens_ += span.num_tokens;
  }
}

/// Cuts a run of prefix tokens at segment and block borders.
void LayerViewBuilder::add_run(Target& target, const Request& request, Run run) {
  std::uint32_t span_start = 0;
  for (const SegmentSpan& span : request.stored_prefix) {
    const std::uint32_t first = std::max(run.first, span_start);
    const std::uint32_t end = std::min(run.first + run.count, span_start + span.num_tokens);
    const std::uint32_t step = options_.layout == nullptr ? span.num_tokens : block_tokens();
    for (std::uint32_t token = first; token < end;) {
      const std::uint32_t in_segment = token - span_start;
      const std::uint32_t block_end = span_start + (in_segment / step + 1) * step;
      const std::uint32_t page_end = std::min(end, block_end);
      add_page(target, span.segment, in_segment, page_end - token);
      token = page_end;
    }
    span_start += span.num_tokens;
  }
}

void LayerViewBuilder::add_page(Target& target, SegmentId segment, std::uint32_t first_place, std::uint32_t count) {
  LayerView::Page page;
  page.num_tokens = count;
  const int layer = target.context.layer_idx;
  if (options_.layout == nullptr) {
    const ResidentLayer kv = options_.resident(segment, layer);
    page.resident_keys = kv.keys + first_place * token_bytes().value;
    page.resident_values = kv.values + first_place * token_bytes().value;
  } else {
    const std::uint32_t block = first_place / block_tokens();
    const std::uint64_t offset = (first_place % block_tokens()) * token_bytes().value;
    page.keys = locate(target, PieceKey::make(segment, layer, PieceKind::key, block));
    page.keys.offset += offset;
    if (target.values) {
      page.values = locate(target, PieceKey::make(segment, layer, PieceKind::value, block));
      page.values.offset += offset;
    }
  }
  target.view.num_tokens_ += count;
  target.view.pages_.push_back(std::move(page));
}

Located LayerViewBuilder::locate(Target& target, PieceKey part) {
  Located found = options_.placement->find_block(target.context, part, target.op, target.view.adopted);
  if (!found && target.missing_is_zero) return {.block = zero_block(options_.placement->part_bytes(part))};
  REPREFILL_CHECK(found, "block {} of segment {}, layer {} is kept and is not in device memory", part.index(),
                  part.segment().value, part.layer_idx());
  if (found.fill == target.op) {
    found.fill = nullptr;  // an operation that held itself would never be let go
  } else {
    target.view.deps.add(found.fill);
  }
  return found;
}

const BlockRef& LayerViewBuilder::zero_block(Bytes size) {
  if (!zeros_ || zeros_->size() < size) {
    zeros_ = std::make_shared<Block>(*options_.device, size);
    zeros_->take();
    options_.zero(zeros_->data(), size);
  }
  return zeros_;
}

}  // namespace reprefill::engine
