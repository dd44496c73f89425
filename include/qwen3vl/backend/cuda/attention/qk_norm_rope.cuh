/// Everything between the fused projection and attention in one kernel: the heads' RMS norm, rotation, and writing keys
/// and values to the cache.
///
/// A warp has one head of one token: its lanes hold elements i and i + D/2, so norm and rotation need only registers
/// and one warp sum. Limited by memory for prompts (every number is read and written once); for single tokens by the
/// kernel launch, so heads are spread over CUDA blocks of four.
#pragma once

#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/attention/kv_cache.cuh"
#include "qwen3vl/backend/cuda/attention/pieces.cuh"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"

namespace qwen3vl {
namespace cuda {

/// Heads, and warps, of a block.
inline constexpr int rope_heads = 4;

/// Grid: tokens of all pieces (a piece's tiles are its tokens) times ceil((H + 2 K) / 4).
template <class A, class T, int H, int K, int D>
__global__ void __launch_bounds__(rope_heads* warp_size)
    qk_norm_rope_kernel(A* qkv, const float* q_norm, const float* k_norm, float eps, const float* cos, const float* sin,
                        const __grid_constant__ Pieces pieces, CacheView<T, K, D> cache) {
  static_assert(D % 2 == 0 && H % K == 0, "pairs are rotated, and query heads share key heads evenly");
  constexpr int half = D / 2, heads = H + 2 * K, groups = ceil_div(heads, rope_heads);
  constexpr int width = half % 2 == 0 ? 2 : 1;  // neighbours of a lane
  constexpr int vectors = half / width;         // of half a head
  constexpr int per_lane = ceil_div(vectors, warp_size);
  take_turn();
  const int tile = static_cast<int>(blockIdx.x) / groups;
  const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
  const int head = static_cast<int>(blockIdx.x) % groups * rope_heads + warp;
  if (head >= heads) return;
  const int piece = pieces.find(tile), in_piece = tile - pieces.first_tile[piece], s = pieces.segment[piece];
  const std::int64_t token = pieces.first[piece] + in_piece;
  A* const x = qkv + (token * heads + head) * D;

  float a[per_lane][width] = {}, b[per_lane][width] = {};  // x[i] and x[i + D/2]
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < per_lane; ++i) {
    const int v = lane + i * warp_size;
    if (v >= vectors) continue;
    load_floats<width>(x + v * width, a[i]);
    load_floats<width>(x + half + v * width, b[i]);
#pragma unroll
    for (int j = 0; j < width; ++j) squares += a[i][j] * a[i][j] + b[i][j] * b[i][j];
  }
  if (head < H + K) {  // the same for all lanes
    const float scale = 1.0f / sqrtf(warp_sum(squares) / D + eps);
    const float* const norm = head < H ? q_norm : k_norm;
#pragma unroll
    for (int i = 0; i < per_lane; ++i) {
      const int v = lane + i * warp_size;
      if (v >= vectors) continue;
      float cosines[width], sines[width], norm_a[width], norm_b[width];
      load_floats<width>(cos + token * half + v * width, cosines);
      load_floats<width>(sin + token * half + v * width, sines);
      load_floats<width>(norm + v * width, norm_a);
      load_floats<width>(norm + half + v * width, norm_b);
#pragma unroll
      for (int j = 0; j < width; ++j) {
        const float first = a[i][j] * scale * norm_a[j], second = b[i][j] * scale * norm_b[j];
        // Rounded to activations first: the cache holds the same values as the rows, whatever its type.
        a[i][j] = static_cast<float>(static_cast<A>(first * cosines[j] - second * sines[j]));
        b[i][j] = static_cast<float>(static_cast<A>(second * cosines[j] + first * sines[j]));
      }
      store_floats<width>(x + v * width, a[i]);
      store_floats<width>(x + half + v * width, b[i]);
    }
    if (head < H) return;
  }
  const int place = cache.length(s) + in_piece, row = place % page_tokens;
  T* const to = (head < H + K ? cache.keys(s, place / page_tokens, head - H)
                              : cache.values(s, place / page_tokens, head - H - K)) +
                row * D;
#pragma unroll
  for (int i = 0; i < per_lane; ++i) {
    const int v = lane + i * warp_size;
    if (v >= vectors) continue;
    store_floats<width>(to + v * width, a[i]);
    store_floats<width>(to + half + v * width, b[i]);
  }
}

}  // namespace cuda

/// See backend/contract/ops.hpp.
template <index_t H, index_t K, index_t D, class A, class CacheLayer>
void qk_norm_rope(Context<Cuda>& ctx, View<A, Cuda, dynamic, (H + 2 * K) * D> qkv, View<const float, Cuda, D> q_norm,
                  View<const float, Cuda, D> k_norm, float eps, View<const float, Cuda, dynamic, D / 2> cos,
                  View<const float, Cuda, dynamic, D / 2> sin, const Segments& segments, CacheLayer cache) {
  using T = typename CacheLayer::value_type;
  constexpr int heads = static_cast<int>(H + 2 * K), groups = cuda::ceil_div(heads, cuda::rope_heads);
  const auto device_cache = cache.on_device(ctx);
  cuda::for_each_pieces(
      segments, [](index_t rows) { return rows; },
      [&](const cuda::Pieces& pieces) {
        cuda::launch_early(
            ctx, cuda::qk_norm_rope_kernel<A, T, static_cast<int>(H), static_cast<int>(K), static_cast<int>(D)>,
            cuda::blocks_for(static_cast<std::int64_t>(pieces.tiles()) * groups, 1), cuda::rope_heads * cuda::warp_size,
            qkv.data(), q_norm.data(), k_norm.data(), eps, cos.data(), sin.data(), pieces, device_cache);
      });
}

}  // namespace qwen3vl
