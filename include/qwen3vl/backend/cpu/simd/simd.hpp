/// Vectors of floats in the width of the target's instruction set, from one source: AVX-512, AVX2 with FMA, or the
/// portable 16-byte width that every compiler target has. GCC's and Clang's vector extensions; intrinsics only for f16,
/// for non-temporal stores, and where GCC emits several instructions instead of one (here and in integer_simd.hpp). The
/// width is chosen by the flags of the translation unit, so all units of a program must be compiled with the same
/// flags.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "qwen3vl/backend/cpu/simd/instruction_set.hpp"
#include "qwen3vl/tensor/dtype.hpp"

#if defined(__F16C__) || (defined(__AVX2__) && defined(__FMA__))
#include <immintrin.h>
#elif defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace qwen3vl::simd {

#define QWEN3VL_INLINE inline __attribute__((always_inline))
/// For functions around inner loops: everything they call is inlined, including lambdas. Without it, in a large program
/// the compiler stops inlining somewhere, accumulators go through memory, and products run at a third of their speed.
#define QWEN3VL_KERNEL __attribute__((flatten))

typedef float Floats __attribute__((vector_size(width * 4)));
typedef std::int32_t Ints __attribute__((vector_size(width * 4)));
typedef std::uint32_t UInts __attribute__((vector_size(width * 4)));
typedef std::uint16_t Halves __attribute__((vector_size(width * 2)));

/// Calls f(constant 0), ..., f(constant N - 1) without a loop, so that arrays indexed by it stay in registers.
template <int N, class F>
QWEN3VL_INLINE void unroll(F&& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, I>{}), ...);
  }
  (std::make_integer_sequence<int, N>{});
}

