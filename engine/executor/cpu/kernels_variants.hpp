// One declaration for each instruction set that is compiled.
#pragma once

namespace reprefill::engine {

struct Kernels;

const Kernels& avx512_kernels();
const Kernels& avx2_kernels();
const Kernels& portable_kernels();

}  // namespace reprefill::engine
