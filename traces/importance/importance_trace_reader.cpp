#include <algorithm>
#include <cmath>
#include <set>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "traces/importance/byte_io.hpp"
#include "traces/importance/importance_trace.hpp"
#include "traces/importance/score_coding.hpp"

namespace reprefill::traces {

RecordedUnder recorded_under(const std::string& system, const Json& params) {
  const auto text = [&](const char* key, const char* otherwise) -> std::string {
    if (!params.contains(key)) return otherwise;
    return params.at(key).is_string() ? params.at(key).get<std::string>() : params.at(key).dump();
  };
  return {.system = system, .budget = text("budget", "1"), .chunk_tokens = params.value("chunk_tokens", 1)};
}

}  // namespace reprefill::traces

namespace reprefill::traces::detail {
namespace {

constexpr int kMaxHeads = 4096;
constexpr int kMaxLayers = 1 << 16;
constexpr int kMaxGranularityTokens = 1 << 20;

const char* encoding_name(ScoreEncoding encoding) { return encoding == ScoreEncoding::fp16 ? "fp16" : "log8"; }

ImportanceChannel parse_channel(const JsonValue& json) {
  json.require_object().refuse_unknown_keys({"name", "num_heads", "granularity_tokens", "encoding"});
  ImportanceChannel channel;
  channel.name = json.key("name").as_string();
  if (channel.name.empty()) json.key("name").fail("a channel needs a name");
  channel.num_heads = static_cast<int>(json.key("num_heads").as_integer(1, kMaxHeads, "heads"));
  channel.granularity_tokens =
      static_cast<int>(json.key("granularity_tokens").as_integer(1, kMaxGranularityTokens, "tokens"));
  const std::string encoding = json.key("encoding").as_string();
  if (encoding != "fp16" && encoding != "log8") json.key("encoding").fail_expected("fp16 or log8");
  channel.encoding = encoding == "fp16" ? ScoreEncoding::fp16 : ScoreEncoding::log8;
  return channel;
}

std::size_t checked_channel(ByteReader& reader, const ImportanceTraceHeader& header) {
  const auto channel_idx = reader.value<std::uint32_t>();
  if (channel_idx >= header.channels.size()) {
    reader.fail(fmt::format("channel {}; the header has {}", channel_idx, header.channels.size()));
  }
  return channel_idx;
}

int checked_layer(ByteReader& reader) {
  const auto layer_idx = reader.value<std::uint32_t>();
  if (layer_idx >= kMaxLayers) reader.fail(fmt::format("layer {}; at most {}", layer_idx, kMaxLayers - 1));
  return static_cast<int>(layer_idx);
}

void check_codes(const ByteReader& reader, const ScoresView& view, const ImportanceChannel& channel) {
  for (std::size_t head = 0; head < static_cast<std::size_t>(channel.num_heads); ++head) {
    const auto a = load<float>(view.scales, 2 * head), b = load<float>(view.scales, 2 * head + 1);
    if (channel.encoding == ScoreEncoding::fp16) {
      // Above 2^112 the largest half would overflow.
      if (!(a > 0 && a <= 0x1p112f && b == 0)) reader.fail(fmt::format("head {}: scale {} of fp16 scores", head, a));
    } else if (!std::isfinite(a) || !(b >= 0 && b <= 1) || a + 254 * b >= 128) {
      reader.fail(fmt::format("head {}: logarithmic scale from {} in steps of {}", head, a, b));
    }
  }
  if (channel.encoding == ScoreEncoding::log8) return;
  for (std::size_t i = 0; i < view.codes.size() / sizeof(std::uint16_t); ++i) {
    const auto code = load<std::uint16_t>(view.codes, i);
    if (!is_score_half(code)) reader.fail(fmt::format("fp16 code {:#06x} is no finite score", code));
  }
}

/// TODO(parse_json reports a number overflow such as 1e999 as a ConfigError): call it directly.
Json parse_header_json(std::string_view text, const std::string& place) {
  try {
    return parse_json(text, place);
  } catch (const Json::exception& error) {
    throw ConfigError(fmt::format("{}: {}", place, error.what()));
  }
}

void check_padding(std::span<const std::byte> padding, const std::string& place) {
  if (!std::all_of(padding.begin(), padding.end(), [](std::byte b) { return b == std::byte{0}; })) {
    throw ConfigError(fmt::format("{}: padding is not zero; the file is damaged", place));
  }
}

void check_preamble(std::span<const std::byte> bytes, std::string_view origin) {
  if (bytes.size() < kPreambleBytes || std::memcmp(bytes.data(), kTraceMagic.data(), kTraceMagic.size()) != 0) {
    throw ConfigError(fmt::format("{}: not an importance trace (its first bytes are not RPFIMPT)", origin));
  }
  const auto version = load<std::uint32_t>(bytes, 2);
  if (version != kTraceVersion || load<std::uint32_t>(bytes, 3) != 0) {
    throw ConfigError(
        fmt::format("{}: importance trace version {}; this program reads version {}", origin, version, kTraceVersion));
  }
}

}  // namespace

std::uint64_t record_checksum(std::uint32_t kind, std::span<const std::byte> payload, std::uint64_t record_idx) {
  const std::uint64_t head[2] = {kind, payload.size()};
  XXH3_state_t state{};  // the reset looks at the old seed
  XXH3_64bits_reset_withSeed(&state, record_idx);
  XXH3_64bits_update(&state, head, sizeof(head));
  if (!payload.empty()) XXH3_64bits_update(&state, payload.data(), payload.size());
  return XXH3_64bits_digest(&state);
}

std::vector<RecordView> split_records(std::span<const std::byte> bytes, std::string_view origin) {
  check_preamble(bytes, origin);
  std::vector<RecordView> records;
  bool has_ended = false;
  for (std::size_t at = kPreambleBytes; at < bytes.size();) {
    RecordView record;
    record.place = fmt::format("{}: record {} at byte {}", origin, records.size(), at);
    const auto fail = [&](std::string_view what) { throw ConfigError(fmt::format("{}: {}", record.place, what)); };
    if (has_ended) fail("bytes after the end record; the file is damaged");
    if (bytes.size() - at < kRecordHeadBytes) fail("cut off; the file is damaged");
    const std::span<const std::byte> head = bytes.subspan(at, kRecordHeadBytes);
    record.kind = load<std::uint32_t>(head, 0);
    const auto payload_bytes = load<std::uint64_t>(head, 1);
    const std::size_t left = bytes.size() - at - kRecordHeadBytes;
    if (payload_bytes > left) fail(fmt::format("{} bytes long, {} are left; the file is damaged", payload_bytes, left));
    const auto num_bytes = static_cast<std::size_t>(payload_bytes);
    const std::size_t padding = (8 - num_bytes % 8) % 8;
    if (padding > left - num_bytes) fail("cut off; the file is damaged");
    record.payload = bytes.subspan(at + kRecordHeadBytes, num_bytes);
    const bool is_sound = load<std::uint64_t>(head, 2) == record_checksum(record.kind, record.payload, records.size());
    if (!is_sound || load<std::uint32_t>(head, 1) != 0) fail("checksum does not match; the file is damaged");
    check_padding(bytes.subspan(at + kRecordHeadBytes + num_bytes, padding), record.place);
    if (record.kind < header_record || record.kind > end_record) fail(fmt::format("unknown kind {}", record.kind));
    if ((record.kind == header_record) != records.empty()) fail("the header must be the first record, and only that");
    has_ended = record.kind == end_record;
    at += kRecordHeadBytes + num_bytes + padding;
    records.push_back(std::move(record));
  }
  if (!has_ended) {
    throw ConfigError(fmt::format("{}: no end record after {} records; the file is cut off", origin, records.size()));
  }
  const RecordView& end = records.back();
  if (end.payload.size() != 8 || load<std::uint64_t>(end.payload, 0) != records.size() - 1) {
    throw ConfigError(fmt::format("{}: does not count the {} records before it", end.place, records.size() - 1));
  }
  return records;
}

Json header_to_json(const ImportanceTraceHeader& header) {
  Json channels = Json::array();
  for (const ImportanceChannel& channel : header.channels) {
    channels.push_back({{"name", channel.name},
                        {"num_heads", channel.num_heads},
                        {"granularity_tokens", channel.granularity_tokens},
                        {"encoding", encoding_name(channel.encoding)}});
  }
  Json json = {{"channels", channels}, {"layers_per_period", header.layers_per_period}};
  if (header.recorded_under) {
    json["recorded_under"] = {{"system", header.recorded_under->system},
                              {"budget", header.recorded_under->budget},
                              {"chunk_tokens", header.recorded_under->chunk_tokens}};
  }
  if (header.recorded_from) {
    json["recorded_from"] = {{"num_layers", header.recorded_from->num_layers},
                             {"num_query_heads", header.recorded_from->num_query_heads},
                             {"num_kv_heads", header.recorded_from->num_kv_heads}};
  }
  return json;
}

ImportanceTraceHeader parse_header(const RecordView& record) {
  const std::string_view text(reinterpret_cast<const char*>(record.payload.data()), record.payload.size());
  const Json parsed = parse_header_json(text, record.place);
  const JsonValue json(parsed, record.place);
  json.require_object().refuse_unknown_keys({"channels", "layers_per_period", "recorded_under", "recorded_from"});
  ImportanceTraceHeader header;
  const JsonValue channels = json.key("channels");
  channels.require_array();
  std::set<std::string> names;
  for (std::size_t i = 0; i < channels.json().size(); ++i) {
    header.channels.push_back(parse_channel(channels.element(i)));
    if (!names.insert(header.channels.back().name).second) channels.element(i).fail("the channel is there twice");
  }
  header.layers_per_period = static_cast<int>(json.key("layers_per_period").as_integer(1, kMaxLayers, "layers"));
  if (json.has("recorded_under")) {
    const JsonValue under = json.key("recorded_under");
    under.require_object().refuse_unknown_keys({"system", "budget", "chunk_tokens"});
    header.recorded_under = RecordedUnder{
        .system = under.key("system").as_string(),
        .budget = under.key("budget").as_string(),
        .chunk_tokens = static_cast<int>(under.key("chunk_tokens").as_integer(1, kMaxGranularityTokens, "tokens"))};
  }
  if (json.has("recorded_from")) {
    const JsonValue from = json.key("recorded_from");
    from.require_object().refuse_unknown_keys({"num_layers", "num_query_heads", "num_kv_heads"});
    header.recorded_from =
        RecordedFrom{.num_layers = static_cast<int>(from.key("num_layers").as_integer(1, kMaxLayers, "layers")),
                     .num_query_heads = static_cast<int>(from.key("num_query_heads").as_integer(1, kMaxHeads, "heads")),
                     .num_kv_heads = static_cast<int>(from.key("num_kv_heads").as_integer(1, kMaxHeads, "heads"))};
  }
  return header;
}

ScoresView parse_scores(const RecordView& record, const ImportanceTraceHeader& header) {
  ByteReader reader(record.payload, record.place);
  ScoresView view;
  view.request = reader.value<std::uint64_t>();
  view.layer_idx = checked_layer(reader);
  view.channel_idx = checked_channel(reader, header);
  const ImportanceChannel& channel = header.channels[view.channel_idx];
  const auto num_spans = reader.value<std::uint32_t>();
  const auto num_heads = reader.value<std::uint32_t>();
  const auto num_runs = reader.value<std::uint64_t>();
  if (num_heads != static_cast<std::uint32_t>(channel.num_heads)) {
    reader.fail(fmt::format("{} heads; channel {} has {}", num_heads, channel.name, channel.num_heads));
  }
  const auto spans = reader.take(num_spans, sizeof(std::uint32_t));
  std::uint64_t expected_runs = 0;
  const auto granularity = static_cast<std::uint64_t>(channel.granularity_tokens);
  for (std::size_t i = 0; i < num_spans; ++i) {
    view.span_tokens.push_back(load<std::uint32_t>(spans, i));
    expected_runs += (view.span_tokens.back() + granularity - 1) / granularity;
  }
  if (num_spans % 2 == 1 && reader.value<std::uint32_t>() != 0) reader.fail("padding is not zero");
  if (num_runs != expected_runs) reader.fail(fmt::format("{} runs; its spans have {}", num_runs, expected_runs));
  view.num_runs = static_cast<std::size_t>(num_runs);
  view.scales = reader.take(num_heads, 2 * sizeof(float));
  // No product of the two counts can overflow: runs are bounded by 2^32 spans of 2^32 tokens only on paper, so bound
  // them by what is left first.
  const std::size_t code_bytes = channel.encoding == ScoreEncoding::fp16 ? 2 : 1;
  if (num_runs > record.payload.size())
    reader.fail(fmt::format("{} runs in {} bytes", num_runs, record.payload.size()));
  view.codes = reader.take(num_runs * num_heads, code_bytes);
  reader.expect_end();
  check_codes(reader, view, channel);
  return view;
}

RecordedSelection parse_selection(const RecordView& record, const ImportanceTraceHeader& header) {
  ByteReader reader(record.payload, record.place);
  RecordedSelection selection;
  selection.request = reader.value<std::uint64_t>();
  selection.layer_idx = checked_layer(reader);
  selection.channel_idx = checked_channel(reader, header);
  const auto grouping = reader.value<std::uint32_t>();
  const auto unit_tokens = reader.value<std::uint32_t>();
  const auto num_groups = reader.value<std::uint32_t>();
  const auto num_lists = reader.value<std::uint32_t>();
  const auto num_units = reader.value<std::uint64_t>();
  const auto is_everything = reader.value<std::uint32_t>();
  const auto zero = reader.value<std::uint32_t>();
  selection.similarity = reader.value<double>();
  if (grouping > static_cast<std::uint32_t>(HeadGrouping::probe_heads))
    reader.fail(fmt::format("grouping {}", grouping));
  if (unit_tokens == 0 || unit_tokens > kMaxGranularityTokens)
    reader.fail(fmt::format("units of {} tokens", unit_tokens));
  if (num_groups == 0 || num_groups > kMaxHeads) reader.fail(fmt::format("{} head groups", num_groups));
  if (num_lists != 1 && num_lists != num_groups) {
    reader.fail(fmt::format("{} lists of indices for {} head groups; one, or one for each", num_lists, num_groups));
  }
  if (is_everything > 1 || zero != 0 || !(selection.similarity >= 0 && selection.similarity <= 1)) {
    reader.fail(fmt::format("flags {} and {}, similarity {}", is_everything, zero, selection.similarity));
  }
  selection.grouping = static_cast<HeadGrouping>(grouping);
  selection.unit_tokens = static_cast<int>(unit_tokens);
  selection.num_groups = static_cast<int>(num_groups);
  selection.is_everything = is_everything == 1;

  if (num_units > record.payload.size())
    reader.fail(fmt::format("{} units in {} bytes", num_units, record.payload.size()));
  const auto scores = reader.take(num_groups * num_units, sizeof(float));
  for (std::size_t i = 0; i < scores.size() / sizeof(float); ++i) {
    selection.scores.push_back(load<float>(scores, i));
    const float score = selection.scores.back();
    if (!(score >= 0 && std::isfinite(score))) reader.fail(fmt::format("score {} of unit {}", score, i));
  }
  for (std::uint32_t list = 0; list < num_lists; ++list) {
    const auto count = reader.value<std::uint32_t>();
    const auto indices = reader.take(count, sizeof(std::uint32_t));
    std::vector<std::uint32_t>& chosen = selection.chosen.emplace_back();
    for (std::size_t i = 0; i < count; ++i) {
      const auto index = load<std::uint32_t>(indices, i);
      if (index >= num_units || (!chosen.empty() && index <= chosen.back())) {
        reader.fail(fmt::format("list {}: index {} is out of order or range ({} units)", list, index, num_units));
      }
      chosen.push_back(index);
    }
  }
  reader.expect_end();
  return selection;
}

void decode_scores(const ScoresView& view, const ImportanceChannel& channel, int head, std::span<float> out) {
  const auto head_idx = static_cast<std::size_t>(head);
  const auto a = load<float>(view.scales, 2 * head_idx), b = load<float>(view.scales, 2 * head_idx + 1);
  if (channel.encoding == ScoreEncoding::fp16) {
    const auto codes = view.codes.subspan(head_idx * view.num_runs * 2, view.num_runs * 2);
    for (std::size_t i = 0; i < view.num_runs; ++i) out[i] = float_from_half(load<std::uint16_t>(codes, i)) * a;
    return;
  }
  std::array<float, 256> score_of_code;
  for (std::size_t code = 0; code < 256; ++code) {
    score_of_code[code] = score_of_log_code(static_cast<std::uint8_t>(code), {.low = a, .step = b});
  }
  const auto codes = view.codes.subspan(head_idx * view.num_runs, view.num_runs);
  for (std::size_t i = 0; i < view.num_runs; ++i) out[i] = score_of_code[static_cast<std::size_t>(codes[i])];
}

}  // namespace reprefill::traces::detail
