/// Vectors of floats in the width of the target's instruction set, from one source: AVX-512, AVX2 with FMA, or the
/// portable 16-byte width that every compiler target has. GCC's and Clang's vector extensions; no intrinsics. The width
/// is chosen by the flags of the translation unit, so all units of one program must be compiled alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "qwen3vl/tensor/dtype.hpp"

namespace qwen3vl::simd {

#if defined(__AVX512F__)
inline constexpr int width = 16;
inline constexpr int registers = 32;
inline constexpr const char* isa = "AVX-512";
#elif defined(__AVX2__) && defined(__FMA__)
inline constexpr int width = 8;
inline constexpr int registers = 16;
inline constexpr const char* isa = "AVX2";
#else
inline constexpr int width = 4;
inline constexpr int registers = 16;
inline constexpr const char* isa = "portable";
#endif

#define QWEN3VL_INLINE inline __attribute__((always_inline))
/// For the functions around inner loops: everything that they call is inlined, lambdas too. Without it the compiler
/// stops inlining somewhere in a large program, accumulators go through memory, and products run at a third of their
/// speed.
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
  Halves h;
  std::memcpy(&h, p, sizeof h);
  const UInts u = __builtin_convertvector(h, UInts) << 16;
  return reinterpret_cast<Floats>(u);
}
QWEN3VL_INLINE void store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }

QWEN3VL_INLINE Floats max(Floats a, Floats b) { return a > b ? a : b; }
QWEN3VL_INLINE Floats min(Floats a, Floats b) { return a < b ? a : b; }

QWEN3VL_INLINE float sum(Floats v) {
  // Pairwise, so that the error does not grow with the width.
  float lanes[width];
  std::memcpy(lanes, &v, sizeof v);
  for (int step = width / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  return lanes[0];
}
QWEN3VL_INLINE float largest(Floats v) {
  float lanes[width];
  std::memcpy(lanes, &v, sizeof v);
  float result = lanes[0];
  for (int i = 1; i < width; ++i) result = lanes[i] > result ? lanes[i] : result;
  return result;
}

/// e^x within 2 units in the last place for x in [-87, 88]; 0 below (where a softmax weight does not matter), infinity
/// above. NaN stays NaN. The range is reduced to |r| <= ln 2 / 2, where a polynomial of degree 6 has a relative error
/// below 1e-8 (Cephes' expf).
QWEN3VL_INLINE Floats exp(Floats x) {
  const Floats clamped = min(max(x, splat(-87.3f)), splat(88.72f));
  const Floats magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Floats n = (clamped * 1.44269504088896341f + magic) - magic;
  Floats r = clamped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Floats p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two steps, since n = 128 has no exponent of its own.
  const Ints i = __builtin_convertvector(n, Ints);
  const Ints half = i >> 1;
  const Floats a = reinterpret_cast<Floats>((half + 127) << 23);
  const Floats b = reinterpret_cast<Floats>((i - half + 127) << 23);
  Floats y = p * a * b;
  y = x < splat(-87.3f) ? splat(0.0f) : y;
  y = x > splat(88.72f) ? splat(__builtin_inff()) : y;
  return x == x ? y : x;  // NOLINT(misc-redundant-expression): NaN is not equal to itself
}

/// x * sigmoid(x).
QWEN3VL_INLINE Floats silu(Floats x) { return x / (exp(-x) + 1.0f); }

/// gelu_pytorch_tanh: 0.5 x (1 + tanh(u)) = x * sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
QWEN3VL_INLINE Floats gelu_tanh(Floats x) {
  const Floats u = 0.79788456080286535588f * (x + 0.044715f * x * x * x);
  return x / (exp(-2.0f * u) + 1.0f);
}

}  // namespace qwen3vl::simd