/// `value` in every lane. Written as a list, because `Floats{} + value` is an addition (it keeps the sign of zero).
QWEN3VL_INLINE Floats splat(float value) {
  return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    return Floats{((void)I, value)...};
  }
  (std::make_integer_sequence<int, width>{});
}
QWEN3VL_INLINE Floats load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
/// bf16 widened to float, exactly.
QWEN3VL_INLINE Floats load(const bf16* p) {
  // GCC 12 widens each half separately and combines them: five instructions that slow down decoding.
#if defined(__AVX512F__)
  const auto wide = reinterpret_cast<UInts>(
      _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__AVX2__) && defined(__FMA__)
  const auto wide =
      reinterpret_cast<UInts>(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
  Halves h;
  std::memcpy(&h, p, sizeof h);
  const UInts wide = __builtin_convertvector(h, UInts);
#endif
  return reinterpret_cast<Floats>(wide << 16);
}
/// f16 widened to float, exactly.
QWEN3VL_INLINE Floats load(const f16* p) {
#if defined(__AVX512F__)
  // The masked forms: in the others GCC 12 warns about its own header.
  return (Floats)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__F16C__) && defined(__AVX2__) && defined(__FMA__)
  return (Floats)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  Halves h;
  std::memcpy(&h, p, sizeof h);
  const UInts u = __builtin_convertvector(h, UInts);
  const UInts magnitude = u & 0x7fffu;
  // As in f16's own conversion: the multiplication by 2^112 moves the exponent and makes subnormals normal, exactly.
  const UInts finite = reinterpret_cast<UInts>(reinterpret_cast<Floats>(magnitude << 13) * 0x1p112f);
  const UInts special = (magnitude << 13) | 0x7f800000u;  // infinities and NaN
  return reinterpret_cast<Floats>(((u & 0x8000u) << 16) | (magnitude >= 0x7c00u ? special : finite));
#endif
}
/// The first N numbers at p, zero in the other lanes; nothing beyond them is read.
template <int N, class T>
QWEN3VL_INLINE Floats load_first(const T* p) {
  T part[width] = {};
  std::memcpy(static_cast<void*>(part), p, N * sizeof(T));
  return load(part);
}
QWEN3VL_INLINE void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
/// Rounds to nearest even, as the types' own conversions.
QWEN3VL_INLINE void store(bf16* p, Floats v) {
  const UInts u = reinterpret_cast<UInts>(v);
  const UInts rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const UInts bits = v == v ? rounded : (u >> 16) | 0x40u;  // NOLINT(misc-redundant-expression): NaN stays NaN
  const Halves h = __builtin_convertvector(bits, Halves);
  std::memcpy(static_cast<void*>(p), &h, sizeof h);
}
QWEN3VL_INLINE void store(f16* p, Floats v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_maskz_cvtps_ph(0xffff, (__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__) && defined(__AVX2__) && defined(__FMA__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
  for (int i = 0; i < width; ++i) p[i] = f16(v[i]);
#endif
}
/// to[i] = from[i] for N numbers, in the type of `to`; one of the two types is float.
template <std::ptrdiff_t N, class T, class U>
QWEN3VL_INLINE void convert(const T* from, U* to) {
  constexpr std::ptrdiff_t whole = N / width * width;
  for (std::ptrdiff_t i = 0; i < whole; i += width) store(to + i, load(from + i));
  if constexpr (whole < N)
    for (std::ptrdiff_t i = whole; i < N; ++i) to[i] = static_cast<U>(from[i]);
}

QWEN3VL_INLINE Floats max(Floats a, Floats b) { return a > b ? a : b; }
QWEN3VL_INLINE Floats min(Floats a, Floats b) { return a < b ? a : b; }

namespace detail {

/// Lane i of the result is lane From(i) of a and b behind one another.
template <class From>
QWEN3VL_INLINE Floats shuffle(Floats a, Floats b, From) {
  return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, From::lane(I)...);
#else
    return __builtin_shuffle(a, b, Ints{From::lane(I)...});
#endif
  }
  (std::make_integer_sequence<int, width>{});
}
/// Lanes turned by Step.
template <int Step>
struct Turned {
  static constexpr int lane(int i) { return (i + Step) % width; }
};
/// Of every run of 2 * Step lanes the first half (or the second, if Upper): a's, then b's in its place.
template <int Step, bool Upper>
struct Halved {
  static constexpr int lane(int i) {
    const int run = i / (2 * Step) * (2 * Step), inside = i % (2 * Step);
    return run + (Upper ? Step : 0) + (inside < Step ? inside : width + inside - Step);
  }
};

/// op over all lanes, pairwise, so that a sum's error does not grow with the width.
template <int Step = width / 2, class Op>
QWEN3VL_INLINE float fold(Floats v, Op op) {
  if constexpr (Step == 0) {
    return v[0];
  } else {
    return fold<Step / 2>(op(v, shuffle(v, v, Turned<Step>{})), op);
  }
}

template <int Step>
QWEN3VL_INLINE Floats lane_sums(const Floats* v) {
  // Vector i and vector i + Step become one: their upper and lower halves added, side by side.
  if constexpr (Step == 0) {
    return v[0];
  } else {
    Floats pairs[Step];
    unroll<Step>([&](auto i) {
      pairs[i] = shuffle(v[i], v[i + Step], Halved<Step, false>{}) + shuffle(v[i], v[i + Step], Halved<Step, true>{});
    });
    return lane_sums<Step / 2>(pairs);
  }
}

}  // namespace detail

QWEN3VL_INLINE float sum(Floats v) {
  return detail::fold(
      v, [](Floats a, Floats b) __attribute__((always_inline)) { return a + b; });
}
QWEN3VL_INLINE float largest(Floats v) {
  return detail::fold(
      v, [](Floats a, Floats b) __attribute__((always_inline)) { return max(a, b); });
}
/// Lane i of the result is the sum of the lanes of v[i], `width` vectors: a third of the shuffles of as many sums.
QWEN3VL_INLINE Floats lane_sums(const Floats* v) { return detail::lane_sums<width / 2>(v); }

/// e^x within 2 units in the last place for x in [-87, 88]; infinity above, 0 below -87.7. NaN stays NaN. The range is
/// reduced to |r| <= ln 2 / 2, where a polynomial of degree 6 has a relative error below 1e-8 (Cephes' expf).
QWEN3VL_INLINE Floats exp(Floats x) {
  // In this order NaN propagates. At -88 the exponent's bits are 0, and so is 2^n.
  const Floats clamped = max(splat(-88.0f), min(splat(88.0f), x));
  // 1.5 * 2^23 plus the exponent's bias: added, it rounds to an integer, and the lowest bits are the exponent of 2^n.
  const Floats magic = splat(12582912.0f + 127.0f);
  const Floats shifted = clamped * 1.44269504088896341f + magic;
  const Floats n = shifted - magic;
  Floats r = clamped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Floats p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const Floats y = p * reinterpret_cast<Floats>(reinterpret_cast<UInts>(shifted) << 23);
  return x > splat(88.0f) ? splat(__builtin_inff()) : y;
}

