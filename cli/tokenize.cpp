// `reprefill tokenize`: ids of texts, line by line.
#include <iostream>

#include "cli/verbs.hpp"
#include "core/base/json.hpp"
#include "engine/tokenizer/tokenizer.hpp"

namespace reprefill::cli {
namespace {

struct TokenizeOptions {
  std::string tokenizer;
  bool decode = false;
};

Json encode_line(const engine::Tokenizer& tokenizer, const JsonValue& line) {
  const std::string text = line.key("text").as_string();
  try {
    return {{"ids", tokenizer.encode(text)}};
  } catch (const ConfigError& error) {
    line.fail(fmt::format("text: {}", error.what()));
  }
}

Json decode_line(const engine::Tokenizer& tokenizer, const JsonValue& line) {
  const JsonValue list = line.key("ids").require_array();
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < list.json().size(); ++i) {
    ids.push_back(static_cast<std::int32_t>(list.element(i).as_integer(0, tokenizer.num_ids() - 1, "token id")));
  }
  return {{"text", tokenizer.decode(ids)}};
}

void run(const TokenizeOptions& options) {
  const engine::Tokenizer tokenizer = engine::Tokenizer::open(options.tokenizer);
  std::ios::sync_with_stdio(false);  // reads lines several times faster
  std::string text;
  for (std::size_t number = 1; std::getline(std::cin, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string origin = fmt::format("standard input: line {}", number);
    const Json json = parse_json(text, origin);
    const JsonValue line(json, origin);
    line.require_object().refuse_unknown_keys({"text", "ids"});
    const Json out = options.decode ? decode_line(tokenizer, line) : encode_line(tokenizer, line);
    fmt::print("{}\n", out.dump());
  }
  if (std::cin.bad()) throw MachineError("standard input: cannot read");
  if (std::fflush(stdout) != 0) throw MachineError("standard output: cannot write");
}

}  // namespace

void add_tokenize(CLI::App& app, const Environment&) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* verb = app.add_subcommand(
      "tokenize", "Ids of texts: {\"text\": ...} a line on standard input, {\"ids\": [...]} a line on standard output");
  verb->add_option("--tokenizer", options->tokenizer,
                   "tokenizer.json of a checkpoint (byte-level BPE as Qwen2 and Qwen2.5 use it)")
      ->required();
  verb->add_flag("--decode", options->decode, "The reverse: {\"ids\": [...]} in, {\"text\": ...} out");
  verb->callback([options] { run(*options); });
}

}  // namespace reprefill::cli
