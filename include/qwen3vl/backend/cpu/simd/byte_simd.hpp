/// Products of bytes, for products of block weights with activations in 8 bits: four neighbouring ones are added into a
/// lane of 32 bits. Every path gives the same integers.
#pragma once

#include <bit>
#include <concepts>

#include "qwen3vl/backend/contract/precision.hpp"
#include "qwen3vl/backend/cpu/simd/integer_simd.hpp"

namespace qwen3vl {

/// Weights whose products round activations to bytes on this processor. Elsewhere bytes are no faster than 16-bit
/// integers, and products are those of q8 and q4, which are more exact. Two bytes in 16 bits hold products with nibbles
/// of a whole block, 16 * 15 * 127 < 2^15; with bytes each must be widened before it is added, as many operations as
/// 16-bit integers take. Tiles (AMX) would write each block's sums to memory to scale them.
template <class W>
concept ByteWeight =
    BlockDotWeight<W> && !simd::has_tiles && (simd::has_byte_dot || (simd::has_byte_pairs && std::same_as<W, q4_dot>));

#if QWEN3VL_HAS_BYTE_PAIRS

namespace simd {

/// The sum over 32 columns (eight vectors of four bytes per lane) of weights times activations. Activations are in
/// [-127, 127]. Weights are in [0, 15] if `nibbles`, else in [-127, 127].
///   prepared(w)     the operand for a vector of weights
///   start(x_sum)    a sum of nothing; `x_sum`: -128 times the sum of the row's activations
///   add(sum, w, x)  adds a prepared vector of weights times the row's four activations in every lane
///   total(sum)
/// The instructions take weights as unsigned: those in [-127, 127] are multiplied as w + 128, from -128 times the sum
/// of the activations on.
template <bool nibbles>
struct ByteProducts {
  static_assert(has_byte_dot || nibbles);
  using Sum = std::conditional_t<has_byte_dot, Ints, Shorts>;

  static QWEN3VL_INLINE UInts prepared(UInts w) {
    if constexpr (nibbles) return w;
    return w ^ 0x80808080u;
  }
  static QWEN3VL_INLINE Sum start(std::int32_t x_sum) {
    if constexpr (nibbles) return Sum{};
    return reinterpret_cast<Sum>(splat_int(x_sum));
  }
#if QWEN3VL_HAS_BYTE_DOT
  static QWEN3VL_INLINE Sum add(Sum sum, UInts w, UInts x) {
#if defined(__AVX512F__)
    return reinterpret_cast<Ints>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(w),
                                                      reinterpret_cast<__m512i>(x)));
#else
    return reinterpret_cast<Ints>(_mm256_dpbusd_avx_epi32(reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(w),
                                                          reinterpret_cast<__m256i>(x)));
#endif
  }
  static QWEN3VL_INLINE Ints total(Sum sum) { return sum; }
#else
  static QWEN3VL_INLINE Sum add(Sum sum, UInts w, UInts x) {
#if defined(__AVX512F__)
    return sum +
           reinterpret_cast<Shorts>(_mm512_maddubs_epi16(reinterpret_cast<__m512i>(w), reinterpret_cast<__m512i>(x)));
#else
    return sum +
           reinterpret_cast<Shorts>(_mm256_maddubs_epi16(reinterpret_cast<__m256i>(w), reinterpret_cast<__m256i>(x)));
#endif
  }
  static QWEN3VL_INLINE Ints total(Sum sum) { return dot_pairs(Ints{}, sum, splat_pair(0x00010001)); }
#endif
};

QWEN3VL_INLINE Ints max(Ints a, Ints b) { return a > b ? a : b; }
QWEN3VL_INLINE std::int32_t largest(Ints v) {
  return std::bit_cast<std::int32_t>(detail::fold(
      reinterpret_cast<Floats>(v), [](Floats a, Floats b) __attribute__((always_inline)) {
        return reinterpret_cast<Floats>(max(reinterpret_cast<Ints>(a), reinterpret_cast<Ints>(b)));
      }));
}

typedef std::int8_t SixteenBytes __attribute__((vector_size(16)));

/// 16 integers in [-128, 127] as bytes, in order.
QWEN3VL_INLINE SixteenBytes to_bytes(const Ints (&v)[16 / width]) {
#if defined(__AVX512F__)
  return reinterpret_cast<SixteenBytes>(_mm512_maskz_cvtepi32_epi8(0xffff, reinterpret_cast<__m512i>(v[0])));
#else
  const __m256i shorts = _mm256_packs_epi32(reinterpret_cast<__m256i>(v[0]), reinterpret_cast<__m256i>(v[1]));
  const __m256i in_order = _mm256_permute4x64_epi64(shorts, 0xd8);  // each half had four of each
  return reinterpret_cast<SixteenBytes>(
      _mm_packs_epi16(_mm256_castsi256_si128(in_order), _mm256_extracti128_si256(in_order, 1)));
#endif
}
/// Byte i of the result is byte From::lane(i).
template <class From>
QWEN3VL_INLINE SixteenBytes shuffled(SixteenBytes v, From) {
  return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(v, v, From::lane(I)...);
#else
    return __builtin_shuffle(v, SixteenBytes{From::lane(I)...});
#endif
  }
  (std::make_integer_sequence<int, 16>{});
}

}  // namespace simd

#endif

}  // namespace qwen3vl
