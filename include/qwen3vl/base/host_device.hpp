/// QWEN3VL_HOST_DEVICE: on a function that CUDA kernels call, too. Nothing for other compilers than nvcc, so that no
/// CUDA header is needed by those who use the CPU only.
#pragma once

#if defined(__CUDACC__)
#define QWEN3VL_HOST_DEVICE __host__ __device__
#else
#define QWEN3VL_HOST_DEVICE
#endif
