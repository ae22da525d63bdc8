#include <cmath>
#include <map>

#include <boost/unordered/unordered_flat_map.hpp>

#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "traces/workload/json_fields.hpp"
#include "traces/workload/mooncake.hpp"
#include "traces/workload/trace_readers.hpp"

namespace reprefill::traces::detail {
namespace {

namespace dom = simdjson::dom;

/// The largest published conversation has some 40 MB.
constexpr std::size_t kMaxConversationBytes = std::size_t{1} << 30;

/// What heads a conversation's prompts; nested ones have their own.
struct Head {
  std::uint32_t tool_tokens = 0;
  std::uint32_t system_tokens = 0;
  auto operator<=>(const Head&) const = default;
};

/// Ids of one conversation and of those nested in it, as keys of the whole trace.
class ConversationKeys {
 public:
  struct Block {
    std::uint64_t key;
    std::optional<std::uint64_t> predecessor;  // id
    std::optional<Head> shared_with;           // the key is that of a head, at this block's place
  };

  const Block* find(std::uint64_t id) const {
    const auto found = blocks_.find(id);
    return found == blocks_.end() ? nullptr : &found->second;
  }
  void insert(std::uint64_t id, const Block& block) {
    blocks_.emplace(id, block);
    if (block.shared_with) taken_.emplace(std::pair(*block.shared_with, block.key), id);
  }
  /// Two continuations of a head cannot both be the shared one.
  bool has_taken(const Head& head, std::uint64_t key) const { return taken_.contains(std::pair(head, key)); }

 private:
  boost::unordered_flat_map<std::uint64_t, Block> blocks_;  // by id, never iterated
  std::map<std::pair<Head, std::uint64_t>, std::uint64_t> taken_;
};

class AgenticReader final : public TraceReader {
 public:
  explicit AgenticReader(const AgenticOptions& options)
      : options_(options), starts_(options.seed, 0, "traces/conversation_starts") {
    if (!std::isfinite(options.conversations_per_s) || options.conversations_per_s <= 0) {
      throw ConfigError(
          fmt::format("conversations_per_s: found {}; expected a positive number", options.conversations_per_s));
    }
  }

  void add(std::unique_ptr<ByteSource> bytes, const std::string& origin) override {
    const Place place(origin);
    const std::vector<char> text = read_all(*bytes, origin, kMaxConversationBytes, simdjson::SIMDJSON_PADDING);
    dom::element document;
    if (parser_.parse(text.data(), text.size() - simdjson::SIMDJSON_PADDING, false).get(document) !=
        simdjson::SUCCESS) {
      place.fail("", "found text that is not valid JSON", "one conversation as one JSON object");
    }
    const dom::object conversation = object_at(document, "", place);
    KnownKeys keys({"block_size", "hash_id_scope", "tool_tokens", "system_tokens", "requests"}, 5);
    keys.read(conversation, place);
    check_blocks(keys, place);
    const Head head = read_head(keys[2], keys[3], place);
    if (!(start_s_ <= kMaxTraceSeconds)) {
      place.fail("", fmt::format("found that it starts {} s after the first conversation", start_s_),
                 fmt::format("at most {}; set conversations_per_s higher", kMaxTraceSeconds));
    }
    const Nanoseconds start{std::llround(start_s_ * 1e9)};
    start_s_ += starts_.exponential(options_.conversations_per_s);
    ConversationKeys ids;
    read_requests(keys[4], start, head, ids, origin, "requests");
  }

  RequestTrace finish(const std::string& origin) override {
    if (!trace_ || trace_->empty()) {
      throw ConfigError(fmt::format("{}: found no requests; expected conversations with some", origin));
    }
    trace_->sort_by_arrival(RequestTrace::TimeOrigin::first_arrival);
    return std::move(*trace_);
  }

 private:
  static dom::object object_at(dom::element element, std::string_view key, const Place& place) {
    dom::object object;
    if (element.get(object) != simdjson::SUCCESS) {
      place.fail(key, fmt::format("found {}", excerpt(element)), "a JSON object");
    }
    return object;
  }

  void check_blocks(const KnownKeys& keys, const Place& place) {
    const auto tokens =
        static_cast<std::uint32_t>(place.read_whole("block_size", keys[0], 1, kMaxRequestTokens, "tokens"));
    if (place.read_text("hash_id_scope", keys[1]) != "local") {
      place.fail("hash_id_scope", fmt::format("found {}", excerpt(keys[1])), "\"local\"");
    }
    if (!trace_) trace_.emplace(tokens, LastBlock::has_none);
    if (tokens != trace_->block_tokens()) {
      place.fail("block_size", fmt::format("found {}", tokens),
                 fmt::format("{} as in the conversations before", trace_->block_tokens()));
    }
  }

  static Head read_head(dom::element tool_tokens, dom::element system_tokens, const Place& place) {
    const auto read = [&](std::string_view key, dom::element value) {
      return static_cast<std::uint32_t>(place.read_whole(key, value, 0, kMaxRequestTokens, "tokens"));
    };
    return {.tool_tokens = read("tool_tokens", tool_tokens), .system_tokens = read("system_tokens", system_tokens)};
  }

