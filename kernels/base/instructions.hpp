// Which of the device's instructions for matrix products a kernel is built from.
#pragma once

namespace reprefill::kernels {

enum class Instructions {
  automatic,  // the fastest that the device has and the build contains
  mma_sync,   // of any device from compute capability 8.0 on
};

}  // namespace reprefill::kernels
