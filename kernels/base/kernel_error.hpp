// What launchers throw.
#pragma once

#include <fmt/format.h>

#include "core/base/error.hpp"

namespace reprefill::kernels {

/// A launcher was called with shapes or pointers that its contract excludes: a bug of the caller.
class ShapeError : public InvariantError {
 public:
  using InvariantError::InvariantError;
};

/// A CUDA call failed. The message has the call, the error's name and its text.
class CudaError : public MachineError {
 public:
  using MachineError::MachineError;
};

/// Checks a launcher's argument. The message is a fmt format string; the values that matter follow it.
template <typename... Args>
void check_shape(bool holds, fmt::format_string<Args...> message, Args&&... args) {
  if (!holds) throw ShapeError(fmt::format(message, std::forward<Args>(args)...));
}

}  // namespace reprefill::kernels
