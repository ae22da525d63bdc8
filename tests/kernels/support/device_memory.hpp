// Memory that kernels under test read and write: a GPU's, or the CPU's where the device is emulated.
#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kernels/base/instructions.hpp"

namespace reprefill::kernels::test {

/// False where there is no GPU that can be used; tests skip then.
bool has_device();
/// Waits until all launches are done; fails the test on a device error.
void synchronize();

/// Runs `check` under every schedule that hardware may take: emulated, with threads in ascending and in random order,
/// and with asynchronous copies moving early and late; on a GPU once for each kind of instructions.
void for_each_schedule(const std::function<void()>& check);

/// What cases launch kernels with.
inline Instructions tested_instructions = Instructions::automatic;

class DeviceMemory {
 public:
  enum class Kind { device, pinned_host };
  DeviceMemory() = default;
  explicit DeviceMemory(std::size_t num_bytes, Kind kind = Kind::device);

  std::byte* get() const { return memory_.get(); }
  std::size_t num_bytes() const { return num_bytes_; }
  void write(const void* from, std::size_t num_bytes);
  void read(void* to, std::size_t num_bytes) const;
  /// Sets every byte: 0xff is NaN in every floating-point format.
  void fill(int byte);

 private:
  std::unique_ptr<std::byte[], std::function<void(std::byte*)>> memory_;
  std::size_t num_bytes_ = 0;
};

/// An array of T on the device. Exactly as large as asked for, so that reading past it is found.
template <typename T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(std::span<const T> values, DeviceMemory::Kind kind = DeviceMemory::Kind::device)
      : memory_(values.size_bytes(), kind), size_(values.size()) {
    memory_.write(values.data(), values.size_bytes());
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(std::span<const T>(values)) {}

  /// `size` elements that nobody has written: all bytes 0xff.
  static DeviceArray poisoned(std::size_t size) {
    DeviceArray array;
    array.memory_ = DeviceMemory(size * sizeof(T));
    array.memory_.fill(0xff);
    array.size_ = size;
    return array;
  }
  static DeviceArray zeroed(std::size_t size) {
    DeviceArray array = poisoned(size);
    array.memory_.fill(0);
    return array;
  }

  T* get() const { return size_ == 0 ? nullptr : reinterpret_cast<T*>(memory_.get()); }
  std::size_t size() const { return size_; }
  void poison() { memory_.fill(0xff); }
  std::vector<T> read() const {
    std::vector<T> values(size_);
    memory_.read(values.data(), size_ * sizeof(T));
    return values;
  }

 private:
  DeviceMemory memory_;
  std::size_t size_ = 0;
};

}  // namespace reprefill::kernels::test
