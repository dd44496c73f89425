/// Eight neighbouring numbers as the tensor cores take them: pairs of bf16 in words.
#pragma once

#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/primitives/instructions.cuh"
#include "qwen3vl/backend/cuda/primitives/packed_f8.cuh"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"
#include "qwen3vl/tensor/dtype.hpp"

namespace qwen3vl::cuda {

/// Eight bf16: word i holds numbers 2 i (lower half) and 2 i + 1.
using PackedBf16 = Vector<std::uint32_t, 4>;

/// Eight numbers of type T, rounded to bf16 where they are not.
template <class T>
__device__ __forceinline__ PackedBf16 load_packed(const T* from) {
  if constexpr (std::is_same_v<T, bf16>) {
    return load_vector<4>(reinterpret_cast<const std::uint32_t*>(from));
  } else if constexpr (std::is_same_v<T, f8_e4m3>) {
    const auto words = load_vector<2>(reinterpret_cast<const std::uint32_t*>(from));
    const Bf16Pairs first = unpack_f8(words.values[0]), second = unpack_f8(words.values[1]);
    return {{first.low, first.high, second.low, second.high}};
  } else {
    float values[8];
    load_floats<8>(from, values);
    PackedBf16 packed;
#pragma unroll
    for (int i = 0; i < 4; ++i) packed.values[i] = pack_bf16(values[2 * i], values[2 * i + 1]);
    return packed;
  }
}
/// The same, zeros if not `valid`; then nothing is read.
template <class T>
__device__ __forceinline__ PackedBf16 load_packed_if(bool valid, const T* from) {
  PackedBf16 zeros{};
  return valid ? load_packed(from) : zeros;
}

/// The lower halves of two words, and the upper ones.
__device__ __forceinline__ std::uint32_t lower_halves(std::uint32_t first, std::uint32_t second) {
  return (first & 0xffffu) | (second << 16);
}
__device__ __forceinline__ std::uint32_t upper_halves(std::uint32_t first, std::uint32_t second) {
  return (first >> 16) | (second & 0xffff0000u);
}
/// The two numbers of a word.
__device__ __forceinline__ float lower_float(std::uint32_t word) { return __builtin_bit_cast(float, word << 16); }
__device__ __forceinline__ float upper_float(std::uint32_t word) {
  return __builtin_bit_cast(float, word & 0xffff0000u);
}

/// Infinities and NaN have all bits of the exponent set.
__device__ __forceinline__ bool lower_is_special(std::uint32_t word) { return (word & 0x7f80u) == 0x7f80u; }
__device__ __forceinline__ bool upper_is_special(std::uint32_t word) { return (word & 0x7f800000u) == 0x7f800000u; }
__device__ __forceinline__ bool has_special(const PackedBf16& packed) {
  bool special = false;
#pragma unroll
  for (const std::uint32_t word : packed.values) special |= lower_is_special(word) || upper_is_special(word);
  return special;
}
/// With zeros in their place.
__device__ __forceinline__ PackedBf16 without_special(PackedBf16 packed) {
#pragma unroll
  for (std::uint32_t& word : packed.values) {
    if (lower_is_special(word)) word &= 0xffff0000u;
    if (upper_is_special(word)) word &= 0xffffu;
  }
  return packed;
}

}  // namespace qwen3vl::cuda
