/// Four e4m3 numbers of a word as two pairs of bf16, exactly: every e4m3 number is one of bf16.
///
/// A number's exponent and mantissa are moved to their bf16 positions, and a product with 2^120 corrects the bias;
/// subnormals become normal. Ten instructions for four numbers, and three more for NaN. The instruction of sm_89
/// (cvt.rn.f16x2.e4m3x2) gives f16, from which it takes as many again to bf16, at a quarter of the rate or less.
///
///   e4m3         s eeee mmm             bf16 / 2^120   s 0000eeee mmm0000
#pragma once

#include <cstdint>

#include "qwen3vl/backend/cuda/primitives/instructions.cuh"
#include "qwen3vl/tensor/dtype.hpp"

namespace qwen3vl::cuda {

/// A number of a matrix that has a scale for each row and each so many columns. Rows are in the order of f8_place.
struct F8InBlocks {
  f8_e4m3 q;
};
inline constexpr int f8_block_columns = 128;

/// Where column c of a row is kept. `paired` is the order of the tensor cores (tiles.cuh): in each 16 columns, a word
/// has 2 i, 2 i + 1, 2 i + 8 and 2 i + 9.
template <bool paired>
__host__ __device__ constexpr int f8_place(int c) {
  if constexpr (!paired) return c;
  return c / 16 * 16 + c % 8 / 2 * 4 + c % 16 / 8 * 2 + c % 2;
}

/// Numbers 0 and 1 in `low`, 2 and 3 in `high`; the first of each pair in its lower half.
struct Bf16Pairs {
  std::uint32_t low, high;
};

namespace detail {

/// Both halves of `pair` have an e4m3 in their upper byte.
__device__ __forceinline__ std::uint32_t widen_f8(std::uint32_t pair) {
  const std::uint32_t placed = (pair & 0x80008000u) | ((pair >> 4) & 0x07f007f0u);
  return multiply_bf16x2(placed, 0x7b807b80u);
}
/// The same, with NaN for NaN.
__device__ __forceinline__ std::uint32_t nan_f8(std::uint32_t widened, std::uint32_t pair) {
  if ((pair & 0x7f00u) == 0x7f00u) widened |= 0x7fc0u;
  if ((pair & 0x7f000000u) == 0x7f000000u) widened |= 0x7fc00000u;
  return widened;
}

}  // namespace detail

/// Of a word that f8_place made: the pair in the first half of its 16 columns (part 0), or in the second (1). NaN
/// becomes 480.
__device__ __forceinline__ std::uint32_t unpack_pair(std::uint32_t word, int part) {
  return detail::widen_f8(__byte_perm(word, 0, part == 0 ? 0x1404 : 0x3424));
}

/// Number 0 is in the lowest byte. Without `may_be_nan` (weights, see f8_rounding.cuh) NaN becomes 480.
template <bool may_be_nan = true>
__device__ __forceinline__ Bf16Pairs unpack_f8(std::uint32_t word) {
  const std::uint32_t first = __byte_perm(word, 0, 0x1404), second = __byte_perm(word, 0, 0x3424);
  Bf16Pairs pairs{detail::widen_f8(first), detail::widen_f8(second)};
  if (may_be_nan && (((word & 0x7f7f7f7fu) + 0x01010101u) & 0x80808080u) != 0)  // next to never
    pairs = {detail::nan_f8(pairs.low, first), detail::nan_f8(pairs.high, second)};
  return pairs;
}

}  // namespace qwen3vl::cuda
