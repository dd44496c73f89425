/// Rotary positions on the device: the tables of cosines and sines, and the vision tower's rotation. (The text model's
/// rotation is one kernel with its norm and cache write.)
#pragma once

#include <cmath>
#include <cstdint>

#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"

namespace qwen3vl {
namespace cuda {

inline constexpr int rope_threads = 256;

/// cos, sin [tokens, S0 + S1 + S2] from position_ids [3, tokens]: one thread per angle. Once per pass and at most a few
/// million angles, so the precise functions are used: at large positions the fast ones are wrong by whole turns.
template <int S0, int S1, int S2>
__global__ void __launch_bounds__(rope_threads)
    rope_tables_kernel(const std::int32_t* position_ids, const float* inv_freq, float scaling, float* cos, float* sin,
                       std::int64_t tokens) {
  static_assert(S0 > 0 && S1 >= 0 && S2 >= 0);
  constexpr int frequencies = S0 + S1 + S2;
  take_turn();
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * rope_threads + threadIdx.x;
  if (at >= tokens * frequencies) return;
  const std::int64_t token = at / frequencies;
  const int i = static_cast<int>(at % frequencies);
  const int axis = i % 3 == 1 && i < 3 * S1 ? 1 : i % 3 == 2 && i < 3 * S2 ? 2 : 0;
  // The angle is rounded to float32, as in the reference: at large positions that rounding is part of the result.
  // (Nothing is added to the product, so that no compiler may fuse it.)
  const float angle = static_cast<float>(position_ids[axis * tokens + token]) * inv_freq[i];
  float s, c;
  sincosf(angle, &s, &c);
  cos[at] = c * scaling;
  sin[at] = s * scaling;
}

/// Rotates the queries and keys of qkv [tokens, 3, H, D] in place; a thread has `width` neighbouring pairs (i, i +
/// D/2). Limited by memory: two thirds of qkv are read and written once.
template <class T, int H, int D>
__global__ void __launch_bounds__(rope_threads)
    rotate_qk_kernel(T* qkv, const float* cos, const float* sin, std::int64_t vectors) {
  static_assert(H > 0 && D > 0 && D % 2 == 0, "a head is made of pairs");
  constexpr int half = D / 2, width = vector_width<T, half>, per_head = half / width, per_token = 2 * H * per_head;
  take_turn();
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * rope_threads + threadIdx.x;
  if (at >= vectors) return;
  const std::int64_t token = at / per_token;
  const int head = static_cast<int>(at % per_token) / per_head, i = static_cast<int>(at % per_head) * width;
  T* const low = qkv + (token * 3 * H + head) * D + i;
  T* const high = low + half;
  float a[width], b[width], c[width], s[width];
  load_floats<width>(low, a);
  load_floats<width>(high, b);
  load_floats<width>(cos + token * half + i, c);
  load_floats<width>(sin + token * half + i, s);
#pragma unroll
  for (int j = 0; j < width; ++j) {
    const float x = a[j], y = b[j];
    a[j] = x * c[j] - y * s[j];
    b[j] = y * c[j] + x * s[j];
  }
  store_floats<width>(low, a);
  store_floats<width>(high, b);
}

}  // namespace cuda

/// See backend/contract/ops.hpp.
template <index_t S0, index_t S1, index_t S2>
void rope_tables(Context<Cuda>& ctx, View<const std::int32_t, Cuda, 3, dynamic> position_ids,
                 View<const float, Cuda, S0 + S1 + S2> inv_freq, float scaling,
                 std::type_identity_t<View<float, Cuda, dynamic, S0 + S1 + S2>> cos,
                 std::type_identity_t<View<float, Cuda, dynamic, S0 + S1 + S2>> sin) {
  const index_t tokens = position_ids.extent(1);
  cuda::launch_early(ctx, cuda::rope_tables_kernel<S0, S1, S2>,
                     cuda::blocks_for(tokens * (S0 + S1 + S2), cuda::rope_threads), cuda::rope_threads,
                     position_ids.data(), inv_freq.data(), scaling, cos.data(), sin.data(), tokens);
}

/// See backend/contract/ops.hpp.
template <index_t H, index_t D, class T>
void rotate_qk(Context<Cuda>& ctx, View<T, Cuda, dynamic, 3 * H * D> qkv, View<const float, Cuda, dynamic, D / 2> cos,
               View<const float, Cuda, dynamic, D / 2> sin) {
  const index_t vectors = qkv.rows() * (H * D / cuda::vector_width<T, D / 2>);
  cuda::launch_early(ctx, cuda::rotate_qk_kernel<T, H, D>, cuda::blocks_for(vectors, cuda::rope_threads),
                     cuda::rope_threads, qkv.data(), cos.data(), sin.data(), vectors);
}

}  // namespace qwen3vl
