#include "engine/tokenizer/tokenizer_file.hpp"

#include <algorithm>
#include <set>

// simdjson: the vocabulary has 150,000 keys, which the order-keeping parser of core/base takes minutes for.
#include <simdjson.h>

#include "core/base/error.hpp"
#include "engine/tokenizer/byte_alphabet.hpp"
#include "engine/tokenizer/unicode.hpp"

namespace reprefill::engine {
namespace {

namespace dom = simdjson::dom;

constexpr std::int64_t kMaxId = (1 << 24) - 1;
constexpr std::string_view kPreTokenizerShape = "a Sequence of one Split by Regex and one ByteLevel";

/// A value and the way to it, for messages.
class Node {
 public:
  Node(const dom::element& value, std::string_view origin, std::string path)
      : value_(value), origin_(origin), path_(std::move(path)) {}

  [[noreturn]] void fail(std::string_view what) const {
    throw ConfigError(fmt::format("{}: {}{}{}", origin_, path_, path_.empty() ? "" : ": ", what));
  }
  const std::string& path() const { return path_; }
  bool is_null() const { return value_.is_null(); }

  Node key(std::string_view name) const {
    dom::element value;
    if (value_[name].get(value) != simdjson::SUCCESS) fail(fmt::format("\"{}\" is missing", name));
    return {value, origin_, path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name)};
  }
  bool has(std::string_view name) const {
    dom::element value;
    return value_[name].get(value) == simdjson::SUCCESS && !value.is_null();
  }
  /// An object with these keys alone, each once: an unknown one might change ids.
  void require_keys(const std::vector<std::string_view>& known) const {
    const dom::object object = as_object();
    std::set<std::string_view> seen;
    for (const auto& [name, value] : object) {
      if (std::find(known.begin(), known.end(), name) == known.end()) fail(fmt::format("unknown key \"{}\"", name));
      if (!seen.insert(name).second) fail(fmt::format("\"{}\" is there twice", name));
    }
  }

  dom::object as_object() const {
    dom::object object;
    if (value_.get(object) != simdjson::SUCCESS) fail("expected an object");
    return object;
  }
  std::vector<Node> elements() const {
    dom::array array;
    if (value_.get(array) != simdjson::SUCCESS) fail("expected a list");
    std::vector<Node> nodes;
    for (const dom::element& element : array) {
      nodes.emplace_back(element, origin_, fmt::format("{}[{}]", path_, nodes.size()));
    }
    return nodes;
  }
  std::string_view as_text() const {
    std::string_view text;
    if (value_.get(text) != simdjson::SUCCESS) fail("expected a text");
    return text;
  }
  std::int32_t as_id() const {
    std::int64_t id = 0;
    if (value_.get(id) != simdjson::SUCCESS || id < 0 || id > kMaxId)
      fail(fmt::format("expected an id in [0, {}]", kMaxId));
    return static_cast<std::int32_t>(id);
  }
  bool as_flag() const {
    bool flag = false;
    if (value_.get(flag) != simdjson::SUCCESS) fail("expected true or false");
    return flag;
  }
  bool is_text() const { return value_.is_string(); }
  dom::array as_array() const {
    dom::array array;
    if (value_.get(array) != simdjson::SUCCESS) fail("expected a list");
    return array;
  }
  std::string_view origin() const { return origin_; }

  void require_text(std::string_view wanted) const {
    if (as_text() != wanted) fail(fmt::format("found \"{}\"; supported: \"{}\"", as_text(), wanted));
  }
  void require_flag(bool wanted) const {
    if (as_flag() != wanted) fail(fmt::format("found {}; supported: {}", !wanted, wanted));
  }

 private:
  dom::element value_;
  std::string_view origin_;
  std::string path_;
};

class Reader {
 public:
  explicit Reader(TokenizerFile& file) : file_(file) {}

