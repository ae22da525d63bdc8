// The CUDA stream handle for headers that compile without CUDA; the same declaration as the toolkit's.
#pragma once

struct CUstream_st;
using cudaStream_t = CUstream_st*;
