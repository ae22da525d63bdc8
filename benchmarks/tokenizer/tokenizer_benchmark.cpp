// Bytes of text a second on one core, with the published tokenizer ($REPREFILL_QWEN or ../shared/qwen2.5):
//   tokenizer_benchmark [--benchmark_filter=...]
// The text is this repository's own: documents as English, sources as code. `Baseline` only checks UTF-8 and copies
// bytes to ids, which no tokenizer can beat.
#include <algorithm>
#include <cstdio>

#include <benchmark/benchmark.h>

#include "engine/tokenizer/tokenizer.hpp"
#include "engine/tokenizer/unicode.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temporary_folder.hpp"

namespace reprefill::engine {
namespace {

constexpr std::size_t kTextBytes = 4u << 20;

/// Files of these kinds below a folder, in order of their names, repeated up to kTextBytes.
std::string text_of(const std::string& folder, const std::vector<std::string>& extensions) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(test_support::source_folder() / folder)) {
    const std::string extension = entry.path().extension().string();
    if (std::find(extensions.begin(), extensions.end(), extension) != extensions.end()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::string text;
  for (const auto& path : paths) text += test_support::read_text(path);
  while (!text.empty() && text.size() < kTextBytes) text += text;
  text.resize(std::min(text.size(), kTextBytes));
  while (find_invalid_utf8(text)) text.pop_back();  // a character that was cut
  return text;
}

/// Chinese, for the way through NFC: sentences of common characters in a fixed shuffle.
std::string chinese_text() {
  std::string text;
  for (std::uint32_t state = 1; text.size() + 6 <= kTextBytes;) {
    state = state * 1664525u + 1013904223u;
    const std::uint32_t character = 0x4e00 + (state >> 16) % 3000;
    text += {static_cast<char>(0xe0 | character >> 12), static_cast<char>(0x80 | (character >> 6 & 0x3f)),
             static_cast<char>(0x80 | (character & 0x3f))};
    if ((state >> 8) % 12 == 0) text += "\xef\xbc\x8c";
  }
  return text;
}

/// Each line alone or the whole text at once: the cache of words begins empty for every text.
enum class Cut { whole, lines };

void encode(benchmark::State& state, const Tokenizer& tokenizer, const std::string& text, Cut cut = Cut::whole) {
  std::size_t num_ids = 0;
  for (auto _ : state) {
    num_ids = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = cut == Cut::whole ? text.size() : std::min(text.find('\n', at), text.size() - 1) + 1;
      num_ids += tokenizer.encode(std::string_view(text).substr(at, end - at)).size();
      at = end;
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(text.size()));
  state.counters["bytes_per_id"] = static_cast<double>(text.size()) / static_cast<double>(num_ids);
}

void baseline(benchmark::State& state, const std::string& text) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(find_invalid_utf8(text));
    std::vector<std::int32_t> ids(text.begin(), text.end());
    benchmark::DoNotOptimize(ids.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(text.size()));
}

void decode(benchmark::State& state, const Tokenizer& tokenizer, const std::string& text) {
  const auto ids = tokenizer.encode(text);
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer.decode(ids));
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(text.size()));
}

void open(benchmark::State& state, const std::filesystem::path& file) {
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::open(file).num_ids());
}

int run(int argc, char** argv) {
  const auto folder = test_support::find_qwen_folder();
  if (!folder) {
    std::fputs("no Qwen2.5 files: set REPREFILL_QWEN or put them in ../shared/qwen2.5\n", stderr);
    return 77;
  }
  const Tokenizer tokenizer = Tokenizer::open(*folder / "tokenizer.json");
  const std::string english = text_of("docs", {".md"}), code = text_of("core", {".cpp", ".hpp"});
  const std::string chinese = chinese_text(), one_letter(kTextBytes, 'a');
  const auto add = [](const char* name, auto&& function) {
    benchmark::RegisterBenchmark(name, function)->Unit(benchmark::kMillisecond);
  };
  add("Encode/English", [&](benchmark::State& state) { encode(state, tokenizer, english); });
  add("Encode/English_by_lines", [&](benchmark::State& state) { encode(state, tokenizer, english, Cut::lines); });
  add("Encode/Code", [&](benchmark::State& state) { encode(state, tokenizer, code); });
  add("Encode/Chinese", [&](benchmark::State& state) { encode(state, tokenizer, chinese); });
  add("Encode/One_letter", [&](benchmark::State& state) { encode(state, tokenizer, one_letter); });
  add("Baseline/English", [&](benchmark::State& state) { baseline(state, english); });
  add("Decode/English", [&](benchmark::State& state) { decode(state, tokenizer, english); });
  add("Open", [&](benchmark::State& state) { open(state, *folder / "tokenizer.json"); });
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace reprefill::engine

int main(int argc, char** argv) { return reprefill::engine::run(argc, argv); }
