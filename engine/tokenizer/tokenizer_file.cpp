#include "engine/tokenizer/tokenizer_file.hpp"

#include <algorithm>

// simdjson: the vocabulary has 150,000 keys, which the order-keeping parser of core/base takes minutes for.
#include <simdjson.h>

#include "core/base/error.hpp"
#include "engine/tokenizer/byte_alphabet.hpp"

namespace reprefill::engine {
namespace {

namespace dom = simdjson::dom;

constexpr std::int64_t kMaxId = (1 << 24) - 1;

class Reader {
 public:
  Reader(std::string_view origin, TokenizerFile& file) : origin_(origin), file_(file) {}

  void read(const dom::element& root) {
    require_null(root, "truncation");
    require_null(root, "padding");
    read_normalizer(root);
    read_pre_tokenizer(root);
    check_byte_level(root, "post_processor");
    check_byte_level(root, "decoder");
    const dom::element model = require(root, "model");
    read_model_options(model);
    read_vocabulary(model);
    read_merges(model);
    read_added(root);
    check_ids();
  }

 private:
  [[noreturn]] void fail(std::string_view path, const std::string& what) const {
    throw ConfigError(fmt::format("{}: {}: {}", origin_, path, what));
  }

  static bool is_null(const dom::element& object, std::string_view key, dom::element& value) {
    return object[key].get(value) != simdjson::SUCCESS || value.is_null();
  }
  dom::element require(const dom::element& object, std::string_view key) const {
    dom::element value;
    if (is_null(object, key, value)) fail(key, "missing");
    return value;
  }
  void require_null(const dom::element& object, std::string_view key) const {
    dom::element value;
    if (!is_null(object, key, value)) fail(key, "not supported: it would change what text becomes");
  }
  std::string_view text_of(const dom::element& object, std::string_view path, std::string_view key) const {
    std::string_view text;
    if (object[key].get(text) != simdjson::SUCCESS) fail(fmt::format("{}.{}", path, key), "expected a text");
    return text;
  }
  /// A flag, absent meaning `otherwise`.
  bool flag_of(const dom::element& object, std::string_view path, std::string_view key, bool otherwise) const {
    dom::element value;
    if (is_null(object, key, value)) return otherwise;
    bool flag = false;
    if (value.get(flag) != simdjson::SUCCESS) fail(fmt::format("{}.{}", path, key), "expected true or false");
    return flag;
  }
  void require_flag(const dom::element& object, std::string_view path, std::string_view key, bool wanted) const {
    if (flag_of(object, path, key, wanted) != wanted) {
      fail(fmt::format("{}.{}", path, key), fmt::format("found {}; only {} is supported", !wanted, wanted));
    }
  }

  void read_normalizer(const dom::element& root) {
    dom::element normalizer;
    if (is_null(root, "normalizer", normalizer)) return;
    const std::string_view type = text_of(normalizer, "normalizer", "type");
    if (type != "NFC") fail("normalizer.type", fmt::format("found {}; supported: NFC, or none", type));
    file_.normalises = true;
  }

  void read_pre_tokenizer(const dom::element& root) {
    const dom::element sequence = require(root, "pre_tokenizer");
    constexpr std::string_view kShape = "a Sequence of one Split by Regex and one ByteLevel";
    if (text_of(sequence, "pre_tokenizer", "type") != "Sequence") fail("pre_tokenizer.type", fmt::format("expected {}", kShape));
    dom::array parts;
    if (sequence["pretokenizers"].get(parts) != simdjson::SUCCESS || parts.size() != 2) {
      fail("pre_tokenizer.pretokenizers", fmt::format("expected {}", kShape));
    }
    const dom::element split = parts.at(0).value_unsafe(), bytes = parts.at(1).value_unsafe();
    const std::string_view path = "pre_tokenizer.pretokenizers[0]";
    if (text_of(split, path, "type") != "Split") fail(path, fmt::format("expected {}", kShape));
    if (text_of(split, path, "behavior") != "Isolated") fail(fmt::format("{}.behavior", path), "only Isolated is supported");
    require_flag(split, path, "invert", false);
    dom::element pattern;
    if (split["pattern"].get(pattern) != simdjson::SUCCESS) fail(path, "pattern is missing");
    file_.pattern = text_of(pattern, fmt::format("{}.pattern", path), "Regex");
    const std::string_view bytes_path = "pre_tokenizer.pretokenizers[1]";
    if (text_of(bytes, bytes_path, "type") != "ByteLevel") fail(bytes_path, fmt::format("expected {}", kShape));
    require_flag(bytes, bytes_path, "add_prefix_space", false);
    require_flag(bytes, bytes_path, "use_regex", false);
  }

  /// A ByteLevel post-processor only moves offsets; as decoder it is what this program does.
  void check_byte_level(const dom::element& root, std::string_view key) const {
    dom::element value;
    if (is_null(root, key, value)) return;
    const std::string_view type = text_of(value, key, "type");
    if (type != "ByteLevel") fail(key, fmt::format("found {}; supported: ByteLevel, or none", type));
  }

  void read_model_options(const dom::element& model) {
    const std::string_view type = text_of(model, "model", "type");
    if (type != "BPE") fail("model.type", fmt::format("found {}; supported: BPE", type));
    for (const char* key : {"dropout", "unk_token"}) {
      dom::element value;
      if (!is_null(model, key, value)) fail(fmt::format("model.{}", key), "not supported");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      dom::element value;
      if (is_null(model, key, value)) continue;
      std::string_view text;
      if (value.get(text) != simdjson::SUCCESS || !text.empty()) fail(fmt::format("model.{}", key), "not supported");
    }
    require_flag(model, "model", "byte_fallback", false);
    file_.ignores_merges = flag_of(model, "model", "ignore_merges", false);
  }

