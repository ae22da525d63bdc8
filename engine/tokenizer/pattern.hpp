// The pre-tokenisation pattern: from Oniguruma's language, in which tokenizer.json writes it, to PCRE2's.
#pragma once

#include <string>
#include <string_view>

namespace reprefill::engine {

/// The same pattern for PCRE2 with UTF and UCP. Accepts only what both engines read alike: literals, groups (?:...) and
/// (?i:...), look-ahead, alternatives, quantifiers, classes of literals, ranges, \s, \p{L} and \p{N}; (?i:) may hold
/// ASCII literals alone. Written out, since PCRE2's own differ: \s and \S (Unicode's White_Space; PCRE2 adds U+180E),
/// and the letters and numbers of Unicode 15 and 16. Throws ConfigError naming `origin`, the offset and the construct.
std::string translate_pattern(std::string_view pattern, std::string_view origin);

}  // namespace reprefill::engine
