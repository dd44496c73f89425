/// The backend of bench-model, chosen by the build. Units that define QWEN3VL_BENCH_CUDA are compiled by nvcc; without
/// it no CUDA header is included.
#pragma once

#include <cstddef>
#include <type_traits>

#if defined(QWEN3VL_BENCH_CUDA)
#include "qwen3vl/backend/cuda.cuh"
#else
#include "qwen3vl/backend/cpu.hpp"
#endif

namespace qwen3vl::bench {

#if defined(QWEN3VL_BENCH_CUDA)
inline constexpr bool on_device = true;
using ModelBackend = Cuda;
#ifndef QWEN3VL_CUDA_KV
#define QWEN3VL_CUDA_KV qwen3vl::bf16
#endif
/// As the program keeps its cache on a device (examples/program/backend.hpp).
template <class P>
using ModelPrecision = std::conditional_t<std::is_same_v<typename P::Weight, float>, P, WithKv<P, QWEN3VL_CUDA_KV>>;

inline ModelBackend make_backend(int /*threads*/, int device) { return ModelBackend(device); }
inline double device_bytes_in_use() {
  std::size_t available = 0, total = 0;
  cuda::check(cudaMemGetInfo(&available, &total), "asking how much device memory is free");
  return static_cast<double>(total - available);
}
#else
inline constexpr bool on_device = false;
using ModelBackend = Cpu;
template <class P>
using ModelPrecision = P;

inline ModelBackend make_backend(int threads, int /*device*/) { return ModelBackend(threads); }
inline double device_bytes_in_use() { return 0.0; }
#endif

}  // namespace qwen3vl::bench
