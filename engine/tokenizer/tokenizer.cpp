#include "engine/tokenizer/tokenizer.hpp"

#include <algorithm>

#include "core/base/files.hpp"
#include "core/base/json.hpp"
#include "engine/tokenizer/pre_tokenizer.hpp"
#include "engine/tokenizer/tokenizer_file.hpp"
#include "engine/tokenizer/unicode.hpp"

namespace reprefill::engine {
namespace {

/// The lines of the published template that write messages without tools.
constexpr std::string_view kChatMlLine = "'<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n'";
constexpr std::string_view kSystemLine = "'<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n'";
constexpr std::string_view kDefaultStart = "{{- '<|im_start|>system\\n";
constexpr std::string_view kDefaultEnd = "<|im_end|>\\n' }}";

/// Pieces seen in this text: words repeat. Bounded, so that a text of distinct words costs no memory.
class PieceCache {
 public:
  const std::vector<std::int32_t>* find(std::string_view piece) const {
    const auto found = ids_.find(piece);
    return found == ids_.end() ? nullptr : &found->second;
  }
  void keep(std::string_view piece, std::span<const std::int32_t> ids) {
    if (piece.size() > 64 || ids_.size() >= (1u << 16)) return;
    ids_.emplace(std::string(piece), std::vector<std::int32_t>(ids.begin(), ids.end()));
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  boost::unordered_flat_map<std::string, std::vector<std::int32_t>, Hash, std::equal_to<>> ids_;
};

/// The system message that the template puts before a conversation without one; nullopt where it is another template.
std::optional<std::string> default_system_message(std::string_view chat_template) {
  if (chat_template.find(kChatMlLine) == std::string_view::npos) return std::nullopt;
  const std::size_t own = chat_template.find(kSystemLine);
  if (own == std::string_view::npos) return std::nullopt;
  const std::size_t start = chat_template.find(kDefaultStart, own);
  if (start == std::string_view::npos) return std::nullopt;
  const std::size_t text = start + kDefaultStart.size();
  const std::size_t end = chat_template.find(kDefaultEnd, text);
  if (end == std::string_view::npos) return std::nullopt;
  return std::string(chat_template.substr(text, end - text));
}

}  // namespace

struct Tokenizer::Impl {
  Impl(TokenizerFile opened, std::string_view origin_name)
      : origin(origin_name), file(std::move(opened)), pre_tokenizer(file.pattern, origin_name) {
    for (const AddedToken& token : file.added) {
      added.add(token);
      if (token.is_special) special.push_back(token.id);
    }
    std::sort(special.begin(), special.end());
    if (file.ignores_merges) {
      for (std::size_t id = 0; id < file.bytes_of_id.size(); ++id) {
        whole_pieces.emplace(file.bytes_of_id[id], static_cast<std::int32_t>(id));
      }
    }
  }

  void encode_part(std::string_view part, PieceCache& cache, std::vector<std::int32_t>& ids) const {
    std::string normalised;
    if (file.normalises && !is_ascii(part)) part = normalised = to_nfc(part);
    pre_tokenizer.split(part, [&](std::string_view piece) {
      if (const auto* known = cache.find(piece)) {
        ids.insert(ids.end(), known->begin(), known->end());
        return;
      }
      const std::size_t first = ids.size();
      encode_piece(piece, ids);
      cache.keep(piece, std::span(ids).subspan(first));
    });
  }

  void encode_piece(std::string_view piece, std::vector<std::int32_t>& ids) const {
    if (file.ignores_merges) {
      if (const auto whole = whole_pieces.find(std::string(piece)); whole != whole_pieces.end()) {
        ids.push_back(whole->second);
        return;
      }
    }
    file.merger.encode(piece, ids);
  }

  std::string origin;
  TokenizerFile file;
  PreTokenizer pre_tokenizer;
  AddedTokens added;
  std::vector<std::int32_t> special;  // ascending
  boost::unordered_flat_map<std::string, std::int32_t> whole_pieces;
  std::string template_problem = "there is no tokenizer_config.json beside it";
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
  const std::filesystem::path config_path = tokenizer_json.parent_path() / "tokenizer_config.json";
  if (!std::filesystem::exists(config_path)) return tokenizer;
  Impl& impl = *tokenizer.impl_;
  const Json config = read_json_file(config_path);
  if (!config.is_object() || !config.contains("chat_template") || !config.at("chat_template").is_string()) {
    impl.template_problem = fmt::format("{} has no chat_template", config_path.string());
    return tokenizer;
  }
  const auto system = default_system_message(config.at("chat_template").get<std::string>());
  impl.template_problem = system ? "" : fmt::format("{}: chat_template is not the one of Qwen2.5", config_path.string());
  impl.default_system = system.value_or("");
  return tokenizer;
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  if (const auto invalid = find_invalid_utf8(text)) {
    throw ConfigError(fmt::format("the text is not UTF-8 at byte {} ({:#04x})", *invalid,
                                  static_cast<unsigned char>(text[*invalid])));
  }
  std::vector<std::int32_t> ids;
  PieceCache cache;
  impl_->added.split(
      text, [&](std::string_view part) { impl_->encode_part(part, cache, ids); },
      [&](std::int32_t id) { ids.push_back(id); });
  return ids;
}

std::string_view Tokenizer::token_bytes(std::int32_t id) const {
  if (id < 0 || id >= num_ids()) {
    throw ConfigError(fmt::format("{}: found the id {}; its ids are 0 to {}", impl_->origin, id, num_ids() - 1));
  }
  return impl_->file.bytes_of_id[static_cast<std::size_t>(id)];
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, SpecialTokens special) const {
  std::string bytes;
  for (const std::int32_t id : ids) {
    const std::string_view token = token_bytes(id);
    const bool is_special = std::binary_search(impl_->special.begin(), impl_->special.end(), id);
    if (!is_special || special == SpecialTokens::keep) bytes += token;
  }
  return replace_invalid_utf8(bytes);
}

std::int32_t Tokenizer::num_ids() const { return static_cast<std::int32_t>(impl_->file.bytes_of_id.size()); }

void Tokenizer::check_against_vocab(std::int64_t embedding_rows) const {
  if (num_ids() <= embedding_rows) return;
  throw ConfigError(fmt::format("{}: has {} ids; the model's embedding has {} rows: another model's tokenizer?",
                                impl_->origin, num_ids(), embedding_rows));
}

std::string Tokenizer::apply_chat_template(std::span<const ChatMessage> messages) const {
  if (!impl_->template_problem.empty()) {
    throw ConfigError(fmt::format("{}: no chat template to apply: {}", impl_->origin, impl_->template_problem));
  }
  std::string text;
  const auto write = [&](std::string_view role, std::string_view content) {
    text += fmt::format("<|im_start|>{}\n{}<|im_end|>\n", role, content);
  };
  if (messages.empty()) throw ConfigError("messages: found none; expected at least one");
  if (messages.front().role != "system") write("system", impl_->default_system);
  for (const ChatMessage& message : messages) {
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      throw ConfigError(fmt::format("messages: found the role \"{}\"; allowed: system, user, assistant", message.role));
    }
    write(message.role, message.content);
  }
  return text + "<|im_start|>assistant\n";
}

}  // namespace reprefill::engine