  void place(std::int64_t id, std::string bytes, std::string_view path) {
    if (id < 0 || id > kMaxId) fail(path, fmt::format("id {} is not in [0, {}]", id, kMaxId));
    const auto index = static_cast<std::size_t>(id);
    if (index >= file_.bytes_of_id.size()) {
      file_.bytes_of_id.resize(index + 1);
      taken_.resize(index + 1, false);
    }
    if (taken_[index]) fail(path, fmt::format("id {} belongs to another token too", id));
    taken_[index] = true;
    file_.bytes_of_id[index] = std::move(bytes);
  }

  void read_vocabulary(const dom::element& model) {
    dom::object vocabulary;
    if (model["vocab"].get(vocabulary) != simdjson::SUCCESS) fail("model.vocab", "expected an object of tokens and ids");
    for (const auto& [token, value] : vocabulary) {
      const std::string path = fmt::format("model.vocab[\"{}\"]", token);
      std::int64_t id = 0;
      if (value.get(id) != simdjson::SUCCESS) fail(path, "expected an id");
      if (!id_of_token_.emplace(token, static_cast<std::int32_t>(id)).second) fail(path, "listed twice");
      // Tokens that were added later may be listed among the others, in plain characters.
      place(id, bytes_of_token(token).value_or(std::string(token)), path);
    }
    for (int byte = 0; byte < 256; ++byte) {
      const char single = static_cast<char>(byte);
      const std::string token = token_of_bytes({&single, 1});
      const auto found = id_of_token_.find(token);
      if (found == id_of_token_.end()) fail("model.vocab", fmt::format("no token for the byte {:#04x}", byte));
      file_.merger.set_byte_id(static_cast<unsigned char>(byte), found->second);
    }
  }

  std::int32_t id_of(std::string_view token, std::string_view path) const {
    const auto found = id_of_token_.find(std::string(token));
    if (found == id_of_token_.end()) fail(path, fmt::format("\"{}\" is not in the vocabulary", token));
    return found->second;
  }

  void read_merges(const dom::element& model) {
    dom::array merges;
    if (model["merges"].get(merges) != simdjson::SUCCESS) fail("model.merges", "expected a list of pairs");
    std::size_t number = 0;
    for (const dom::element& merge : merges) {
      const std::string path = fmt::format("model.merges[{}]", number++);
      std::string_view left, right, text;
      dom::array pair;
      if (merge.get(text) == simdjson::SUCCESS) {
        const std::size_t blank = text.find(' ');
        if (blank == std::string_view::npos) fail(path, "expected two tokens with a blank between");
        left = text.substr(0, blank);
        right = text.substr(blank + 1);
      } else if (merge.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
                 pair.at(0).get(left) != simdjson::SUCCESS || pair.at(1).get(right) != simdjson::SUCCESS) {
        fail(path, "expected \"a b\" or [\"a\", \"b\"]");
      }
      const std::int32_t merged = id_of(std::string(left) + std::string(right), path);
      if (!file_.merger.add_merge(id_of(left, path), id_of(right, path), merged)) fail(path, "this pair was merged before");
    }
  }

  void read_added(const dom::element& root) {
    dom::array added;
    if (root["added_tokens"].get(added) != simdjson::SUCCESS) return;
    std::size_t number = 0;
    for (const dom::element& token : added) {
      const std::string path = fmt::format("added_tokens[{}]", number++);
      std::int64_t id = 0;
      if (token["id"].get(id) != simdjson::SUCCESS) fail(path, "expected an id");
      const std::string_view content = text_of(token, path, "content");
      if (content.empty()) fail(path, "an empty token");
      for (const char* key : {"single_word", "lstrip", "rstrip", "normalized"}) require_flag(token, path, key, false);
      const auto in_vocabulary = id_of_token_.find(std::string(content));
      if (in_vocabulary == id_of_token_.end()) {
        place(id, std::string(content), path);
      } else if (in_vocabulary->second != id) {
        fail(path, fmt::format("id {}, but {} in the vocabulary", id, in_vocabulary->second));
      }
      file_.added.push_back({static_cast<std::int32_t>(id), std::string(content), flag_of(token, path, "special", false)});
    }
  }

  void check_ids() const {
    const auto hole = std::find(taken_.begin(), taken_.end(), false);
    if (hole != taken_.end()) fail("model.vocab", fmt::format("no token has the id {}", hole - taken_.begin()));
  }

  std::string_view origin_;
  TokenizerFile& file_;
  boost::unordered_flat_map<std::string, std::int32_t> id_of_token_;
  std::vector<bool> taken_;
};

}  // namespace

TokenizerFile parse_tokenizer_file(std::string_view json, std::string_view origin) {
  dom::parser parser;
  dom::element root;
  const simdjson::error_code error = parser.parse(json.data(), json.size()).get(root);
  if (error != simdjson::SUCCESS) {
    throw ConfigError(fmt::format("{}: not JSON: {}", origin, simdjson::error_message(error)));
  }
  if (!root.is_object()) throw ConfigError(fmt::format("{}: expected an object", origin));
  TokenizerFile file;
  Reader(origin, file).read(root);
  return file;
}

}  // namespace reprefill::engine
