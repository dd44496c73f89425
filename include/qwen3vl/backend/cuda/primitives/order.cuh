/// Floats as integers in the same order: for choosing the largest, with a rule for equals and for NaN.
#pragma once

#include <cstdint>

#include "qwen3vl/backend/cuda/primitives/launch.cuh"

namespace qwen3vl::cuda {

/// Larger for larger x; equal for 0 and -0; 0 for NaN, below all others.
__device__ __forceinline__ std::uint32_t order_of(float x) {
  const std::uint32_t bits = __float_as_uint(x + 0.0f);  // -0 + 0 is 0
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0;
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

/// The float of an order (for 0: a NaN).
__device__ __forceinline__ float from_order(std::uint32_t order) {
  return __uint_as_float((order >> 31) != 0 ? order & 0x7fffffffu : ~order);
}

/// A score with its index as one number: the larger score is larger, the lower index among equals. Never 0.
__device__ __forceinline__ unsigned long long ranked(float score, std::uint32_t index) {
  return static_cast<unsigned long long>(order_of(score)) << 32 | (0xffffffffu - index);
}
__device__ __forceinline__ std::uint32_t index_of(unsigned long long rank) {
  return 0xffffffffu - static_cast<std::uint32_t>(rank);
}

}  // namespace qwen3vl::cuda
