// How tokenizer.json writes bytes: each as one printable character (GPT-2's byte alphabet, Radford et al. 2019).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace reprefill::engine {

/// The bytes that a token's text stands for; nullopt where a character is not of the alphabet.
std::optional<std::string> bytes_of_token(std::string_view text);
/// The reverse.
std::string token_of_bytes(std::string_view bytes);

}  // namespace reprefill::engine
