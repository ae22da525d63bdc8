#include "engine/tokenizer/pattern.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

constexpr std::array<std::string_view, 37> kCategories = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe",
    "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn", "Cs"};

constexpr int kMaxDepth = 32;

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view origin) : pattern_(pattern), origin_(origin) {}

  std::string translate() {
    alternatives(0);
    if (at_ != pattern_.size()) refuse("an unmatched )");
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw ConfigError(
        fmt::format("{}: pre_tokenizer pattern, offset {}: {} is not supported, since Oniguruma and PCRE2 "
                    "might read it differently; the pattern: {}",
                    origin_, at_, what, pattern_));
  }

  bool at_end() const { return at_ == pattern_.size(); }
  char peek() const { return at_end() ? '\0' : pattern_[at_]; }
  bool starts_with(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  void copy(std::size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += count;
  }

  void alternatives(int depth) {
    if (depth > kMaxDepth) refuse("nesting this deep");
    while (!at_end() && peek() != ')') {
      if (peek() == '|') {
        copy(1);
      } else {
        element(depth);
        quantifier();
      }
    }
  }

  void element(int depth) {
    const char c = peek();
    if (c == '(') {
      group(depth);
    } else if (ignores_case_) {
      literal_without_case();
    } else if (c == '[') {
      character_class();
    } else if (c == '\\') {
      escape(false);
    } else if (std::string_view("?*+{}.^$]").find(c) != std::string_view::npos) {
      refuse(fmt::format("{} here", c));
    } else {
      copy(1);
    }
  }

  /// Oniguruma lets ligatures and sharp s match the letters that they fold to; PCRE2 does not.
  void literal_without_case() {
    const auto lower = [&](std::size_t i) {
      return i < pattern_.size() ? static_cast<char>(std::tolower(static_cast<unsigned char>(pattern_[i]))) : '\0';
    };
    const char c = lower(at_), next = lower(at_ + 1);
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '\'') refuse("this inside (?i:...)");
    if ((c == 's' && (next == 's' || next == 't')) || (c == 'f' && (next == 'f' || next == 'i' || next == 'l'))) {
      refuse("a pair of letters that one character folds to inside (?i:...)");
    }
    copy(1);
  }

  void group(int depth) {
    const bool outer = ignores_case_;
    for (const std::string_view opening : {"(?:", "(?=", "(?!", "(?i:"}) {
      if (!starts_with(opening)) continue;
      if (opening == "(?i:") ignores_case_ = true;
      copy(opening.size());
      alternatives(depth + 1);
      ignores_case_ = outer;
      if (at_end()) refuse("an unclosed (");
      copy(1);
      return;
    }
    refuse("a group other than (?:, (?=, (?!, (?i:");
  }

  void quantifier() {
    const char c = peek();
    if (c == '{') {
      braces();
    } else if (c == '?' || c == '*' || c == '+') {
      copy(1);
      // ?? *? +? are lazy and ?+ *+ ++ possessive in both.
      if (peek() == '?' || peek() == '+') copy(1);
    }
    if (!at_end() && std::string_view("?*+{").find(peek()) != std::string_view::npos) {
      refuse("a quantifier behind a quantifier");
    }
  }

  /// {n}, {n,} and {n,m}. {,m} and what follows (? and +) mean different things in the two.
  void braces() {
    std::size_t end = at_ + 1;
    const auto digits = [&] {
      const std::size_t first = end;
      while (end < pattern_.size() && std::isdigit(static_cast<unsigned char>(pattern_[end]))) ++end;
      return end > first && end - first <= 3;
    };
    if (!digits()) refuse("{ without a count below 1000");
    if (end < pattern_.size() && pattern_[end] == ',') {
      ++end;
      if (end < pattern_.size() && pattern_[end] != '}' && !digits()) refuse("this {}");
    }
    if (end == pattern_.size() || pattern_[end] != '}') refuse("this {}");
    copy(end + 1 - at_);
  }

  void character_class() {
    copy(1);
    if (peek() == '^') copy(1);
    if (peek() == ']') refuse("an empty class");
    while (!at_end() && peek() != ']') {
      const char c = peek();
      if (c == '\\') {
        escape(true);
        if (peek() == '-' && at_ + 1 < pattern_.size() && pattern_[at_ + 1] != ']') refuse("a - behind an escape");
      } else if (c == '[' || starts_with("&&")) {
        refuse("a class in a class");
      } else {
        copy(1);
      }
    }
    if (at_end()) refuse("an unclosed [");
    copy(1);
  }

  void escape(bool in_class) {
    const char c = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    if (c == 's') {
      out_ += in_class ? std::string(kWhiteSpace) : fmt::format("[{}]", kWhiteSpace);
      at_ += 2;
    } else if (c == 'S' && !in_class) {
      out_ += fmt::format("[^{}]", kWhiteSpace);
      at_ += 2;
    } else if (c == 'p' || c == 'P') {
      category();
    } else if (c == 'r' || c == 'n' || c == 't' || c == 'd' || c == 'D') {
      copy(2);
    } else if (std::ispunct(static_cast<unsigned char>(c))) {
      copy(2);
    } else {
      refuse("this escape");
    }
  }

  void category() {
    const std::size_t end = pattern_.find('}', at_);
    if (at_ + 2 >= pattern_.size() || pattern_[at_ + 2] != '{' || end == std::string_view::npos) refuse("this \\p");
    const std::string_view name = pattern_.substr(at_ + 3, end - at_ - 3);
    if (std::find(kCategories.begin(), kCategories.end(), name) == kCategories.end()) {
      refuse("a property that is no general category");
    }
    copy(end + 1 - at_);
  }

  std::string_view pattern_;
  std::string_view origin_;
  std::size_t at_ = 0;
  bool ignores_case_ = false;
  std::string out_;
};

}  // namespace

std::string translate_pattern(std::string_view pattern, std::string_view origin) {
  return Translator(pattern, origin).translate();
}

}  // namespace reprefill::engine
