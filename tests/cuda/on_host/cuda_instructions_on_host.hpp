/// The functions of qwen3vl/backend/cuda/primitives/instructions.cuh on the host; see there for what they do. Layouts
/// follow the PTX ISA (sections "ldmatrix", "Matrix Fragments for mma.m16n8k16" and "cp.async").
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <source_location>

#include "cuda_runtime.h"
#include "qwen3vl/tensor/dtype.hpp"

namespace cuda_on_host {

/// The tiles that the warp's lanes point to, as lane `running.thread` gets them.
void load_tiles(std::uint32_t (&r)[4], const void* row, bool transposed, std::source_location at);
void multiply_tiles(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], std::source_location at);
void begin_copy(void* to_shared, const void* from_global, std::size_t bytes, bool valid);
void commit_copies();
void wait_for_copies(int pending);
void take_turn();

}  // namespace cuda_on_host

namespace qwen3vl::cuda {

inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* row,
                        std::source_location at = std::source_location::current()) {
  cuda_on_host::load_tiles(r, row, false, at);
}
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row,
                              std::source_location at = std::source_location::current()) {
  cuda_on_host::load_tiles(r, row, true, at);
}
inline void mma_bf16_16x8x16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
                             std::source_location at = std::source_location::current()) {
  cuda_on_host::multiply_tiles(d, a, b, at);
}

inline void cp_async_16(void* to_shared, const void* from_global, bool valid = true) {
  cuda_on_host::begin_copy(to_shared, from_global, 16, valid);
}
inline void cp_async_8(void* to_shared, const void* from_global, bool valid = true) {
  cuda_on_host::begin_copy(to_shared, from_global, 8, valid);
}
inline void cp_async_commit() { cuda_on_host::commit_copies(); }
template <int Pending>
void cp_async_wait() {
  cuda_on_host::wait_for_copies(Pending);
}

inline std::uint32_t pack_bf16(float low, float high) {
  return bf16(low).bits | static_cast<std::uint32_t>(bf16(high).bits) << 16;
}
inline std::uint32_t multiply_bf16x2(std::uint32_t a, std::uint32_t b) {
  const auto half = [](std::uint32_t word, int shift) {
    bf16 value;
    value.bits = static_cast<std::uint16_t>(word >> shift);
    return static_cast<float>(value);
  };
  return pack_bf16(half(a, 0) * half(b, 0), half(a, 16) * half(b, 16));
}
inline float exp2_fast(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;  // NaN stays
}
inline void prefetch_l2(const void*) {}
inline void take_turn() { cuda_on_host::take_turn(); }
inline uint4 load_streaming(const void* from) { return *static_cast<const uint4*>(from); }

}  // namespace qwen3vl::cuda
