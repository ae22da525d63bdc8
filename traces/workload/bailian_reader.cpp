#include "traces/workload/json_fields.hpp"
#include "traces/workload/mooncake.hpp"
#include "traces/workload/prefix_keys.hpp"
#include "traces/workload/trace_readers.hpp"

namespace reprefill::traces::detail {
namespace {

constexpr std::uint32_t kBailianBlockTokens = 16;

enum Field : std::size_t { timestamp, input_length, output_length, hash_ids, num_fields };

class BailianReader final : public TraceReader {
 public:
  void add(std::unique_ptr<ByteSource> bytes, const std::string& origin) override {
    JsonLines lines(std::move(bytes), origin);
    while (const auto object = lines.next()) read_request(*object, lines.place());
    if (trace_.empty()) lines.fail_empty();
  }

  RequestTrace finish(const std::string&) override {
    trace_.sort_by_arrival(RequestTrace::TimeOrigin::as_is);
    return std::move(trace_);
  }

 private:
  void read_request(simdjson::dom::object object, const Place& place) {
    keys_.read(object, place);
    TraceRequest request;
    request.arrival = place.read_seconds("timestamp", keys_[timestamp], kMaxTraceSeconds);
    request.input_tokens = static_cast<std::uint32_t>(
        place.read_whole("input_length", keys_[input_length], 1, kMaxRequestTokens, "tokens"));
    request.output_tokens = static_cast<std::uint32_t>(
        place.read_whole("output_length", keys_[output_length], 0, kMaxRequestTokens, "tokens"));
    place.read_ids("hash_ids", keys_[hash_ids], ids_);
    if (ids_.size() != trace_.num_blocks(request.input_tokens)) {
      place.fail("hash_ids", fmt::format("found {} ids", ids_.size()),
                 fmt::format("{}, one for each block of {} tokens of the {} input tokens, the partly filled last one "
                             "included",
                             trace_.num_blocks(request.input_tokens), kBailianBlockTokens, request.input_tokens));
    }
    std::optional<std::uint64_t> predecessor;
    for (std::uint64_t& id : ids_) {
      id = prefixes_.key_of(predecessor, id);
      predecessor = id;
    }
    request.block_ids = ids_;
    trace_.append_unordered(request);
  }

  KnownKeys keys_{{"timestamp", "input_length", "output_length", "hash_ids"}, num_fields};
  PrefixKeys prefixes_;
  RequestTrace trace_{kBailianBlockTokens};
  std::vector<std::uint64_t> ids_;
};

}  // namespace

std::unique_ptr<TraceReader> make_bailian_reader() { return std::make_unique<BailianReader>(); }

}  // namespace reprefill::traces::detail
