/// Element types: bf16, f16 and f8_e4m3 as storage types, and the list of dtypes that files hold.
/// Arithmetic is done in float; these types only convert.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "qwen3vl/base/host_device.hpp"

namespace qwen3vl {

namespace detail {
// std::bit_cast cannot be called on a device; its builtin can.
QWEN3VL_HOST_DEVICE inline std::uint32_t bits_of(float value) { return __builtin_bit_cast(std::uint32_t, value); }
QWEN3VL_HOST_DEVICE inline float float_of(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }
}  // namespace detail

/// bfloat16: the upper half of a float.
struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  /// Rounds to nearest even; NaN stays NaN.
  QWEN3VL_HOST_DEVICE explicit bf16(float value) {
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));  // one instruction for everything below
#else
    const auto u = detail::bits_of(value);
    const bool is_nan = (u & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<std::uint16_t>(is_nan ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
#endif
  }
  QWEN3VL_HOST_DEVICE explicit operator float() const {
    return detail::float_of(static_cast<std::uint32_t>(bits) << 16);
  }
};

/// IEEE binary16.
struct f16 {
  std::uint16_t bits = 0;

  f16() = default;
  /// Rounds to nearest even; overflow gives infinity.
  QWEN3VL_HOST_DEVICE explicit f16(float value) {
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
    const auto u = detail::bits_of(value);
    const auto sign = static_cast<std::uint16_t>((u >> 16) & 0x8000u);
    const std::uint32_t magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
      bits = static_cast<std::uint16_t>(sign | 0x7e00u);  // NaN
    } else if (magnitude >= 0x477ff000u) {
      bits = static_cast<std::uint16_t>(sign | 0x7c00u);  // 65520 and above round to infinity
    } else if (magnitude < 0x38800000u) {
      // Subnormal: adding 0.5 shifts the mantissa so that the hardware rounds it in the right place.
      const float shifted = detail::float_of(magnitude) + 0.5f;
      bits = static_cast<std::uint16_t>(sign | (detail::bits_of(shifted) - 0x3f000000u));
    } else {
      const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
      bits = static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
    }
#endif
  }
  QWEN3VL_HOST_DEVICE explicit operator float() const {
#if defined(__CUDA_ARCH__)
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u) return detail::float_of(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    // Multiplying by 2^112 moves the exponent and makes subnormals normal, exactly.
    const float scaled = detail::float_of(magnitude << 13) * detail::float_of(0x77800000u);
    return detail::float_of(sign | detail::bits_of(scaled));
#endif
  }
};

/// FP8 "e4m3": a sign, four bits of exponent (bias 7) and three of mantissa, up to 448; subnormals are multiples of
/// 2^-9. No infinities: 0x7f and 0xff are NaN.
struct f8_e4m3 {
  std::uint8_t bits = 0;
  static constexpr float largest = 448.0f;

  f8_e4m3() = default;
  /// Rounds to nearest even; magnitudes above 448, infinities included, become 448. NaN stays NaN.
  QWEN3VL_HOST_DEVICE explicit f8_e4m3(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
    std::uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(0.0f), "f"(value));
    bits = static_cast<std::uint8_t>(pair);
#else
    const auto u = detail::bits_of(value);
    const std::uint32_t sign = u >> 24 & 0x80u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
      bits = 0x7f;
    } else if (magnitude >= 0x43e00000u) {
      bits = static_cast<std::uint8_t>(sign | 0x7eu);  // 448 and above
    } else if (magnitude < 0x3c800000u) {
      // Subnormal: adding 2^14 shifts the mantissa so that the hardware rounds it in the right place.
      const float shifted = detail::float_of(magnitude) + 16384.0f;
      bits = static_cast<std::uint8_t>(sign | (detail::bits_of(shifted) - 0x46800000u));
    } else {
      const std::uint32_t rounded = magnitude + 0x7ffffu + ((magnitude >> 20) & 1u);
      bits = static_cast<std::uint8_t>(sign | ((rounded - 0x3c000000u) >> 20));
    }
#endif
  }
  QWEN3VL_HOST_DEVICE explicit operator float() const {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80u) << 24, magnitude = bits & 0x7fu;
    if (magnitude == 0x7fu) return detail::float_of(sign | 0x7fc00000u);
    // Multiplying by 2^120 moves the exponent and makes subnormals normal, exactly.
    const float scaled = detail::float_of(magnitude << 20) * detail::float_of(0x7b800000u);
    return detail::float_of(sign | detail::bits_of(scaled));
  }
};

static_assert(sizeof(bf16) == 2 && sizeof(f16) == 2 && sizeof(f8_e4m3) == 1);

/// Types that weights are stored in.
enum class DType { f32, bf16, f16, f64, i64, i32, i16, i8, u64, u32, u16, u8, boolean, f8_e4m3, f8_e5m2 };

namespace detail {
template <class T>
constexpr DType find_dtype() {
  // clang-format off
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  else if constexpr (std::is_same_v<T, bf16>) return DType::bf16;
  else if constexpr (std::is_same_v<T, f16>) return DType::f16;
  else if constexpr (std::is_same_v<T, f8_e4m3>) return DType::f8_e4m3;
  else if constexpr (std::is_same_v<T, double>) return DType::f64;
  else if constexpr (std::is_same_v<T, std::int64_t>) return DType::i64;
  else if constexpr (std::is_same_v<T, std::int32_t>) return DType::i32;
  else if constexpr (std::is_same_v<T, std::int16_t>) return DType::i16;
  else if constexpr (std::is_same_v<T, std::int8_t>) return DType::i8;
  else if constexpr (std::is_same_v<T, std::uint64_t>) return DType::u64;
  else if constexpr (std::is_same_v<T, std::uint32_t>) return DType::u32;
  else if constexpr (std::is_same_v<T, std::uint16_t>) return DType::u16;
  else if constexpr (std::is_same_v<T, std::uint8_t>) return DType::u8;
  else if constexpr (std::is_same_v<T, bool>) return DType::boolean;
  else static_assert(sizeof(T) == 0, "files hold no elements of this type: float, double, bf16, f16, f8_e4m3, integers and bool");
  // clang-format on
}
}  // namespace detail

/// The DType of a C++ element type.
template <class T>
inline constexpr DType dtype_of = detail::find_dtype<T>();

/// Bytes of one element.
constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
    case DType::u64:
      return 8;
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 4;
    case DType::bf16:
    case DType::f16:
    case DType::i16:
    case DType::u16:
      return 2;
    default:
      return 1;
  }
}

/// The name as safetensors writes it ("BF16").
constexpr std::string_view name_of(DType dtype) {
  constexpr std::string_view names[] = {"F32", "BF16", "F16", "F64", "I64",  "I32",     "I16",    "I8",
                                        "U64", "U32",  "U16", "U8",  "BOOL", "F8_E4M3", "F8_E5M2"};
  return names[static_cast<int>(dtype)];
}

constexpr bool is_floating_weight(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

/// Reads element `i` of `bytes` (which need not be aligned) as T and widens it to float.
template <class T>
float load_float(const std::byte* bytes, std::size_t i) {
  T value;
  std::memcpy(&value, bytes + i * sizeof(T), sizeof(T));
  return static_cast<float>(value);
}

/// Calls `f` with a value of the C++ type of a floating weight dtype (float, bf16 or f16).
template <class F>
decltype(auto) visit_floating(DType dtype, F&& f) {
  switch (dtype) {
    case DType::bf16:
      return f(bf16{});
    case DType::f16:
      return f(f16{});
    default:
      return f(float{});
  }
}

}  // namespace qwen3vl
