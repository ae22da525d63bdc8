#include "engine/tokenizer/pattern.hpp"

#include <cctype>
#include <utility>

#include "core/base/error.hpp"

namespace reprefill::engine {
namespace {

constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

/// Letters and numbers that Unicode 15 to 16 assigned: PCRE2 10.42 knows Unicode 14, the original's Oniguruma
/// (tokenizers 0.23.2) Unicode 16. A PCRE2 that knows them takes them twice, which changes nothing. Found by asking the
/// original about every code point that Unicode 14 does not assign; numbers told apart by the code charts.
constexpr std::string_view kNewerLetters =
    R"(\x{1c89}-\x{1c8a}\x{a7cb}-\x{a7cd}\x{a7da}-\x{a7dc}\x{105c0}-\x{105f3}\x{10d4a}-\x{10d65}\x{10d6f}-\x{10d85})"
    R"(\x{10ec2}-\x{10ec4}\x{1123f}-\x{11240}\x{11380}-\x{11389}\x{1138b}\x{1138e}\x{11390}-\x{113b5}\x{113b7}\x{113d1})"
    R"(\x{113d3}\x{11bc0}-\x{11be0}\x{11f02}\x{11f04}-\x{11f10}\x{11f12}-\x{11f33}\x{1342f}\x{13441}-\x{13446})"
    R"(\x{13460}-\x{143fa}\x{16100}-\x{1611d}\x{16d40}-\x{16d6c}\x{18cff}\x{1b132}\x{1b155}\x{1df25}-\x{1df2a})"
    R"(\x{1e030}-\x{1e06d}\x{1e4d0}-\x{1e4eb}\x{1e5d0}-\x{1e5ed}\x{1e5f0}\x{2b739}\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})";
constexpr std::string_view kNewerNumbers =
    R"(\x{10d40}-\x{10d49}\x{116d0}-\x{116e3}\x{11bf0}-\x{11bf9}\x{11f50}-\x{11f59}\x{16130}-\x{16139}\x{16d70}-\x{16d79})"
    R"(\x{1ccf0}-\x{1ccf9}\x{1d2c0}-\x{1d2d3}\x{1e4f0}-\x{1e4f9}\x{1e5f1}-\x{1e5fa})";

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
    } else if (c == 'p') {
      category(in_class);
    } else if (c == 'r' || c == 'n' || c == 't') {
      copy(2);
    } else if (std::ispunct(static_cast<unsigned char>(c))) {
      copy(2);
    } else {
      refuse("this escape");
    }
  }

  void category(bool in_class) {
    for (const auto& [name, newer] : {std::pair(R"(\p{L})", kNewerLetters), std::pair(R"(\p{N})", kNewerNumbers)}) {
      if (!starts_with(name)) continue;
      out_ += in_class ? fmt::format("{}{}", name, newer) : fmt::format("[{}{}]", name, newer);
      at_ += std::string_view(name).size();
      return;
    }
    refuse("a property other than \\p{L} and \\p{N}");
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
