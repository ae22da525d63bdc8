// The pre-tokenisation pattern: from Oniguruma's language, in which tokenizer.json writes it, to PCRE2's.
#pragma once

#include <string>
#include <string_view>

namespace reprefill::engine {

/// The same pattern for PCRE2 with UTF and UCP. Accepts only what both engines read alike: literals, groups (?:...) and
/// (?i:...), look-ahead, alternatives, quantifiers, classes of literals, ranges, \s, \d and \p{general category}; (?i:)
/// may hold ASCII literals alone. \s and \S are written out as Unicode's White_Space, which PCRE2's own differs from in
/// U+180E. Throws ConfigError naming `origin`, the offset and the construct.
std::string translate_pattern(std::string_view pattern, std::string_view origin);

}  // namespace reprefill::engine
