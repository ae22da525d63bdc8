#include "engine/checkpoint/safetensors.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "core/base/files.hpp"
#include "core/base/json.hpp"

namespace reprefill::engine {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own library

struct Range {
  std::uint64_t begin, end;
  const std::string* name;
};

[[noreturn]] void refuse(std::string_view origin, const std::string& what) {
  throw ConfigError(fmt::format("{}: {}", origin, what));
}

std::string_view header_text(std::span<const std::byte> file, std::string_view origin) {
  std::uint64_t length = 0;
  if (file.size() < sizeof length)
    refuse(origin, fmt::format("{} bytes are too few for a safetensors file", file.size()));
  std::memcpy(&length, file.data(), sizeof length);
  static_assert(std::endian::native == std::endian::little, "the format is little-endian");
  if (length > kMaxHeaderBytes || length > file.size() - sizeof length) {
    refuse(origin, fmt::format("the header claims {} bytes; the file has {} after its length (limit {})", length,
                               file.size() - sizeof length, kMaxHeaderBytes));
  }
  return {reinterpret_cast<const char*>(file.data()) + sizeof length, length};
}

std::uint64_t bytes_of_shape(const JsonValue& tensor, const std::vector<std::int64_t>& shape, std::size_t element) {
  std::uint64_t bytes = element;
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes)) {
      tensor.key("shape").fail("its size in bytes is beyond 64 bits");
    }
  }
  return bytes;
}

TensorEntry read_entry(const JsonValue& tensor, std::span<const std::byte> data, Range& range) {
  tensor.require_object().refuse_unknown_keys({"dtype", "shape", "data_offsets"});
  TensorEntry entry{.dtype = tensor.key("dtype").as_string()};
  const std::size_t element = dtype_bytes(entry.dtype);
  if (element == 0) tensor.key("dtype").fail(fmt::format("unknown dtype \"{}\"", entry.dtype));
  constexpr std::int64_t kMaxExtent = std::int64_t{1} << 48;
  const JsonValue shape = tensor.key("shape").require_array();
  for (std::size_t i = 0; i < shape.json().size(); ++i) {
    entry.shape.push_back(shape.element(i).as_integer(0, kMaxExtent, "elements"));
  }
  const JsonValue offsets = tensor.key("data_offsets").require_array();
  if (offsets.json().size() != 2) offsets.fail_expected("[begin, end]");
  const auto limit = static_cast<std::int64_t>(data.size());
  range.begin = static_cast<std::uint64_t>(offsets.element(0).as_integer(0, limit, "bytes of data"));
  range.end = static_cast<std::uint64_t>(
      offsets.element(1).as_integer(static_cast<std::int64_t>(range.begin), limit, "bytes of data"));
  const std::uint64_t bytes = bytes_of_shape(tensor, entry.shape, element);
  if (range.end - range.begin != bytes) {
    offsets.fail(fmt::format("{} bytes; dtype and shape need {}", range.end - range.begin, bytes));
  }
  entry.data = data.subspan(range.begin, bytes);
  if (bytes > 0 && reinterpret_cast<std::uintptr_t>(entry.data.data()) % element != 0) {
    offsets.fail(fmt::format("not aligned to its elements of {} bytes", element));
  }
  return entry;
}

/// Tensors follow each other without holes, from the first byte to the last.
void check_ranges(std::vector<Range> ranges, std::uint64_t data_bytes, std::string_view origin) {
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t end = 0;
  for (const Range& range : ranges) {
    if (range.begin < end) refuse(origin, fmt::format("{}: overlaps the tensor before it", *range.name));
    if (range.begin > end) {
      refuse(origin, fmt::format("{}: {} bytes before it belong to no tensor", *range.name, range.begin - end));
    }
    end = range.end;
  }
  if (end != data_bytes) refuse(origin, fmt::format("{} bytes at the end belong to no tensor", data_bytes - end));
}

}  // namespace

std::size_t dtype_bytes(std::string_view dtype) {
  static constexpr std::pair<std::string_view, std::size_t> kTypes[] = {
      {"F64", 8}, {"I64", 8}, {"U64", 8}, {"F32", 4},     {"I32", 4},     {"U32", 4}, {"BF16", 2}, {"F16", 2},
      {"I16", 2}, {"U16", 2}, {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"U8", 1},  {"BOOL", 1}};
  for (const auto& [name, bytes] : kTypes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

TensorTable parse_safetensors(std::span<const std::byte> file, std::string_view origin) {
  const std::string_view text = header_text(file, origin);
  const std::span<const std::byte> data = file.subspan(sizeof(std::uint64_t) + text.size());
  const std::string place = fmt::format("{}: header", origin);
  const Json header = parse_json(text, place);
  const JsonValue root(header, place);
  root.require_object();
  TensorTable tensors;
  std::vector<Range> ranges;
  for (const auto& [name, unused] : header.items()) {
    if (name == "__metadata__") continue;
    Range range{};
    TensorEntry entry = read_entry(root.key(name), data, range);
    const auto inserted = tensors.emplace(name, std::move(entry)).first;
    range.name = &inserted->first;
    ranges.push_back(range);
  }
  check_ranges(std::move(ranges), data.size(), origin);
  return tensors;
}

void SafetensorsFolder::add_file(const std::filesystem::path& path) {
  files_.emplace_back(path);
  for (auto& [name, entry] : parse_safetensors(files_.back().bytes(), path.string())) {
    if (!tensors_.emplace(name, entry).second) {
      refuse(path.string(), fmt::format("{}: {} holds this tensor too", name, files_of_.at(name)));
    }
    files_of_[name] = path.string();
  }
}

SafetensorsFolder SafetensorsFolder::open(const std::filesystem::path& folder) {
  SafetensorsFolder opened;
  const std::filesystem::path index_path = folder / "model.safetensors.index.json";
  if (!path_exists(index_path)) {
    const std::filesystem::path single = folder / "model.safetensors";
    if (!path_exists(single)) {
      refuse(folder.string(), "neither model.safetensors nor model.safetensors.index.json is there");
    }
    opened.add_file(single);
    return opened;
  }
  const Json json = read_json_file(index_path);
  const JsonValue map = JsonValue(json, index_path.string()).key("weight_map");
  map.require_object();
  std::set<std::string> shards;
  for (const auto& [name, unused] : map.json().items()) {
    const std::string shard = map.key(name).as_string();
    if (shard.empty() || shard.find('/') != std::string::npos || shard.starts_with(".")) {
      map.key(name).fail(fmt::format("found \"{}\"; expected the name of a file beside the index", shard));
    }
    shards.insert(shard);
  }
  for (const std::string& shard : shards) {
    if (!path_exists(folder / shard)) {
      refuse(index_path.string(), fmt::format("names the shard {}, which is not there", shard));
    }
    opened.add_file(folder / shard);
  }
  for (const auto& [name, unused] : map.json().items()) {
    const std::string expected = (folder / map.key(name).as_string()).string();
    const auto found = opened.files_of_.find(name);
    if (found == opened.files_of_.end()) map.key(name).fail("the shard does not hold this tensor");
    if (found->second != expected) map.key(name).fail(fmt::format("the tensor is in {}", found->second));
  }
  for (const auto& [name, file] : opened.files_of_) {
    if (!map.has(name)) refuse(file, fmt::format("{}: the index does not name this tensor", name));
  }
  return opened;
}

}  // namespace reprefill::engine
