/// Several neighbouring numbers at once: loads and stores of up to 16 bytes, with conversion to and from float.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/primitives/instructions.cuh"
#include "qwen3vl/tensor/dtype.hpp"
#include "qwen3vl/tensor/extents.hpp"

namespace qwen3vl::cuda {

/// The most elements of type T that one instruction moves, of rows whose length is a multiple of D: a power of two.
template <class T, index_t D>
inline constexpr int vector_width = [] {
  int width = 16 / static_cast<int>(sizeof(T));
  while (D % width != 0) width /= 2;
  return width;
}();

/// N numbers of type T in one word of N * sizeof(T) = 2, 4, 8 or 16 bytes (1 for bytes).
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T values[N];
};

namespace detail {
template <int Bytes>
struct Word;
template <>
struct Word<1> {
  using type = std::uint8_t;
};
template <>
struct Word<2> {
  using type = std::uint16_t;
};
template <>
struct Word<4> {
  using type = std::uint32_t;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};
}  // namespace detail

/// One load of N numbers; `from` is aligned to all of them.
template <int N, class T>
__device__ __forceinline__ Vector<T, N> load_vector(const T* from) {
  using Word = typename qwen3vl::cuda::detail::Word<static_cast<int>(sizeof(T)) * N>::type;
  return __builtin_bit_cast(Vector<T, N>, *reinterpret_cast<const Word*>(from));
}
/// One store of N numbers.
template <int N, class T>
__device__ __forceinline__ void store_vector(T* to, const Vector<T, N>& vector) {
  using Word = typename qwen3vl::cuda::detail::Word<static_cast<int>(sizeof(T)) * N>::type;
  *reinterpret_cast<Word*>(to) = __builtin_bit_cast(Word, vector);
}

/// Loads N numbers, widened to float, by as few instructions as there are times 16 bytes.
template <int N, class T>
__device__ __forceinline__ void load_floats(const T* from, float (&to)[N]) {
  constexpr int step = sizeof(T) * N > 16 ? 16 / static_cast<int>(sizeof(T)) : N;
#pragma unroll
  for (int first = 0; first < N; first += step) {
    const Vector<T, step> vector = load_vector<step>(from + first);
#pragma unroll
    for (int i = 0; i < step; ++i) to[first + i] = static_cast<float>(vector.values[i]);
  }
}

/// Stores N floats as T, each rounded once.
template <int N, class T>
__device__ __forceinline__ void store_floats(T* to, const float (&from)[N]) {
  constexpr int step = sizeof(T) * N > 16 ? 16 / static_cast<int>(sizeof(T)) : N;
#pragma unroll
  for (int first = 0; first < N; first += step) {
    if constexpr (std::is_same_v<T, bf16> && step % 2 == 0) {
      Vector<std::uint32_t, step / 2> packed;
#pragma unroll
      for (int i = 0; i < step / 2; ++i) packed.values[i] = pack_bf16(from[first + 2 * i], from[first + 2 * i + 1]);
      store_vector(reinterpret_cast<std::uint32_t*>(to + first), packed);
    } else {
      Vector<T, step> vector;
#pragma unroll
      for (int i = 0; i < step; ++i) vector.values[i] = static_cast<T>(from[first + i]);
      store_vector(to + first, vector);
    }
  }
}

}  // namespace qwen3vl::cuda