  void read(const Node& root) {
    root.require_keys({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                       "post_processor", "decoder", "model"});
    if (root.has("version")) root.key("version").require_text("1.0");
    for (const char* key : {"truncation", "padding"}) {
      if (root.has(key)) root.key(key).fail("not supported, since it would change ids; expected null");
    }
    if (root.has("normalizer")) read_normalizer(root.key("normalizer"));
    read_pre_tokenizer(root.key("pre_tokenizer"));
    // As post-processor ByteLevel only moves offsets; as decoder it is what this program does.
    for (const char* key : {"post_processor", "decoder"}) {
      if (root.has(key)) check_byte_level(root.key(key));
    }
    const Node model = root.key("model");
    read_model_options(model);
    max_tokens_ = model.key("vocab").as_object().size();
    if (root.has("added_tokens")) max_tokens_ += root.key("added_tokens").as_array().size();
    read_vocabulary(model.key("vocab"));
    read_byte_tokens(model.key("vocab"));
    read_merges(model.key("merges"));
    if (root.has("added_tokens")) read_added(root.key("added_tokens"));
    check_ids(model.key("vocab"));
  }

 private:
  void read_normalizer(const Node& normalizer) {
    normalizer.key("type").require_text("NFC");
    normalizer.require_keys({"type"});
    file_.normalises = true;
  }

