// The safetensors format: u64 header length, a JSON header {"name": {dtype, shape, data_offsets}}, then the data.
// Source: https://huggingface.co/docs/safetensors, "Format".
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/checkpoint.hpp"
#include "engine/checkpoint/mapped_file.hpp"

namespace reprefill::engine {

struct TensorEntry {
  std::string dtype;  // as in the header: "BF16"
  std::vector<std::int64_t> shape = {};
  std::span<const std::byte> data = {};
};
using TensorTable = std::map<std::string, TensorEntry>;

/// Checks all of the header before anything is used: its length, every offset, that tensors neither overlap nor leave
/// holes, that shape and dtype give the size. Throws ConfigError naming `origin` and the tensor. The data is not looked
/// at. Entries look into `file`.
TensorTable parse_safetensors(std::span<const std::byte> file, std::string_view origin);

/// Bytes of an element, or 0 for a dtype that this program does not know.
std::size_t dtype_bytes(std::string_view dtype);

/// model.safetensors, or the shards that model.safetensors.index.json names.
class SafetensorsFolder {
 public:
  static SafetensorsFolder open(const std::filesystem::path& folder);
  const TensorTable& tensors() const { return tensors_; }
  /// For messages: the file that holds a tensor.
  const std::string& file_of(const std::string& tensor) const { return files_of_.at(tensor); }
  const std::vector<MappedFile>& files() const { return files_; }

 private:
  void add_file(const std::filesystem::path& path);

  std::vector<MappedFile> files_;
  TensorTable tensors_;
  std::map<std::string, std::string> files_of_;
};

}  // namespace reprefill::engine
