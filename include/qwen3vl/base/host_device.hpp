/// QWEN3VL_HOST_DEVICE: marks functions that CUDA kernels also call. Empty for compilers other than nvcc, so CPU-only
/// builds need no CUDA header.
#pragma once

#if defined(__CUDACC__)
#define QWEN3VL_HOST_DEVICE __host__ __device__
#else
#define QWEN3VL_HOST_DEVICE
#endif
