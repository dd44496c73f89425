/// Dot products of bf16 by the processor (AVX-512 BF16): two columns in one instruction, twice as many multiply-adds as
/// in f32. Without the instruction, weights of type bf16_dot are stored and multiplied as bf16.
#pragma once

#include <cstdint>
#include <cstring>

#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/cpu/simd/simd.hpp"

namespace qwen3vl {
namespace simd {

#if QWEN3VL_HAS_BF16_DOT
/// sum + a[2i] b[2i] + a[2i + 1] b[2i + 1] in lane i, of 32 bf16 each; `pair` is in every lane of a. The processor
/// rounds after each of the two, to nearest even, and takes subnormal numbers as zero (as AVX-512 BF16 always does).
QWEN3VL_INLINE Floats dot_bf16_pairs(Floats sum, std::int32_t pair, const bf16* b) {
  return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)_mm512_loadu_si512(b));
}

/// `width` floats as bf16, rounded to nearest even.
QWEN3VL_INLINE void round_to_bf16(const float* from, std::uint16_t* to) {
  const __m256bh rounded = _mm512_cvtneps_pbh((__m512)load(from));
  std::memcpy(to, &rounded, sizeof rounded);
}

/// A square of `width` x `width` words of 32 bits, transposed; rows are `from_stride` and `to_stride` bytes apart.
inline void transpose_words(const void* from, std::ptrdiff_t from_stride, void* to, std::ptrdiff_t to_stride) {
  Floats square[width];
  unroll<width>(
      [&](auto i) { std::memcpy(&square[i], static_cast<const char*>(from) + i * from_stride, sizeof(Floats)); });
  transpose(square);
  unroll<width>([&](auto i) { std::memcpy(static_cast<char*>(to) + i * to_stride, &square[i], sizeof(Floats)); });
}
#endif

}  // namespace simd

namespace cpu_kernels {
/// Weights stored in pairs of columns. With AMX these are all bf16 weights: AMX is so much faster than vectors that
/// products with f32 activations are also composed of bf16 products (tile_product.hpp).
template <class W>
concept PairWeight = (simd::has_bf16_dot && std::same_as<W, bf16_dot>) || (simd::has_tiles && std::same_as<W, bf16>);
/// Pairs are padded with zeros to a multiple of this, the rows of an AMX tile.
inline constexpr int pair_granule = simd::has_tiles ? 16 : 1;
}  // namespace cpu_kernels

}  // namespace qwen3vl
