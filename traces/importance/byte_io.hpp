// Little-endian reading and writing of importance trace records.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/base/error.hpp"

namespace reprefill::traces::detail {

static_assert(std::endian::native == std::endian::little, "importance traces are copied, not swapped");

/// Out of line: inlined, g++ 12 warns of an overflow in it that is not there (-Wstringop-overflow).
void append_bytes(std::vector<std::byte>& bytes, const void* first, std::size_t num_bytes);

template <typename T>
void append(std::vector<std::byte>& bytes, const T& value) {
  static_assert(std::is_arithmetic_v<T>);
  append_bytes(bytes, &value, sizeof(T));
}

template <typename T>
void append_all(std::vector<std::byte>& bytes, std::span<const T> values) {
  append_bytes(bytes, values.data(), values.size_bytes());
}

/// The i-th T of an array that need not be aligned.
template <typename T>
T load(std::span<const std::byte> bytes, std::size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

/// Takes fields off the front of a record; running out is damage, never undefined behaviour.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, const std::string& place) : left_(bytes), place_(place) {}

  std::span<const std::byte> take(std::uint64_t count, std::uint64_t element_bytes = 1) {
    if (count > left_.size() / element_bytes) {
      fail(fmt::format("{} elements of {} bytes expected, {} bytes left", count, element_bytes, left_.size()));
    }
    const auto taken = left_.first(static_cast<std::size_t>(count * element_bytes));
    left_ = left_.subspan(taken.size());
    return taken;
  }
  template <typename T>
  T value() {
    return load<T>(take(1, sizeof(T)), 0);
  }
  void expect_end() const {
    if (!left_.empty()) fail(fmt::format("{} bytes more than its fields", left_.size()));
  }
  [[noreturn]] void fail(std::string_view what) const { throw ConfigError(fmt::format("{}: {}", place_, what)); }

 private:
  std::span<const std::byte> left_;
  const std::string& place_;
};

}  // namespace reprefill::traces::detail
