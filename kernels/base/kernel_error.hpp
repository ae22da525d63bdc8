// What launchers throw.
#pragma once

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

}  // namespace reprefill::kernels
