#include "engine/tokenizer/pre_tokenizer.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

/// \s and \S written out as Unicode's White_Space.
std::string translate(std::string_view pattern, std::string_view origin) {
  std::string translated;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's') {
        translated += in_class ? std::string(kWhiteSpace) : fmt::format("[{}]", kWhiteSpace);
      } else if (escaped == 'S') {
        if (in_class) throw ConfigError(fmt::format("{}: \\S inside a class is not supported", origin));
        translated += fmt::format("[^{}]", kWhiteSpace);
      } else {
        translated += c;
        translated += escaped;
      }
      continue;
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    translated += c;
  }
  return translated;
}

pcre2_code* code_of(void* code) { return static_cast<pcre2_code*>(code); }

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

void PreTokenizer::FreeCode::operator()(void* code) const { pcre2_code_free(code_of(code)); }

PreTokenizer::PreTokenizer(std::string_view pattern, std::string_view origin) {
  const std::string translated = translate(pattern, origin);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(), PCRE2_UTF | PCRE2_UCP,
                            &error, &offset, nullptr));
  if (!code_) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof message);
    throw ConfigError(fmt::format("{}: PCRE2 refuses the pattern at offset {} of its translation {}: {}", origin, offset,
                                  translated, reinterpret_cast<const char*>(message)));
  }
  pcre2_jit_compile(code_of(code_.get()), PCRE2_JIT_COMPLETE);  // without it matching is slower, not different
}

void PreTokenizer::split(std::string_view text, const std::function<void(std::string_view)>& use) const {
  pcre2_code* code = code_of(code_.get());
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(pcre2_match_data_create(1, nullptr));
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  std::size_t done = 0;  // everything before has been handed out
  for (std::size_t at = 0; at < text.size();) {
    const int result = pcre2_match(code, subject, text.size(), at, PCRE2_NO_UTF_CHECK, data.get(), nullptr);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      PCRE2_UCHAR message[256];
      pcre2_get_error_message(result, message, sizeof message);
      throw MachineError(fmt::format("pcre2_match at byte {} of {}: {}", at, text.size(),
                                     reinterpret_cast<const char*>(message)));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
    if (range[0] > done) use(text.substr(done, range[0] - done));
    if (range[1] > range[0]) use(text.substr(range[0], range[1] - range[0]));
    done = range[1];
    at = range[1];
    if (range[1] > range[0]) continue;
    do {
      ++at;  // an empty match: on to the next character
    } while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80);
  }
  if (done < text.size()) use(text.substr(done));
}

}  // namespace reprefill::engine