/// 2^x for x <= 0 within 2 units in the last place, as softmax needs it; 2^-126 below -126, which vanishes beside the
/// largest weight, 1. NaN stays NaN. 2^r, |r| <= 1/2, is a polynomial of degree 6 with a relative error below 1e-8
/// (Cephes' exp2f).
QWEN3VL_INLINE Floats exp2_negative(Floats x) {
  x = max(splat(-126.0f), x);  // in this order NaN propagates
  // 1.5 * 2^23 plus the exponent's bias: added, it rounds to an integer, and the lowest bits are the exponent of 2^n.
  const Floats magic = splat(12582912.0f + 127.0f);
  const Floats shifted = x + magic;
  const Floats r = x - (shifted - magic);
  Floats p = splat(1.535336188319500e-4f);
  p = p * r + 1.339887440266574e-3f;
  p = p * r + 9.618437357674640e-3f;
  p = p * r + 5.550332471162809e-2f;
  p = p * r + 2.402264791363012e-1f;
  p = p * r + 6.931472028550421e-1f;
  p = p * r + 1.0f;
  return p * reinterpret_cast<Floats>(reinterpret_cast<UInts>(shifted) << 23);
}

namespace detail {
/// Of every four lanes the lower (or upper) two of a and b, lane by lane in turn.
template <bool Upper>
struct InTurn {
  static constexpr int lane(int i) { return i / 4 * 4 + (Upper ? 2 : 0) + i % 4 / 2 + i % 2 * width; }
};
/// Of every four lanes the lower (or upper) two of a, then those of b.
template <bool Upper>
struct PairsInTurn {
  static constexpr int lane(int i) { return i / 4 * 4 + (Upper ? 2 : 0) + i % 2 + i % 4 / 2 * width; }
};
/// Every second run of four lanes of a, then of b, from the first (or second) on.
template <bool Odd>
struct EverySecond {
  static constexpr int lane(int i) {
    const int run = i / 4 * 2 + (Odd ? 1 : 0);  // of all of a and b
    return run * 4 + i % 4;
  }
};
/// Run g of four lanes of each of the `Runs` vectors p, one behind the other, is to[4 * g].
template <int Runs>
QWEN3VL_INLINE void transpose_runs(const Floats* p, Floats* to) {
  if constexpr (Runs == 1) {
    to[0] = p[0];
  } else if constexpr (Runs == 2) {
    to[0] = shuffle(p[0], p[1], EverySecond<false>{});
    to[4] = shuffle(p[0], p[1], EverySecond<true>{});
  } else {
    static_assert(Runs == 4);
    const Floats a = shuffle(p[0], p[1], EverySecond<false>{}), b = shuffle(p[0], p[1], EverySecond<true>{});
    const Floats c = shuffle(p[2], p[3], EverySecond<false>{}), d = shuffle(p[2], p[3], EverySecond<true>{});
    to[0] = shuffle(a, c, EverySecond<false>{});
    to[4] = shuffle(b, d, EverySecond<false>{});
    to[8] = shuffle(a, c, EverySecond<true>{});
    to[12] = shuffle(b, d, EverySecond<true>{});
  }
}
}  // namespace detail

/// Word i of v[j] and word j of v[i] change places. Each step is one instruction, and no arithmetic touches the bits.
QWEN3VL_INLINE void transpose(Floats (&v)[width]) {
  using namespace detail;
  constexpr int runs = width / 4;
  // part[j][g]: of the rows 4 g to 4 g + 3, columns j, 4 + j, 8 + j, ...
  Floats part[4][runs];
  unroll<runs>([&](auto g) {
    const Floats* const row = v + 4 * g;
    const Floats a = shuffle(row[0], row[1], InTurn<false>{}), b = shuffle(row[0], row[1], InTurn<true>{});
    const Floats c = shuffle(row[2], row[3], InTurn<false>{}), d = shuffle(row[2], row[3], InTurn<true>{});
    part[0][g] = shuffle(a, c, PairsInTurn<false>{});
    part[1][g] = shuffle(a, c, PairsInTurn<true>{});
    part[2][g] = shuffle(b, d, PairsInTurn<false>{});
    part[3][g] = shuffle(b, d, PairsInTurn<true>{});
  });
  unroll<4>([&](auto j) { transpose_runs<runs>(part[j], v + j); });
}

