/// Vectors of integers for products of block weights: pairs of 16-bit numbers multiplied and added into 32 bits. Uses
/// intrinsics, because the vector extensions lack that instruction. Every path gives the same bits.
#pragma once

#include <cmath>

#include "qwen3vl/backend/cpu/simd/simd.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace qwen3vl::simd {

/// Two neighbouring lanes of Shorts are the pair of one lane of Ints.
typedef std::int16_t Shorts __attribute__((vector_size(width * 4)));
typedef std::uint16_t UShorts __attribute__((vector_size(width * 4)));
typedef std::int16_t HalfShorts __attribute__((vector_size(width * 2)));
typedef std::uint8_t Bytes __attribute__((vector_size(width)));
typedef std::int8_t SBytes __attribute__((vector_size(width)));

/// How dot_pairs and to_nearest are implemented, for reports.
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
inline constexpr const char* integer_isa = "AVX-512 VNNI";
#elif defined(__AVX512F__) && defined(__AVX512BW__)
inline constexpr const char* integer_isa = "AVX-512BW";
#elif defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)
inline constexpr const char* integer_isa = "AVX-VNNI";
#elif defined(__AVX2__) && defined(__FMA__)
inline constexpr const char* integer_isa = "AVX2";
#elif defined(__SSE2__)
inline constexpr const char* integer_isa = "SSE2";
#else
inline constexpr const char* integer_isa = "portable";
#endif

QWEN3VL_INLINE Shorts load_shorts(const void* p) {
  Shorts v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
/// `pair`, two 16-bit numbers, in every lane.
QWEN3VL_INLINE Shorts splat_pair(std::int32_t pair) {
  return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    return reinterpret_cast<Shorts>(Ints{((void)I, pair)...});
  }
  (std::make_integer_sequence<int, width>{});
}
QWEN3VL_INLINE UInts splat_int(std::int32_t value) { return reinterpret_cast<UInts>(splat_pair(value)); }
/// The same 16-bit number in both halves of each lane; the value must fit.
QWEN3VL_INLINE Shorts both_halves(Ints v) { return reinterpret_cast<Shorts>((v & 0xffff) | (v << 16)); }

/// dot_pairs in portable terms: sum + a[2i] b[2i] + a[2i + 1] b[2i + 1] in lane i, modulo 2^32.
QWEN3VL_INLINE Ints dot_pairs_portable(Ints sum, Shorts a, Shorts b) {
  const Ints x = reinterpret_cast<Ints>(a), y = reinterpret_cast<Ints>(b);
  const Ints low = ((x << 16) >> 16) * ((y << 16) >> 16), high = (x >> 16) * (y >> 16);
  return reinterpret_cast<Ints>(reinterpret_cast<UInts>(sum) + reinterpret_cast<UInts>(low) +
                                reinterpret_cast<UInts>(high));
}

QWEN3VL_INLINE Ints dot_pairs(Ints sum, Shorts a, Shorts b) {
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
  return reinterpret_cast<Ints>(
      _mm512_dpwssd_epi32(reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX512F__) && defined(__AVX512BW__)
  return reinterpret_cast<Ints>(_mm512_add_epi32(
      reinterpret_cast<__m512i>(sum), _mm512_madd_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b))));
#elif defined(__AVX512F__)
  return dot_pairs_portable(sum, a, b);
#elif defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)
  return reinterpret_cast<Ints>(_mm256_dpwssd_avx_epi32(reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(a),
                                                        reinterpret_cast<__m256i>(b)));
#elif defined(__AVX2__) && defined(__FMA__)
  return reinterpret_cast<Ints>(_mm256_add_epi32(
      reinterpret_cast<__m256i>(sum), _mm256_madd_epi16(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b))));
#elif defined(__SSE2__)
  return reinterpret_cast<Ints>(_mm_add_epi32(
      reinterpret_cast<__m128i>(sum), _mm_madd_epi16(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b))));
#else
  return dot_pairs_portable(sum, a, b);
#endif
}

/// The nearest integers, ties to even; |v| < 2^31.
QWEN3VL_INLINE Ints to_nearest(Floats v) {
#if defined(__AVX512F__)
  return reinterpret_cast<Ints>(_mm512_maskz_cvtps_epi32(0xffff, reinterpret_cast<__m512>(v)));
#elif defined(__AVX2__) && defined(__FMA__)
  return reinterpret_cast<Ints>(_mm256_cvtps_epi32(reinterpret_cast<__m256>(v)));
#elif defined(__SSE2__)
  return reinterpret_cast<Ints>(_mm_cvtps_epi32(reinterpret_cast<__m128>(v)));
#else
  Ints n;
  for (int i = 0; i < width; ++i) n[i] = static_cast<std::int32_t>(std::nearbyint(v[i]));
  return n;
#endif
}
/// Widened bytes; otherwise GCC 12 extracts them one by one. (Masked forms: in the others it warns about its own
/// headers.)
QWEN3VL_INLINE Ints widen(Bytes v) {
#if defined(__AVX512F__)
  return reinterpret_cast<Ints>(_mm512_maskz_cvtepu8_epi32(0xffff, reinterpret_cast<__m128i>(v)));
#elif defined(__AVX2__) && defined(__FMA__)
  return reinterpret_cast<Ints>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&v))));
#else
  return __builtin_convertvector(v, Ints);
#endif
}
QWEN3VL_INLINE Ints widen(SBytes v) {
#if defined(__AVX512F__)
  return reinterpret_cast<Ints>(_mm512_maskz_cvtepi8_epi32(0xffff, reinterpret_cast<__m128i>(v)));
#elif defined(__AVX2__) && defined(__FMA__)
  return reinterpret_cast<Ints>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&v))));
#else
  return __builtin_convertvector(v, Ints);
#endif
}
QWEN3VL_INLINE Floats to_floats(Ints v) { return __builtin_convertvector(v, Floats); }

}  // namespace qwen3vl::simd
