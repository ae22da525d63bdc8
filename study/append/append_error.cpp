#include "study/append/append_error.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/text_table.hpp"
#include "engine/session/prefix_builder.hpp"
#include "engine/store/store_writer.hpp"

namespace reprefill::study {
namespace {

using engine::LayerKv;
using engine::OwnRange;

constexpr std::uint32_t kPrefillBlockTokens = 2048;

/// K and V of one layer, [tokens][KV heads][head_dim] of the store's type.
struct Kv {
  std::vector<std::byte> keys, values;
};

/// What a full prefill of a prompt gives.
struct Exact {
  std::vector<Kv> layers;
  std::vector<float> logits;
};

float value_at(std::span<const std::byte> data, std::size_t i, KvType type) {
  if (type == KvType::fp32) {
    float value;
    std::memcpy(&value, data.data() + i * sizeof(float), sizeof(float));
    return value;
  }
  std::uint16_t half;
  std::memcpy(&half, data.data() + i * sizeof(half), sizeof(half));
  const std::uint32_t bits = std::uint32_t{half} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

/// Sums of squares of a difference and of what it is measured against.
struct SquareSums {
  double difference = 0;
  double exact = 0;

  void add(double found, double wanted) {
    difference += (found - wanted) * (found - wanted);
    exact += wanted * wanted;
  }
  SquareSums& operator+=(const SquareSums& other) {
    difference += other.difference;
    exact += other.exact;
    return *this;
  }
  double relative() const { return exact > 0 ? std::sqrt(difference / exact) : 0; }
};

SquareSums compare(std::span<const std::byte> found, std::span<const std::byte> exact, KvType type) {
  REPREFILL_CHECK(found.size() == exact.size(), "{} and {} bytes", found.size(), exact.size());
  SquareSums sums;
  for (std::size_t i = 0; i < found.size() / bytes_per_element(type); ++i) {
    sums.add(value_at(found, i, type), value_at(exact, i, type));
  }
  return sums;
}

double compare_logits(std::span<const float> found, std::span<const float> exact) {
  SquareSums sums;
  for (std::size_t i = 0; i < exact.size(); ++i) sums.add(found[i], exact[i]);
  return sums.relative();
}

/// The stores go below it; each is made by its writer.
const std::filesystem::path& new_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    throw ConfigError(fmt::format("{}: {}; expected a folder that can be made", folder.string(), error.message()));
  if (!std::filesystem::is_empty(folder)) {
    throw ConfigError(
        fmt::format("{}: found a folder with something in it; expected a new or empty one", folder.string()));
  }
  return folder;
}

class Measurement {
 public:
  Measurement(engine::Model& model, const AppendErrorOptions& options)
      : model_(model),
        options_(options),
        geometry_(model.checkpoint->geometry()),
        bytes_per_token_(options.manifest.model.geometry.tensor_bytes_per_token().value),
        computed_(new_folder(options.folder) / "as_computed", options.manifest),
        exact_(options.folder / "recompute_exact", options.manifest) {
    options_.session.keep_logits = true;
  }

  TurnError measure(const engine::Prompt& turn, std::span<const std::int32_t> ids) {
    TurnError error;
    error.name = turn.name;
    error.prompt_tokens = static_cast<std::uint32_t>(ids.size());
    const Exact exact = prefill(ids);
    const engine::Prompt prompt{.name = turn.name, .ids = {ids.begin(), ids.end()}};

    const engine::RequestOutcome with_exact = serve(exact_, prompt, nullptr);
    engine::build_prefix(*model_.executor, exact_, ids);

    std::vector<Kv> own;
    const engine::RequestOutcome as_computed = serve(computed_, prompt, &own);
    error.stored_tokens = as_computed.request.stored_tokens;
    error.approximate_tokens = approximate_tokens(as_computed.request.stored_prefix);
    append(ids, as_computed.request.stored_tokens, own, exact, error);

    error.logits_as_computed = compare_logits(as_computed.first_logits, exact.logits);
    error.logits_recompute_exact = compare_logits(with_exact.first_logits, exact.logits);
    const std::int32_t token = engine::argmax(exact.logits);
    error.same_token_as_computed = as_computed.generated.front() == token;
    error.same_token_recompute_exact = with_exact.generated.front() == token;
    return error;
  }