/// Eight 16-bit numbers, whatever the width is.
typedef std::uint16_t Octet __attribute__((vector_size(16)));

namespace detail {
/// The lower (or upper) halves of a and b, lane by lane in turn.
template <bool Upper>
QWEN3VL_INLINE Octet interleave(Octet a, Octet b) {
  constexpr int f = Upper ? 4 : 0;
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(a, b, f, f + 8, f + 1, f + 9, f + 2, f + 10, f + 3, f + 11);
#else
  return __builtin_shuffle(a, b, Octet{f, f + 8, f + 1, f + 9, f + 2, f + 10, f + 3, f + 11});
#endif
}
}  // namespace detail

/// Eight rows, transposed: rows i and i + 4 are interleaved, three times, until every row has met every other. Each
/// step is one instruction, which wider vectors with lanes that cross have not.
QWEN3VL_INLINE void transpose(Octet (&rows)[8]) {
  unroll<3>([&](auto) {
    Octet next[8];
    unroll<4>([&](auto i) {
      next[2 * i] = detail::interleave<false>(rows[i], rows[i + 4]);
      next[2 * i + 1] = detail::interleave<true>(rows[i], rows[i + 4]);
    });
    unroll<8>([&](auto i) { rows[i] = next[i]; });
  });
}

/// Non-temporal copy of whole vectors (4 * width bytes), where the processor has it: memory that is overwritten and not
/// read soon is then not read first. `to` is aligned to vectors. Other threads see it after stream_fence().
template <std::ptrdiff_t Bytes>
QWEN3VL_INLINE void stream(void* to, const void* from) {
  static_assert(Bytes % sizeof(Floats) == 0);
#if defined(__SSE2__)
  for (std::ptrdiff_t i = 0; i < Bytes; i += sizeof(Floats)) {
    char* const place = static_cast<char*>(to) + i;
    const Floats v = load(reinterpret_cast<const float*>(static_cast<const char*>(from) + i));
#if defined(__AVX512F__)
    _mm512_stream_ps(reinterpret_cast<float*>(place), (__m512)v);
#elif defined(__AVX2__) && defined(__FMA__)
    _mm256_stream_ps(reinterpret_cast<float*>(place), (__m256)v);
#else
    _mm_stream_ps(reinterpret_cast<float*>(place), (__m128)v);
#endif
  }
#else
  std::memcpy(to, from, Bytes);
#endif
}
QWEN3VL_INLINE void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

/// x * sigmoid(x).
QWEN3VL_INLINE Floats silu(Floats x) { return x / (exp(-x) + 1.0f); }

/// gelu_pytorch_tanh: 0.5 x (1 + tanh(u)) = x * sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
QWEN3VL_INLINE Floats gelu_tanh(Floats x) {
  const Floats u = 0.79788456080286535588f * (x + 0.044715f * x * x * x);
  return x / (exp(-2.0f * u) + 1.0f);
}

/// gelu, the exact one: x Phi(x), where Phi(-|x|) = erfc(|x| / sqrt(2)) / 2 within 1e-6 of itself, so that nothing is
/// lost for negative x as it is with 1 + erf. Phi(-|x|) e^(x^2 / 2) is u P(u), u = 1 / (1 + 0.3 |x| / sqrt(2)); P is of
/// degree 8 with a relative error below 2e-8 for |x| <= 13.4, where Phi is 3e-41 (minimax, by Remez' method).
QWEN3VL_INLINE Floats gelu(Floats x) {
  const Floats size = max(x, -x);
  const Floats u = 1.0f / (size * 0.212132034f + 1.0f);
  Floats p = splat(-6.471704605e-2f);
  p = p * u + 2.425482502e-1f;
  p = p * u + -2.556132649e-1f;
  p = p * u + 2.731975631e-1f;
  p = p * u + -4.681564769e-2f;
  p = p * u + 1.072181474e-1f;
  p = p * u + 7.424121303e-2f;
  p = p * u + 8.534596778e-2f;
  p = p * u + 8.459480738e-2f;
  const Floats below = p * u * exp(-0.5f * (x * x));
  return x * (x < splat(0.0f) ? below : 1.0f - below);
}

}  // namespace qwen3vl::simd