  void check_byte_level(const Node& node) const {
    node.key("type").require_text("ByteLevel");
    node.require_keys({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  }

  void read_pre_tokenizer(const Node& node) {
    if (node.is_null()) node.fail(fmt::format("found null; supported: {}", kPreTokenizerShape));
    node.key("type").require_text("Sequence");
    node.require_keys({"type", "pretokenizers"});
    const std::vector<Node> parts = node.key("pretokenizers").elements();
    if (parts.size() != 2) node.key("pretokenizers").fail(fmt::format("supported: {}", kPreTokenizerShape));
    const Node& split = parts[0];
    split.key("type").require_text("Split");
    split.require_keys({"type", "pattern", "behavior", "invert"});
    split.key("behavior").require_text("Isolated");
    split.key("invert").require_flag(false);
    split.key("pattern").require_keys({"Regex"});
    file_.pattern = split.key("pattern").key("Regex").as_text();
    check_byte_level(parts[1]);
    parts[1].key("add_prefix_space").require_flag(false);
    parts[1].key("use_regex").require_flag(false);
  }

  void read_model_options(const Node& model) {
    model.key("type").require_text("BPE");
    model.require_keys({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                        "byte_fallback", "ignore_merges", "vocab", "merges"});
    for (const char* key : {"dropout", "unk_token"}) {
      if (model.has(key)) model.key(key).fail("not supported; expected null");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (model.has(key)) model.key(key).require_text("");
    }
    if (model.has("byte_fallback")) model.key("byte_fallback").require_flag(false);
    if (model.has("ignore_merges")) file_.ignores_merges = model.key("ignore_merges").as_flag();
  }

  /// Ids have no holes, so that none is beyond the number of tokens.
  void place(std::string_view token, std::int32_t id, const Node& where) {
    const auto index = static_cast<std::size_t>(id);
    if (index >= max_tokens_) {
      where.fail(fmt::format("\"{}\" has the id {}, but there are {} tokens at most: a hole", token, id, max_tokens_));
    }
    if (index >= file_.tokens.size()) {
      file_.tokens.resize(index + 1);
      is_taken_.resize(index + 1, false);
    }
    if (is_taken_[index]) where.fail(fmt::format("\"{}\" and \"{}\" have the id {}", file_.tokens[index], token, id));
    if (!file_.id_of.emplace(token, id).second) where.fail(fmt::format("\"{}\" is there twice", token));
    is_taken_[index] = true;
    file_.tokens[index] = token;
  }

  void read_vocabulary(const Node& vocabulary) {
    const dom::object object = vocabulary.as_object();
    file_.id_of.reserve(object.size());
    for (const auto& [token, value] : object) {
      std::int64_t id = 0;
      if (value.get(id) != simdjson::SUCCESS || id < 0 || id > kMaxId) {
        vocabulary.fail(fmt::format("\"{}\": expected an id in [0, {}]", token, kMaxId));
      }
      if (token.empty()) vocabulary.fail("an empty token");
      place(token, static_cast<std::int32_t>(id), vocabulary);
      file_.bpe_ids.push_back(static_cast<std::int32_t>(id));
    }
  }

  /// Without all of them some text would be lost silently.
  void read_byte_tokens(const Node& vocabulary) {
    for (int byte = 0; byte < 256; ++byte) {
      const char single = static_cast<char>(byte);
      const std::string token = token_of_bytes({&single, 1});
      const auto found = file_.id_of.find(token);
      if (found == file_.id_of.end()) {
        vocabulary.fail(fmt::format("no token \"{}\", which stands for the byte {:#04x}", token, byte));
      }
      file_.merger.set_byte_id(static_cast<unsigned char>(byte), found->second);
    }
  }

  struct Pair {
    std::string_view left, right;
  };
  /// "a b", or ["a", "b"] as newer files write it.
  static Pair pair_of(const Node& merge) {
    if (merge.is_text()) {
      const std::string_view text = merge.as_text();
      const std::size_t blank = text.find(' ');
      if (blank == std::string_view::npos || text.find(' ', blank + 1) != std::string_view::npos) {
        merge.fail(fmt::format("found \"{}\"; expected two tokens with a blank between", text));
      }
      return {text.substr(0, blank), text.substr(blank + 1)};
    }
    const std::vector<Node> pair = merge.elements();
    if (pair.size() != 2) merge.fail("expected \"a b\" or [\"a\", \"b\"]");
    return {pair[0].as_text(), pair[1].as_text()};
  }

  void read_merges(const Node& merges) {
    const dom::array array = merges.as_array();
    file_.merger.reserve(array.size());
    std::size_t number = 0;
    std::string joined;
    for (const dom::element& element : array) {
      const Node merge(element, merges.origin(), fmt::format("{}[{}]", merges.path(), number++));
      const Pair pair = pair_of(merge);
      const auto id_of = [&](std::string_view token) {
        const auto found = file_.id_of.find(token);
        if (found == file_.id_of.end()) merge.fail(fmt::format("\"{}\" is not in the vocabulary", token));
        return found->second;
      };
      joined.assign(pair.left).append(pair.right);
      if (!file_.merger.add_merge(id_of(pair.left), id_of(pair.right), id_of(joined))) {
        merge.fail(fmt::format("\"{}\" and \"{}\" are merged before", pair.left, pair.right));
      }
    }
  }

  void read_added(const Node& added) {
    std::set<std::string> before, after;  // what is looked for before and after normalisation
    for (const Node& token : added.elements()) {
      token.require_keys({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
      for (const char* key : {"single_word", "lstrip", "rstrip"}) token.key(key).require_flag(false);
      AddedToken entry{.id = token.key("id").as_id(),
                       .content = std::string(token.key("content").as_text()),
                       .is_special = token.key("special").as_flag(),
                       .is_normalised = token.key("normalized").as_flag()};
      if (entry.content.empty()) token.fail("an empty token");
      const auto in_vocabulary = file_.id_of.find(entry.content);
      if (in_vocabulary == file_.id_of.end()) {
        place(entry.content, entry.id, token);
      } else if (in_vocabulary->second != entry.id) {
        token.fail(
            fmt::format("\"{}\" has the id {} here and {} elsewhere", entry.content, entry.id, in_vocabulary->second));
      }
      const bool is_new = entry.is_normalised
                              ? after.insert(file_.normalises ? to_nfc(entry.content) : entry.content).second
                              : before.insert(entry.content).second;
      if (!is_new) token.fail(fmt::format("\"{}\" is added twice", entry.content));
      file_.added.push_back(std::move(entry));
    }
  }

  void check_ids(const Node& vocabulary) const {
    const auto hole = std::find(is_taken_.begin(), is_taken_.end(), false);
    if (hole != is_taken_.end()) {
      vocabulary.fail(fmt::format("no token has the id {}, though there are larger ones", hole - is_taken_.begin()));
    }
  }

  TokenizerFile& file_;
  std::size_t max_tokens_ = 0;
  std::vector<bool> is_taken_;
};

}  // namespace

TokenizerFile parse_tokenizer_file(std::string_view json, std::string_view origin) {
  dom::parser parser;
  dom::element root;
  const simdjson::error_code error = parser.parse(json.data(), json.size()).get(root);
  if (error != simdjson::SUCCESS) {
    throw ConfigError(fmt::format("{}: not JSON: {}", origin, simdjson::error_message(error)));
  }
  TokenizerFile file;
  Reader(file).read(Node(root, origin, ""));
  return file;
}

}  // namespace reprefill::engine