 private:
  Exact prefill(std::span<const std::int32_t> ids) const {
    const std::unique_ptr<engine::Sequence> sequence = model_.executor->begin(ids, 0);
    const auto count = static_cast<std::uint32_t>(ids.size());
    Exact exact;
    for (int layer = 0; layer < geometry_.num_layers; ++layer) {
      for (std::uint32_t first = 0; first < count; first += kPrefillBlockTokens) {
        model_.executor->project(*sequence, layer, {first, std::min(kPrefillBlockTokens, count - first)});
      }
      exact.layers.push_back(copy_kv(*sequence, layer, {0, count}));
      for (std::uint32_t first = 0; first < count; first += kPrefillBlockTokens) {
        model_.executor->attend(*sequence, layer, {first, std::min(kPrefillBlockTokens, count - first)}, KvView{});
      }
    }
    exact.logits.resize(static_cast<std::size_t>(geometry_.vocab));
    std::int32_t next_id = -1;
    model_.executor->next_token(*sequence, next_id);
    model_.executor->last_logits(*sequence, exact.logits);
    model_.executor->synchronize();
    return exact;
  }

  Kv copy_kv(const engine::Sequence& sequence, int layer, OwnRange range) const {
    Kv kv{.keys = std::vector<std::byte>(range.count * bytes_per_token_), .values = {}};
    kv.values.resize(kv.keys.size());
    model_.executor->copy_own_kv(sequence, layer, range, kv.keys, kv.values);
    model_.executor->synchronize();
    return kv;
  }

  /// A session of its own, so that what an earlier turn left in caches plays no part. `own` gets the KV of the own
  /// tokens.
  engine::RequestOutcome serve(const engine::StoreWriter& writer, const engine::Prompt& prompt, std::vector<Kv>* own) {
    engine::Session session(model_, &writer.store(), options_.session);
    engine::SessionCallbacks callbacks;
    if (own != nullptr) {
      callbacks.after_first_token = [&](engine::RealMachine& machine, const pipeline::Request& request,
                                        engine::RequestOutcome&) {
        machine.with_sequence(request.id, [&](engine::Sequence& sequence) {
          for (int layer = 0; layer < geometry_.num_layers; ++layer) {
            own->push_back(copy_kv(sequence, layer, {0, request.own_tokens}));
          }
        });
      };
    }
    return session.serve({&prompt, 1}, callbacks).front();
  }

  std::uint32_t approximate_tokens(std::span<const SegmentSpan> prefix) const {
    std::uint32_t tokens = 0;
    for (const SegmentSpan& span : prefix) {
      if (std::ranges::find(approximate_, span.segment) != approximate_.end()) tokens += span.num_tokens;
    }
    return tokens;
  }

  /// The whole blocks that are not stored yet, as the request computed them; compared with the exact ones on the way.
  void append(std::span<const std::int32_t> ids, std::uint32_t first_own_token, const std::vector<Kv>& own,
              const Exact& exact, TurnError& error) {
    std::uint32_t stored = 0;
    for (const SegmentSpan& span : computed_.store().match(ids)) stored += span.num_tokens;
    SquareSums all_keys, all_values;
    const auto segment = computed_.add_prefix(ids, [&](const engine::NewSegment& missing) -> engine::KvSource {
      error.appended_tokens = static_cast<std::uint32_t>(missing.token_ids.size());
      return [&, size = missing.token_ids.size() * bytes_per_token_](int layer_idx) {
        const auto layer = static_cast<std::size_t>(layer_idx);
        const std::size_t own_at = (stored - first_own_token) * bytes_per_token_;
        const std::size_t exact_at = stored * bytes_per_token_;
        const LayerKv kv{.keys = std::span(own[layer].keys).subspan(own_at, size),
                         .values = std::span(own[layer].values).subspan(own_at, size)};
        const KvType type = model_.executor->kv_type();
        const SquareSums keys = compare(kv.keys, std::span(exact.layers[layer].keys).subspan(exact_at, size), type);
        const SquareSums values =
            compare(kv.values, std::span(exact.layers[layer].values).subspan(exact_at, size), type);
        error.keys.worst = std::max(error.keys.worst, keys.relative());
        error.values.worst = std::max(error.values.worst, values.relative());
        all_keys += keys;
        all_values += values;
        return kv;
      };
    });
    error.keys.mean = all_keys.relative();
    error.values.mean = all_values.relative();
    if (segment && first_own_token > 0) approximate_.push_back(*segment);
  }

