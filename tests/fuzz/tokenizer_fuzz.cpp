// Any bytes are either a tokenizer that encodes and decodes, or a named error, as they are and as changes of a sound
// tokenizer; any text encodes to ids that decode to its NFC, or is refused where it is not UTF-8.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/base/error.hpp"
#include "core/base/json.hpp"
#include "engine/tokenizer/tokenizer.hpp"
#include "engine/tokenizer/unicode.hpp"
#include "tests/engine/tokenizer/tiny_tokenizer.hpp"

using namespace reprefill;
using namespace reprefill::engine;

namespace {

void parse_bytes(std::string_view json) {
  try {
    const Tokenizer tokenizer = Tokenizer::parse(json, "fuzz.json");
    try {
      const auto ids = tokenizer.encode("It's a te\xcc\x81st <|end|> 12\n");
      for (const std::int32_t id : ids) REPREFILL_CHECK(id < tokenizer.num_ids(), "id {}", id);
      tokenizer.decode(ids);
    } catch (const ConfigError&) {  // a pattern that tries too much
    }
  } catch (const ConfigError& error) {
    REPREFILL_CHECK(std::string_view(error.what()).starts_with("fuzz.json"), "no place in '{}'", error.what());
  }
}

/// `tokenizer` with the changes (RFC 7396) that the bytes are: alone they would never come to have 256 byte tokens.
void parse_changed(const Json& tokenizer, std::string_view bytes) {
  if (!bytes.starts_with('{')) return;
  const Json changes = Json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  if (!changes.is_object()) return;
  Json changed = tokenizer;
  changed.merge_patch(changes);
  parse_bytes(changed.dump());
}

void check_text(const Tokenizer& tokenizer, std::string_view text) {
  if (find_invalid_utf8(text)) {
    try {
      tokenizer.encode(text);
    } catch (const ConfigError&) {
      return;
    }
    REPREFILL_CHECK(false, "took what is not UTF-8");
  }
  const auto ids = tokenizer.encode(text);
  REPREFILL_CHECK(tokenizer.decode(ids) == to_nfc(text), "another text came back");
  StreamDecoder decoder(tokenizer);
  std::string streamed;
  for (const std::int32_t id : ids) streamed += decoder.add(id);
  REPREFILL_CHECK(streamed + decoder.finish() == to_nfc(text), "another text was streamed");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Json tiny_json = test_support::tiny_tokenizer(
      {{"a", "b"}, {"ab", "ab"}, {"\xc4\xa0", "t"}, {"h", "e"}, {"\xc4\xa0t", "he"}, {"e", "\xc3\x8c"}});
  static const Tokenizer tiny = Tokenizer::parse(tiny_json.dump(), "tiny.json");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  parse_bytes(bytes);
  parse_changed(tiny_json, bytes);
  check_text(tiny, bytes);
  if (find_invalid_utf8(bytes)) check_text(tiny, replace_invalid_utf8(bytes));
  return 0;
}
