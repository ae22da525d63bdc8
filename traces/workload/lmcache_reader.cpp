#include "core/base/error.hpp"
#include "traces/workload/json_fields.hpp"
#include "traces/workload/mooncake.hpp"
#include "traces/workload/prefix_keys.hpp"
#include "traces/workload/trace_readers.hpp"

namespace reprefill::traces::detail {
namespace {

enum Field : std::size_t { timestamp, model_name, chunk_size, seq_len, chunk_hashes, num_fields };

class LmcacheReader final : public TraceReader {
 public:
  void add(std::unique_ptr<ByteSource> bytes, const std::string& origin) override {
    JsonLines lines(std::move(bytes), origin);
    while (const auto object = lines.next()) read_request(*object, lines.place());
  }

  RequestTrace finish(const std::string& origin) override {
    if (!trace_) {
      throw ConfigError(fmt::format("{}: found no requests; expected one JSON object a line", origin));
    }
    trace_->sort_by_arrival(RequestTrace::TimeOrigin::first_arrival);
    return std::move(*trace_);
  }

 private:
  void read_request(simdjson::dom::object object, const Place& place) {
    keys_.read(object, place);
    check_same_cache(place);
    TraceRequest request;
    request.arrival = place.read_seconds("timestamp", keys_[timestamp], kMaxTraceSeconds);
    request.input_tokens =
        static_cast<std::uint32_t>(place.read_whole("seq_len", keys_[seq_len], 1, kMaxRequestTokens, "tokens"));
    read_hashes(place);
    if (ids_.size() != trace_->num_blocks(request.input_tokens)) {
      place.fail("chunk_hashes", fmt::format("found {} hashes", ids_.size()),
                 fmt::format("{}, one for each full chunk of {} tokens of the {} tokens",
                             trace_->num_blocks(request.input_tokens), trace_->block_tokens(), request.input_tokens));
    }
    request.block_ids = ids_;
    trace_->append_unordered(request);
  }

  /// All lines must be of one model and one chunk size: their chunks would not be the same objects.
  void check_same_cache(const Place& place) {
    const auto tokens =
        static_cast<std::uint32_t>(place.read_whole("chunk_size", keys_[chunk_size], 1, kMaxRequestTokens, "tokens"));
    const std::string_view model = place.read_text("model_name", keys_[model_name]);
    if (!trace_) {
      trace_.emplace(tokens, LastBlock::has_none);
      model_ = model;
    }
    if (tokens != trace_->block_tokens()) {
      place.fail("chunk_size", fmt::format("found {}", tokens),
                 fmt::format("{} as in the lines before", trace_->block_tokens()));
    }
    if (model != model_) {
      place.fail("model_name", fmt::format("found \"{}\"", excerpt(std::string(model))),
                 fmt::format("\"{}\" as in the lines before; one trace is of one model", excerpt(model_)));
    }
  }

  void read_hashes(const Place& place) {
    ids_.clear();
    std::optional<std::uint64_t> predecessor;
    for (const simdjson::dom::element element : place.read_array("chunk_hashes", keys_[chunk_hashes], "hashes")) {
      const std::string_view hash = place.read_text(fmt::format("chunk_hashes[{}]", ids_.size()), element);
      const std::uint64_t chunk = numbers_.try_emplace(std::string(hash), numbers_.size()).first->second;
      ids_.push_back(prefixes_.key_of(predecessor, chunk));
      predecessor = ids_.back();
    }
  }

  KnownKeys keys_{{"timestamp", "model_name", "chunk_size", "seq_len", "chunk_hashes"}, num_fields};
  boost::unordered_flat_map<std::string, std::uint64_t> numbers_;  // of hashes, never iterated
  PrefixKeys prefixes_;
  std::optional<RequestTrace> trace_;
  std::string model_;
  std::vector<std::uint64_t> ids_;
};

}  // namespace

std::unique_ptr<TraceReader> make_lmcache_reader() { return std::make_unique<LmcacheReader>(); }

}  // namespace reprefill::traces::detail
