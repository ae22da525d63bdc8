// Checks of launchers' arguments and of CUDA calls. No formatting library here: nvcc 13.0 cannot compile fmt 9 as
// C++20.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>

namespace reprefill::kernels {

/// A value in a message: an integer or a floating-point number.
struct MessageValue {
  template <std::integral T>
  MessageValue(T value)
      : is_integer(true), integer(static_cast<std::int64_t>(value)) {}  // implicit: call sites list values
  template <std::floating_point T>
  MessageValue(T value) : real(static_cast<double>(value)) {}

  bool is_integer = false;
  std::int64_t integer = 0;
  double real = 0;
};

namespace detail {
[[noreturn]] void throw_shape_error(const char* format, std::initializer_list<MessageValue> values);
[[noreturn]] void throw_cuda_error(const char* call, const char* name, const char* text, const char* file, int line);
}  // namespace detail

/// Throws ShapeError unless `holds`. Each {} of `format` takes the next value.
template <typename... Values>
void check_shape(bool holds, const char* format, Values... values) {
  if (!holds) [[unlikely]]
    detail::throw_shape_error(format, {MessageValue(values)...});
}

}  // namespace reprefill::kernels
