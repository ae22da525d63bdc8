#include "engine/tokenizer/pre_tokenizer.hpp"

#include <algorithm>
#include <cstdint>
#include <new>
#include <optional>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/base/error.hpp"
#include "engine/tokenizer/pattern.hpp"

namespace reprefill::engine {
namespace {

constexpr std::size_t kJitStackStartBytes = 256u << 10;
constexpr std::size_t kJitStackLimitBytes = 512u << 20;
constexpr std::uint64_t kMatchSteps = 10'000'000;
constexpr std::uint64_t kMatchStepsPerByte = 16;

pcre2_code* code_of(void* code) { return static_cast<pcre2_code*>(code); }

std::string message_of(int error) {
  PCRE2_UCHAR message[256];
  pcre2_get_error_message(error, message, sizeof message);
  return reinterpret_cast<const char*>(message);
}

/// What one thread needs to match.
class Matcher {
 public:
  Matcher(const pcre2_code* code, std::size_t text_bytes)
      : code_(code), data_(pcre2_match_data_create(1, nullptr)), context_(pcre2_match_context_create(nullptr)) {
    if (!data_ || !context_) throw std::bad_alloc();
    // A run of ten million blanks takes as many steps back, which the limit's default would not allow. Patterns that
    // try everything still end.
    const std::uint64_t steps = kMatchSteps + kMatchStepsPerByte * std::uint64_t{text_bytes};
    pcre2_set_match_limit(context_.get(), static_cast<std::uint32_t>(std::min<std::uint64_t>(steps, UINT32_MAX)));
  }

  struct Range {
    std::size_t first, last;
  };
  std::optional<Range> find(std::string_view text, std::size_t from) {
    int result = match(text, from);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT && !stack_) {
      grow_stack();
      result = match(text, from);
    }
    if (result == PCRE2_ERROR_NOMATCH) return std::nullopt;
    if (result == PCRE2_ERROR_MATCHLIMIT) {
      throw ConfigError(fmt::format("the pre_tokenizer pattern takes too many steps at byte {} of a text", from));
    }
    if (result < 0) {
      throw MachineError(fmt::format("pcre2_match at byte {} of {}: {}", from, text.size(), message_of(result)));
    }
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data_.get());
    return Range{range[0], range[1]};
  }

 private:
  int match(std::string_view text, std::size_t from) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, PCRE2_NO_UTF_CHECK,
                       data_.get(), context_.get());
  }

  /// Few texts need more than the 32 KiB of the thread's own stack that PCRE2 takes.
  void grow_stack() {
    stack_.reset(pcre2_jit_stack_create(kJitStackStartBytes, kJitStackLimitBytes, nullptr));
    if (!stack_) throw std::bad_alloc();
    pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
  }

  struct Free {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
    void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
  };
  const pcre2_code* code_;
  std::unique_ptr<pcre2_match_data, Free> data_;
  std::unique_ptr<pcre2_match_context, Free> context_;
  std::unique_ptr<pcre2_jit_stack, Free> stack_;
};

std::size_t next_character(std::string_view text, std::size_t at) {
  do {
    ++at;
  } while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80);
  return at;
}

}  // namespace

void PreTokenizer::FreeCode::operator()(void* code) const { pcre2_code_free(code_of(code)); }

PreTokenizer::PreTokenizer(std::string_view pattern, std::string_view origin) {
  const std::string translated = translate_pattern(pattern, origin);
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE, &error, &offset, nullptr));
  if (!code_) {
    throw ConfigError(fmt::format("{}: pre_tokenizer pattern: PCRE2 refuses its translation at offset {}: {}: {}",
                                  origin, offset, message_of(error), translated));
  }
  pcre2_jit_compile(code_of(code_.get()), PCRE2_JIT_COMPLETE);  // without it matching is slower, not different
}

void PreTokenizer::split(std::string_view text, const std::function<void(std::string_view)>& use) const {
  Matcher matcher(code_of(code_.get()), text.size());
  std::size_t done = 0;  // everything before has been handed out
  for (std::size_t at = 0; at < text.size();) {
    const auto found = matcher.find(text, at);
    if (!found) break;
    if (found->first > done) use(text.substr(done, found->first - done));
    if (found->last > found->first) use(text.substr(found->first, found->last - found->first));
    done = found->last;
    at = found->last > found->first ? found->last : next_character(text, found->last);
  }
  if (done < text.size()) use(text.substr(done));
}

}  // namespace reprefill::engine
