#include "engine/tokenizer/tokenizer.hpp"

#include <algorithm>
#include <utility>

#include "core/base/files.hpp"
#include "core/base/json.hpp"
#include "engine/tokenizer/byte_alphabet.hpp"
#include "engine/tokenizer/piece_cache.hpp"
#include "engine/tokenizer/pre_tokenizer.hpp"
#include "engine/tokenizer/tokenizer_file.hpp"
#include "engine/tokenizer/unicode.hpp"

namespace reprefill::engine {
namespace {

constexpr std::size_t kMaxTextBytes = 1u << 30;

/// Settings and tokens there that contradict tokenizer.json: transformers would give other ids.
void check_config(const JsonValue& config, const Tokenizer& tokenizer) {
  for (const char* flag : {"add_bos_token", "add_eos_token", "add_prefix_space"}) {
    if (!config.has(flag) || config.key(flag).json().is_null()) continue;
    if (config.key(flag).as_bool()) config.key(flag).fail("found true; supported: false");
  }
  if (!config.has("added_tokens_decoder")) return;
  const JsonValue decoder = config.key("added_tokens_decoder");
  for (const auto& [id_text, token] : decoder.require_object().json().items()) {
    const std::string content = decoder.key(id_text).key("content").as_string();
    const auto id = tokenizer.id_of(content);
    if (!id) decoder.key(id_text).fail(fmt::format("\"{}\" is not in tokenizer.json", content));
    if (std::to_string(*id) != id_text) {
      decoder.key(id_text).fail(fmt::format("\"{}\" has the id {} in tokenizer.json", content, *id));
    }
  }
}

/// The template's text; nullopt where there is none.
std::optional<std::string> chat_template_of(const JsonValue& config, const std::filesystem::path& folder) {
  if (config.has("chat_template") && config.json().at("chat_template").is_string()) {
    return config.key("chat_template").as_string();
  }
  const std::filesystem::path own_file = folder / "chat_template.jinja";  // where newer versions write it
  if (!std::filesystem::exists(own_file)) return std::nullopt;
  return std::string(read_whole_file(own_file, 0).text());
}

}  // namespace

struct Tokenizer::Impl {
  Impl(TokenizerFile opened, std::string_view origin_name)
      : origin(origin_name), file(std::move(opened)), pre_tokenizer(file.pattern, origin_name) {
    for (const std::string& token : file.tokens) bytes_of_id.push_back(bytes_of_token(token).value_or(token));
    for (const AddedToken& token : file.added) {
      if (token.is_normalised) {
        after_normalisation.add(file.normalises ? to_nfc(token.content) : token.content, token.id);
      } else {
        before_normalisation.add(token.content, token.id);
      }
      if (token.is_special) special.push_back(token.id);
    }
    std::sort(special.begin(), special.end());
    if (!file.ignores_merges) return;
    for (const std::int32_t id : file.bpe_ids) {
      if (auto bytes = bytes_of_token(file.tokens[static_cast<std::size_t>(id)])) whole_pieces.emplace(*bytes, id);
    }
  }

  void encode_part(std::string_view part, PieceCache& cache, std::vector<std::int32_t>& ids) const {
    std::string normalised;
    if (file.normalises && !is_ascii(part)) part = normalised = to_nfc(part);
    after_normalisation.split(
        part, [&](std::string_view rest) { encode_words(rest, cache, ids); },
        [&](std::int32_t id) { ids.push_back(id); });
  }

  void encode_words(std::string_view text, PieceCache& cache, std::vector<std::int32_t>& ids) const {
    pre_tokenizer.split(text, [&](std::string_view piece) {
      if (cache.append(piece, ids)) return;
      const std::size_t first = ids.size();
      encode_piece(piece, ids);
      cache.keep(piece, std::span(ids).subspan(first));
    });
  }

  void encode_piece(std::string_view piece, std::vector<std::int32_t>& ids) const {
    if (const auto whole = whole_pieces.find(piece); whole != whole_pieces.end()) {
      ids.push_back(whole->second);
    } else {
      file.merger.encode(piece, ids);
    }
  }