  engine::Model& model_;
  AppendErrorOptions options_;
  const ModelGeometry& geometry_;
  std::size_t bytes_per_token_;  // of K, or of V, in one layer
  engine::StoreWriter computed_;
  engine::StoreWriter exact_;
  std::vector<SegmentId> approximate_;
};

}  // namespace

std::vector<TurnError> measure_append_error(engine::Model& model, std::span<const engine::Prompt> turns,
                                            const AppendErrorOptions& options,
                                            const std::function<void(const TurnError&)>& on_turn) {
  Measurement measurement(model, options);
  std::vector<TurnError> errors;
  std::vector<std::int32_t> before;
  for (const engine::Prompt& turn : turns) {
    if (turn.continues) {
      throw ConfigError(fmt::format("turn {}: found continues; expected whole prompts, answers included", turn.name));
    }
    const std::vector<std::int32_t> ids = turn.ids.empty() ? model.tokenizer->encode(turn.text) : turn.ids;
    if (ids.size() <= before.size() || !std::equal(before.begin(), before.end(), ids.begin())) {
      throw ConfigError(
          fmt::format("turn {}: found a prompt of {} tokens that does not go on from the {} of the turn "
                      "before; expected turns of one conversation",
                      turn.name, ids.size(), before.size()));
    }
    errors.push_back(measurement.measure(turn, ids));
    if (on_turn) on_turn(errors.back());
    before = ids;
  }
  return errors;
}

Json to_json(std::span<const TurnError> turns) {
  Json json = Json::array();
  const auto relative = [](const RelativeError& error) {
    return Json{{"mean", error.mean}, {"worst_layer", error.worst}};
  };
  for (const TurnError& turn : turns) {
    json.push_back(
        {{"name", turn.name},
         {"prompt_tokens", turn.prompt_tokens},
         {"stored_tokens", turn.stored_tokens},
         {"approximate_tokens_reused", turn.approximate_tokens},
         {"appended_tokens", turn.appended_tokens},
         {"relative_error_of_keys", relative(turn.keys)},
         {"relative_error_of_values", relative(turn.values)},
         {"relative_error_of_logits",
          {{"as_computed", turn.logits_as_computed}, {"recompute_exact", turn.logits_recompute_exact}}},
         {"same_first_token",
          {{"as_computed", turn.same_token_as_computed}, {"recompute_exact", turn.same_token_recompute_exact}}}});
  }
  return json;
}

std::string to_text(std::span<const TurnError> turns) {
  TextTable table({"turn", "prompt", "stored", "approximate", "appended", "K error", "V error", "logits, as computed",
                   "logits, exact history", "same token"});
  for (const TurnError& turn : turns) {
    table.add_row({turn.name, std::to_string(turn.prompt_tokens), std::to_string(turn.stored_tokens),
                   std::to_string(turn.approximate_tokens), std::to_string(turn.appended_tokens),
                   fmt::format("{:.4f}", turn.keys.mean), fmt::format("{:.4f}", turn.values.mean),
                   fmt::format("{:.4f}", turn.logits_as_computed), fmt::format("{:.4f}", turn.logits_recompute_exact),
                   fmt::format("{} / {}", turn.same_token_as_computed ? "yes" : "no",
                               turn.same_token_recompute_exact ? "yes" : "no")});
  }
  return table.to_text();
}

}  // namespace reprefill::study
