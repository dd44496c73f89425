/// The program's backend, chosen by the build. qwen3vl_cuda.cu defines QWEN3VL_PROGRAM_CUDA and is compiled by nvcc;
/// without it no CUDA header is included.
#pragma once

#include <type_traits>

#if defined(QWEN3VL_PROGRAM_CUDA)
#include "qwen3vl/backend/cuda.cuh"
#else
#include "qwen3vl/backend/cpu.hpp"
#endif

namespace program {

#if defined(QWEN3VL_PROGRAM_CUDA)
inline constexpr bool on_device = true;
using ProgramBackend = qwen3vl::Cuda;
#ifndef QWEN3VL_CUDA_KV
#define QWEN3VL_CUDA_KV qwen3vl::bf16
#endif
/// On a device keys and values are in bf16 (or, if the build says so, f8_e4m3) where activations are: its attention
/// kernels are made for that.
template <class P>
using ProgramPrecision =
    std::conditional_t<std::is_same_v<typename P::Weight, float>, P, qwen3vl::WithKv<P, QWEN3VL_CUDA_KV>>;
inline constexpr const char* backend_name = "CUDA";
#else
inline constexpr bool on_device = false;
using ProgramBackend = qwen3vl::Cpu;
template <class P>
using ProgramPrecision = P;
inline constexpr const char* backend_name = qwen3vl::simd::isa;
#endif

}  // namespace program