  std::string origin;
  TokenizerFile file;
  std::vector<std::string> bytes_of_id;
  PreTokenizer pre_tokenizer;
  AddedTokens before_normalisation, after_normalisation;
  std::vector<std::int32_t> special;  // ascending
  IdOfText whole_pieces;              // by bytes; empty unless the file ignores merges for them
  std::string template_problem = "there is no tokenizer_config.json beside it";  // "" where there is none
  std::string default_system;
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::parse(std::string_view tokenizer_json, std::string_view origin) {
  return Tokenizer(std::make_unique<Impl>(parse_tokenizer_file(tokenizer_json, origin), origin));
}

Tokenizer Tokenizer::open(const std::filesystem::path& tokenizer_json) {
  Tokenizer tokenizer = parse(read_whole_file(tokenizer_json, 0).text(), tokenizer_json.string());
  const std::filesystem::path folder = tokenizer_json.parent_path(), config_path = folder / "tokenizer_config.json";
  if (!std::filesystem::exists(config_path)) return tokenizer;
  Impl& impl = *tokenizer.impl_;
  const Json json = read_json_file(config_path);
  const JsonValue config(json, config_path.string());
  check_config(config.require_object(), tokenizer);
  const auto chat_template = chat_template_of(config, folder);
  if (!chat_template) {
    impl.template_problem = fmt::format("{} has no chat_template that is a text", config_path.string());
    return tokenizer;
  }
  const auto system = default_system_of(*chat_template);
  impl.template_problem =
      system ? "" : "its chat template is not the published one of Qwen2 or Qwen2.5 (ChatML), and no other is known";
  impl.default_system = system.value_or("");
  return tokenizer;
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  if (text.size() > kMaxTextBytes) {
    throw ConfigError(fmt::format("found a text of {} bytes; at most {} can be one text", text.size(), kMaxTextBytes));
  }
  if (const auto invalid = find_invalid_utf8(text)) {
    throw ConfigError(fmt::format("the text is not UTF-8 at byte {} ({:#04x})", *invalid,
                                  static_cast<unsigned char>(text[*invalid])));
  }
  std::vector<std::int32_t> ids;
  PieceCache cache;
  impl_->before_normalisation.split(
      text, [&](std::string_view part) { impl_->encode_part(part, cache, ids); },
      [&](std::int32_t id) { ids.push_back(id); });
  return ids;
}

std::string_view Tokenizer::token_bytes(std::int32_t id) const {
  token_of(id);
  return impl_->bytes_of_id[static_cast<std::size_t>(id)];
}

std::string_view Tokenizer::token_of(std::int32_t id) const {
  if (id < 0 || id >= num_ids()) {
    throw ConfigError(fmt::format("{}: found the id {}; its ids are 0 to {}", impl_->origin, id, num_ids() - 1));
  }
  return impl_->file.tokens[static_cast<std::size_t>(id)];
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto found = impl_->file.id_of.find(token);
  return found == impl_->file.id_of.end() ? std::nullopt : std::optional(found->second);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, SpecialTokens special) const {
  StreamDecoder decoder(*this, special);
  std::string text;
  for (const std::int32_t id : ids) text += decoder.add(id);
  return text + decoder.finish();
}

std::int32_t Tokenizer::num_ids() const { return static_cast<std::int32_t>(impl_->file.tokens.size()); }
std::span<const std::int32_t> Tokenizer::special_ids() const { return impl_->special; }
bool Tokenizer::is_special(std::int32_t id) const {
  return std::binary_search(impl_->special.begin(), impl_->special.end(), id);
}

void Tokenizer::check_against_vocab(std::int64_t embedding_rows) const {
  if (num_ids() <= embedding_rows) return;
  throw ConfigError(fmt::format("{}: has {} ids; the model's embedding has {} rows: another model's tokenizer?",
                                impl_->origin, num_ids(), embedding_rows));
}

std::string Tokenizer::apply_chat_template(std::span<const ChatMessage> messages) const {
  if (!impl_->template_problem.empty()) {
    throw ConfigError(fmt::format("{}: no chat template to apply: {}", impl_->origin, impl_->template_problem));
  }
  return write_chat(messages, impl_->default_system);
}

std::string StreamDecoder::add(std::int32_t id) {
  const std::string_view bytes = tokenizer_->token_bytes(id);
  if (special_ == SpecialTokens::skip && tokenizer_->is_special(id)) return "";
  held_back_ += bytes;
  const std::size_t ready = held_back_.size() - unfinished_utf8_bytes(held_back_);
  std::string text = replace_invalid_utf8(std::string_view(held_back_).substr(0, ready));
  held_back_.erase(0, ready);
  return text;
}

std::string StreamDecoder::finish() { return replace_invalid_utf8(std::exchange(held_back_, {})); }

}  // namespace reprefill::engine
