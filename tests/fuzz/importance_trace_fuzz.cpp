// libFuzzer target of the importance trace parser. The first byte chooses where the rest goes: to the whole file, or
// past the checksums straight to one record's parser, which mutations would otherwise never reach.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "traces/importance/recorded_importance.hpp"

namespace reprefill::traces {
namespace {

ImportanceTraceHeader fuzz_header() {
  return {
      .channels = {{.name = "keys", .num_heads = 2, .granularity_tokens = 16, .encoding = ScoreEncoding::fp16},
                   {.name = "probe:0,1,2", .num_heads = 3, .granularity_tokens = 1, .encoding = ScoreEncoding::log8}},
      .layers_per_period = 8,
      .recorded_under = std::nullopt};
}

void score_everything(const RecordedImportance& source) {
  const SegmentSpan prefix[] = {{SegmentId{0}, 64}, {SegmentId{1}, 40}};
  for (const HeadGrouping grouping : {HeadGrouping::all_heads, HeadGrouping::per_kv_head, HeadGrouping::probe_heads}) {
    if (!source.has_channel(grouping)) continue;
    std::vector<float> out(static_cast<std::size_t>(source.num_groups(grouping)) * num_units(prefix, 16));
    for (const std::uint64_t request : source.requests()) {
      try {
        source.unit_scores({.request = request, .prefix = prefix, .layer_idx = 1, .grouping = grouping}, 16, out);
      } catch (const ConfigError&) {  // another length or granularity than the one asked for
      }
    }
  }
}

void parse(std::uint8_t choice, std::span<const std::byte> bytes) {
  const auto record = [&](std::uint32_t kind) { return detail::RecordView{kind, bytes, "fuzz"}; };
  switch (choice % 4) {
    case 0:
      score_everything(RecordedImportance::from_bytes({bytes.begin(), bytes.end()}, "fuzz", {}));
      break;
    case 1:
      detail::parse_header(record(detail::header_record));
      break;
    case 2: {
      const ImportanceTraceHeader header = fuzz_header();
      const detail::ScoresView view = detail::parse_scores(record(detail::scores_record), header);
      std::vector<float> runs(view.num_runs);
      detail::decode_scores(view, header.channels[view.channel_idx], 0, runs);
      break;
    }
    default:
      detail::parse_selection(record(detail::selection_record), fuzz_header());
      break;
  }
}

}  // namespace

static void fuzz_importance_trace(std::span<const std::uint8_t> input) {
  if (input.empty()) return;
  try {
    parse(input[0], std::as_bytes(input.subspan(1)));
  } catch (const ConfigError&) {  // damage that is named is the right answer
  }
}

}  // namespace reprefill::traces

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  reprefill::traces::fuzz_importance_trace({data, size});
  return 0;
}
