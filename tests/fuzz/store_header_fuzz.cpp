// Any bytes are either a segment's file whose header survives writing and reading, or a named error; the same for
// store.json. Nothing that a header says may lead outside its file.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "engine/store/verify.hpp"

using namespace reprefill;
using namespace reprefill::engine;

namespace {

void check_header(const SegmentHeader& header) {
  REPREFILL_CHECK(parse_header(encode_header(header), "written").file_bytes == header.file_bytes,
                  "changed when written");
  REPREFILL_CHECK(header.token_ids.offset >= kHeaderBytes && header.file_bytes.value > header.page_checksums.offset,
                  "the trailer lies in the file");
  std::uint64_t end = kHeaderBytes;
  for (const NamedRange& range : named_ranges(header)) {
    REPREFILL_CHECK(range.offset == end, "{} does not follow what comes before", range.name);
    end = range.offset + range.bytes;
  }
  REPREFILL_CHECK(end == header.token_ids.offset, "ranges fill the data");
}

void parse_block(std::span<const std::byte> block) {
  try {
    check_header(parse_header(block, "fuzz.kv"));
  } catch (const StoreDamage& damage) {
    REPREFILL_CHECK(std::string_view(damage.what()).starts_with("fuzz.kv"), "no place in '{}'", damage.what());
  } catch (const ConfigError& newer) {
    REPREFILL_CHECK(std::string_view(newer.what()).starts_with("fuzz.kv"), "no place in '{}'", newer.what());
  }
}

void parse_store_json(std::string_view text) {
  try {
    const StoreManifest manifest = parse_manifest(text, "fuzz.json");
    const std::string written = write_manifest(manifest);
    REPREFILL_CHECK(write_manifest(parse_manifest(written, "written.json")) == written, "{} changed", written);
  } catch (const ConfigError& error) {
    REPREFILL_CHECK(std::string_view(error.what()).starts_with("fuzz.json"), "no place in '{}'", error.what());
  } catch (const MachineError& error) {
    REPREFILL_CHECK(std::string_view(error.what()).starts_with("fuzz.json"), "no place in '{}'", error.what());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  parse_block(bytes);
  // The checksum keeps a fuzzer out; with a right one the numbers behind it are reached.
  HeaderBlock block{};
  std::copy_n(bytes.begin(), std::min(size, block.size()), block.begin());
  seal_header(block);
  parse_block(block);
  parse_store_json({reinterpret_cast<const char*>(data), size});
  return 0;
}
