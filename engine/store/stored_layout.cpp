#include "engine/store/stored_layout.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace reprefill::engine {
namespace {

constexpr std::string_view kGrammar =
    "ORDER-PLACEMENT-BLOCK_TOKENS[+identPERIOD[DIGEST]][+probeHEADS][+reordered], such as layer-adjacent-16+ident8, "
    "layer-adjacent-16+ident8mean16 or layer-apart-64+probe0-2 (order layer, periodN or chunk; placement adjacent or "
    "apart; digest meanTOKENS, minmaxTOKENS or int4)";

/// Runs of heads as "0-2", single ones apart by dots.
std::string heads_text(const std::vector<int>& heads) {
  std::string text;
  for (std::size_t first = 0; first < heads.size();) {
    std::size_t last = first;
    while (last + 1 < heads.size() && heads[last + 1] == heads[last] + 1) ++last;
    if (!text.empty()) text += '.';
    text += last == first ? fmt::format("{}", heads[first]) : fmt::format("{}-{}", heads[first], heads[last]);
    first = last + 1;
  }
  return text;
}

/// Reads a layout's name from left to right.
class NameReader {
 public:
  explicit NameReader(std::string_view rest) : rest_(rest) {}

  bool take(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  std::optional<int> number(int minimum, int maximum) {
    int value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc{} || value < minimum || value > maximum) return std::nullopt;
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return value;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

constexpr int kMaxHead = 4095;
constexpr int kMaxLayers = 511;
constexpr int kMaxDigestTokens = 4096;

bool read_heads(NameReader& reader, std::vector<int>& heads) {
  do {
    const std::optional<int> first = reader.number(heads.empty() ? 0 : heads.back() + 1, kMaxHead);
    if (!first) return false;
    const std::optional<int> last = reader.take("-") ? reader.number(*first, kMaxHead) : first;
    if (!last) return false;
    for (int head = *first; head <= *last; ++head) heads.push_back(head);
  } while (reader.take("."));
  return true;
}

bool read_order(NameReader& reader, layout::KvLayout& kv) {
  if (reader.take("layer-")) {
    kv.order = layout::KvOrder::layer_major;
  } else if (reader.take("chunk-")) {
    kv.order = layout::KvOrder::chunk_major;
  } else if (reader.take("period")) {
    kv.order = layout::KvOrder::period_major;
    const std::optional<int> layers = reader.number(1, kMaxLayers);
    kv.period_layers = layers.value_or(1);
    return layers && reader.take("-");
  } else {
    return false;
  }
  return true;
}

/// What stands for identification keys, if anything does: "mean16", "minmax16", "int4".
bool read_digest(NameReader& reader, StoredLayout& layout) {
  if (reader.take("int4")) {
    layout.digest = KeyDigest::int4;
  } else if (reader.take("mean")) {
    layout.digest = KeyDigest::mean;
  } else if (reader.take("minmax")) {
    layout.digest = KeyDigest::minmax;
  }
  if (!is_per_chunk(layout.digest)) return true;
  const std::optional<int> tokens = reader.number(1, kMaxDigestTokens);
  layout.digest_tokens = static_cast<std::uint32_t>(tokens.value_or(1));
  return tokens.has_value();
}

std::string digest_text(const StoredLayout& layout) {
  switch (layout.digest) {
    case KeyDigest::none:
      return "";
    case KeyDigest::mean:
      return fmt::format("mean{}", layout.digest_tokens);
    case KeyDigest::minmax:
      return fmt::format("minmax{}", layout.digest_tokens);
    case KeyDigest::int4:
      return "int4";
  }
  return "";
}

std::optional<StoredLayout> read_name(std::string_view name) {
  NameReader reader(name);
  StoredLayout layout;
  if (!read_order(reader, layout.kv)) return std::nullopt;
  if (reader.take("adjacent-")) {
    layout.kv.kv = layout::KvPlacement::adjacent;
  } else if (reader.take("apart-")) {
    layout.kv.kv = layout::KvPlacement::apart;
  } else {
    return std::nullopt;
  }
  const std::optional<int> block_tokens = reader.number(1, 65536);
  if (!block_tokens) return std::nullopt;
  layout.kv.block_tokens = static_cast<std::uint32_t>(*block_tokens);
  if (reader.take("+ident")) {
    const std::optional<int> period = reader.number(1, kMaxLayers);
    if (!period) return std::nullopt;
    layout.identification_period = *period;
    if (!read_digest(reader, layout)) return std::nullopt;
  }
  if (reader.take("+probe") && !read_heads(reader, layout.probe_heads)) return std::nullopt;
  layout.permutation = reader.take("+reordered");
  // One layout, one name: "+probe0.1" and "016" would be second ones.
  if (!reader.at_end() || layout_name(layout) != name) return std::nullopt;
  return layout;
}

}  // namespace

StoredLayout make_stored_layout(const layout::KvLayout& kv, const layout::AuxiliarySlabs& auxiliary) {
  StoredLayout layout{.kv = kv,
                      .identification_period = auxiliary.identification_period,
                      .probe_heads = auxiliary.probe_heads,
                      .permutation = auxiliary.permutation};
  if (auxiliary.identification_period > 0) {
    layout.digest = auxiliary.digest;
    layout.digest_tokens = auxiliary.digest_tokens;
  }
  if (kv.order != layout::KvOrder::period_major) layout.kv.period_layers = layout::KvLayout{}.period_layers;
  std::sort(layout.probe_heads.begin(), layout.probe_heads.end());
  layout.probe_heads.erase(std::unique(layout.probe_heads.begin(), layout.probe_heads.end()), layout.probe_heads.end());
  return layout;
}

StoredLayout make_stored_layout(const layout::StoreLayout& layout) {
  return make_stored_layout(layout.kv_layout(), layout.auxiliary());
}

std::string layout_name(const StoredLayout& layout) {
  std::string order = "layer";
  if (layout.kv.order == layout::KvOrder::chunk_major) order = "chunk";
  if (layout.kv.order == layout::KvOrder::period_major) order = fmt::format("period{}", layout.kv.period_layers);
  std::string name = fmt::format(
      "{}-{}-{}", order, layout.kv.kv == layout::KvPlacement::adjacent ? "adjacent" : "apart", layout.kv.block_tokens);
  if (layout.identification_period > 0)
    name += fmt::format("+ident{}{}", layout.identification_period, digest_text(layout));
  if (!layout.probe_heads.empty()) name += "+probe" + heads_text(layout.probe_heads);
  if (layout.permutation) name += "+reordered";
  return name;
}

StoredLayout parse_layout_name(std::string_view name, std::string_view place) {
  if (std::optional<StoredLayout> layout = read_name(name)) return *layout;
  throw ConfigError(fmt::format("{}: found \"{}\"; expected {}", place, name, kGrammar));
}

bool covers(const StoredLayout& stored, const StoredLayout& needed) {
  if (stored.kv != needed.kv || stored.permutation != needed.permutation) return false;
  const bool same_identification = stored.identification_period == needed.identification_period &&
                                   stored.digest == needed.digest && stored.digest_tokens == needed.digest_tokens;
  if (needed.identification_period > 0 && !same_identification) return false;
  // Probe keys lie behind the identification keys, whose presence moves them.
  return needed.probe_heads.empty() || (stored.probe_heads == needed.probe_heads && same_identification);
}

std::vector<StoredLayout> union_of_layouts(std::vector<StoredLayout> needed) {
  std::sort(needed.begin(), needed.end(),
            [](const StoredLayout& a, const StoredLayout& b) { return layout_name(a) < layout_name(b); });
  needed.erase(std::unique(needed.begin(), needed.end()), needed.end());
  std::vector<StoredLayout> kept;
  for (const StoredLayout& layout : needed) {
    const bool served = std::any_of(needed.begin(), needed.end(), [&](const StoredLayout& other) {
      return other != layout && covers(other, layout);
    });
    if (!served) kept.push_back(layout);
  }
  return kept;
}

}  // namespace reprefill::engine