  void read_requests(dom::element value, Nanoseconds start, const Head& head, ConversationKeys& ids,
                     std::string_view origin, const std::string& path) {
    std::size_t idx = 0;
    for (const dom::element element : Place(origin).read_array(path, value, "requests")) {
      const std::string at = fmt::format("{}[{}]", path, idx++);
      const Place place(origin, 0, at + ".");
      const dom::object object = object_at(element, "", Place(origin, 0, at));
      std::string_view type;
      if (object["type"].get(type) == simdjson::SUCCESS && type == "subagent") {
        read_nested(object, start, ids, origin, at, place);
      } else {
        read_request(object, start, head, ids, place);
      }
    }
  }

  /// A nested conversation counts time from its own start.
  void read_nested(dom::object object, Nanoseconds start, ConversationKeys& ids, std::string_view origin,
                   const std::string& path, const Place& place) {
    KnownKeys keys({"t", "tool_tokens", "system_tokens", "requests"}, 4);
    keys.read(object, place);
    const Nanoseconds own_start = start + place.read_seconds("t", keys[0], kMaxConversationSeconds);
    check_time(own_start, place);
    read_requests(keys[3], own_start, read_head(keys[1], keys[2], place), ids, origin, path + ".requests");
  }

  void read_request(dom::object object, Nanoseconds start, const Head& head, ConversationKeys& ids,
                    const Place& place) {
    request_keys_.read(object, place);
    TraceRequest request;
    request.arrival = start + place.read_seconds("t", request_keys_[0], kMaxConversationSeconds);
    check_time(request.arrival, place);
    request.input_tokens =
        static_cast<std::uint32_t>(place.read_whole("in", request_keys_[1], 1, kMaxRequestTokens, "tokens"));
    request.output_tokens =
        static_cast<std::uint32_t>(place.read_whole("out", request_keys_[2], 0, kMaxRequestTokens, "tokens"));
    place.read_ids("hash_ids", request_keys_[3], block_ids_);
    if (block_ids_.size() != trace_->num_blocks(request.input_tokens)) {
      place.fail("hash_ids", fmt::format("found {} ids", block_ids_.size()),
                 fmt::format("{}, one for each full block of {} tokens of the {} input tokens",
                             trace_->num_blocks(request.input_tokens), trace_->block_tokens(), request.input_tokens));
    }
    make_global(head, ids, place);
    request.block_ids = block_ids_;
    trace_->append_unordered(request);
  }

  static void check_time(Nanoseconds time, const Place& place) {
    if (to_seconds(time) <= kMaxTraceSeconds) return;
    place.fail("t", fmt::format("found a request {} s after the first conversation's start", to_seconds(time)),
               fmt::format("at most {}; set conversations_per_s higher", kMaxTraceSeconds));
  }

  /// Replaces the ids of `block_ids_` by keys.
  void make_global(const Head& head, ConversationKeys& ids, const Place& place) {
    std::optional<std::uint64_t> predecessor;
    std::optional<Head> shared_so_far;  // by the block before
    for (std::size_t position = 0; position < block_ids_.size(); ++position) {
      const std::uint64_t id = block_ids_[position];
      const ConversationKeys::Block* block = ids.find(id);
      if (block == nullptr) {
        ids.insert(id, new_block(position, predecessor, shared_so_far, head, ids));
        block = ids.find(id);
      } else if (block->predecessor != predecessor) {
        place.fail(fmt::format("hash_ids[{}]", position), fmt::format("found block {} behind two predecessors", id),
                   "an id to have always the same predecessor, because ids stand for everything before them too");
      }
      block_ids_[position] = block->key;
      shared_so_far = block->shared_with;
      predecessor = id;
    }
  }

  ConversationKeys::Block new_block(std::size_t position, std::optional<std::uint64_t> predecessor,
                                    const std::optional<Head>& shared_so_far, const Head& head,
                                    const ConversationKeys& ids) {
    ConversationKeys::Block block{.key = 0, .predecessor = predecessor, .shared_with = std::nullopt};
    const std::size_t shared_blocks = (std::size_t{head.tool_tokens} + head.system_tokens) / trace_->block_tokens();
    if (options_.share_prefix == SharePrefix::tool_and_system && position < shared_blocks &&
        (position == 0 || shared_so_far == head)) {
      std::vector<std::uint64_t>& keys = shared_[head];
      if (position == keys.size()) keys.push_back(next_key_++);
      if (!ids.has_taken(head, keys[position])) {
        block.key = keys[position];
        block.shared_with = head;
        return block;
      }
    }
    block.key = next_key_++;
    return block;
  }

  /// A month: far above any session, far below what could overflow with the start of a conversation.
  static constexpr double kMaxConversationSeconds = 2.7e6;

  AgenticOptions options_;
  RandomStream starts_;
  double start_s_ = 0;
  dom::parser parser_;
  KnownKeys request_keys_{{"t", "in", "out", "hash_ids"}, 4};
  std::optional<RequestTrace> trace_;
  std::map<Head, std::vector<std::uint64_t>> shared_;
  std::uint64_t next_key_ = 0;
  std::vector<std::uint64_t> block_ids_;
};

}  // namespace

std::unique_ptr<TraceReader> make_agentic_reader(const AgenticOptions& options) {
  return std::make_unique<AgenticReader>(options);
}

}  // namespace reprefill::traces::detail
