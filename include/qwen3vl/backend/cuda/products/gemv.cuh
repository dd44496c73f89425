/// Products of one to eight rows of activations with a weight matrix: what decoding does.
/// Limited by memory: a weight is read once, with 16-byte loads past the first cache, and used for all rows at once. So
/// what counts is how many bytes are on their way; eight rows cost what one costs.
///
/// bf16: a block has 16 rows of the weight, and its eight warps share the columns, two turns of 64 at a time:
///
///              128 columns
///            +-----+-----+-    -+-----+-----+-     The product is W x^T: 16 weight rows times 8 activation rows, as
///   16 rows  |warp0|warp1| ...  |warp7|warp0| ...  the tensor cores take it. Columns of a sum may come in any order,
///            +-----+-----+-    -+-----+-----+-     so each lane multiplies what its loads give it.
///
/// A warp loads its next two turns while it multiplies the last two, so loads are always in flight, up to 8 KiB; with
/// two such CUDA blocks a multiprocessor has up to 128 KiB in flight, about three times what its share of the bandwidth
/// needs at a latency of a microsecond. Loading four turns and then multiplying them was slower on an H100
/// (docs/performance/cuda.md). The warps' sums are added in order. With SwiGLU half of the rows are gates and half the
/// matching ups, so that both meet in the CUDA block.
///
/// e4m3: the same with half the bytes: a lane's 16 bytes are 16 columns of a turn, converted exactly to bf16 in
/// registers. Sums are multiplied by their row's scale; or, where each 128 columns have scales of their own, those of
/// two turns are, before they are added up.
///
/// f32, and bf16 with odd widths: a warp has one row (or a gate and its up).
///
/// A row's result does not depend on how many rows there are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/packed_bf16.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"
#include "qwen3vl/backend/cuda/primitives/vector.cuh"

namespace qwen3vl::cuda {

/// The most rows of activations that `gemv` takes.
inline constexpr int gemv_tokens = 8;

/// y of one element: z is the sum with its bias, up that of the up projection where there is one, old what y was.
template <class E>
__device__ __forceinline__ float finish(float z, float up, float old) {
  if constexpr (std::is_same_v<E, epilogue::Add>) {
    z += old;
  } else if constexpr (std::is_same_v<E, epilogue::Gelu>) {
    z = 0.5f * z * (1.0f + erff(z * 0.70710678118654752f));
  } else if constexpr (std::is_same_v<E, epilogue::GeluTanh>) {
    z = 0.5f * z * (1.0f + tanhf(0.79788456080286536f * (z + 0.044715f * z * z * z)));
  } else if constexpr (std::is_same_v<E, epilogue::SwiGlu>) {
    z = z / (1.0f + expf(-z)) * up;
  } else {
    static_assert(std::is_same_v<E, epilogue::Store>);
  }
  return z;
}
template <class E, class Y>
__device__ __forceinline__ void gemv_finish(float z, float up, Y* y) {
  const float old = std::is_same_v<E, epilogue::Add> ? static_cast<float>(*y) : 0.0f;
  *y = static_cast<Y>(finish<E>(z, up, old));
}

/// How N x K weights are divided.
template <int N, int K, class E>
struct GemvTiling {
  static constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>;
  static constexpr int outputs = gated ? N / 2 : N;
  static constexpr int block_outputs = gated ? 8 : 16;  // of 16 weight rows
  static constexpr int turn = 64;                       // columns: 128 bytes of a row
  static constexpr int unroll = 2;                      // neighbouring turns that are loaded together
  static constexpr int groups = ceil_div(K, turn* unroll);
  static constexpr int warps = groups < 8 ? groups : 8;
  static_assert(K % 8 == 0, "16-byte loads");
};

/// A lane's 16 columns of a turn, as loaded: part p of them are the eight from `column(j, p)` on, for j = lane % 4.
template <class W>
struct StreamedWeights;
template <>
struct StreamedWeights<bf16> {
  PackedBf16 parts[2] = {};
  static __device__ __forceinline__ constexpr int column(int j, int part) { return 32 * part + 8 * j; }
  __device__ __forceinline__ void load(const bf16* turn, int part) {  // from the lane's first column on
    const uint4 loaded = load_streaming(turn + column(0, part));
    parts[part] = PackedBf16{{loaded.x, loaded.y, loaded.z, loaded.w}};
  }
  __device__ __forceinline__ PackedBf16 operator[](int part) const { return parts[part]; }
};
template <>
struct StreamedWeights<f8_e4m3> {
  uint4 words = {};
  static __device__ __forceinline__ constexpr int column(int j, int part) { return 16 * j + 8 * part; }
  __device__ __forceinline__ void load(const f8_e4m3* turn, int part) {  // both parts with the first
    if (part == 0) words = load_streaming(turn);
  }
  __device__ __forceinline__ PackedBf16 operator[](int part) const {
    const Bf16Pairs a = unpack_f8<false>(part == 0 ? words.x : words.z);
    const Bf16Pairs b = unpack_f8<false>(part == 0 ? words.y : words.w);
    return PackedBf16{{a.low, a.high, b.low, b.high}};
  }
};
/// The words have the lane's columns in the order of f8_place.
template <>
struct StreamedWeights<F8InBlocks> {
  uint4 words = {};
  static __device__ __forceinline__ constexpr int column(int j, int part) { return 16 * j + 8 * part; }
  __device__ __forceinline__ void load(const F8InBlocks* turn, int part) {
    if (part == 0) words = load_streaming(turn);
  }
  __device__ __forceinline__ PackedBf16 operator[](int part) const {
    return PackedBf16{{unpack_pair(words.x, part), unpack_pair(words.y, part), unpack_pair(words.z, part),
                       unpack_pair(words.w, part)}};
  }
};

/// CUDA blocks that may be resident before their turn (264 on an H100). Each of their warps prefetches its first group
/// of turns; prefetching four was slower (docs/performance/cuda.md).
inline constexpr int gemv_early_blocks = 320;

/// Sums of each warp, [weight row][activation row].
template <class Tiling>
struct GemvShared {
  float sums[Tiling::warps][16][gemv_tokens];
};

/// Grid: outputs by block_outputs. Weights of e4m3 have `scales` [N], those in blocks [blocks of columns, N].
template <class W, class Y, int N, int K, class E>
__global__ void __launch_bounds__(GemvTiling<N, K, E>::warps* warp_size, 2)
    gemv_mma_kernel(const bf16* x, int tokens, const W* weight, const float* scales, const float* bias, Y* y) {
  using Tiling = GemvTiling<N, K, E>;
  using Streamed = StreamedWeights<W>;
  static_assert(K % (16 / sizeof(W)) == 0, "16-byte loads");
  constexpr bool blocks = std::is_same_v<W, F8InBlocks>;
  constexpr bool whole_rows = Tiling::outputs % Tiling::block_outputs == 0;
  constexpr bool whole_turns = K % (Tiling::turn * Tiling::unroll * Tiling::warps * 2) == 0;
  auto& shared = shared_memory<GemvShared<Tiling>>();
  const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
  const int g = lane / 4, j = lane % 4;
  const int first = static_cast<int>(blockIdx.x) * Tiling::block_outputs;

  // Rows g and g + 8 of the block: two outputs, or a gate and its up.
  const W* rows[2];
  const float* row_scales[2] = {};
  bool valid[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int output = first + g + (Tiling::gated ? 0 : 8 * half);
    valid[half] = whole_rows || output < Tiling::outputs;
    const int row = output + (Tiling::gated ? half * Tiling::outputs : 0);
    rows[half] = weight + static_cast<std::int64_t>(valid[half] ? row : 0) * K;
    if constexpr (blocks) row_scales[half] = scales + warp * N + (valid[half] ? row : 0);
  }
  const bool token_valid = g < tokens;
  const bf16* token = x + static_cast<std::int64_t>(token_valid ? g : 0) * K;

  struct Loaded {
    Streamed w[Tiling::unroll][2];
    PackedBf16 a[Tiling::unroll][2];
    float scales[2];  // with `blocks`
  };
  constexpr int width = Tiling::unroll * Tiling::turn;  // columns of a group
  // The first operands are prefetched before this kernel's turn: no kernel writes weights.
  if (static_cast<int>(blockIdx.x) < gemv_early_blocks && j == 0)
#pragma unroll
    for (int t = 0; t < Tiling::unroll; ++t) {
      const int column = warp * width + t * Tiling::turn;
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (column < K && valid[half]) prefetch_l2(rows[half] + column);
    }
  take_turn();

  // Pointers advance with the columns: the increments are constants, and registers are scarce.
  static_assert(!blocks || width == f8_block_columns, "a group of turns has one scale for each row");
  int column = warp * width + Streamed::column(j, 0);  // this lane's first of the group that `even` has next
  rows[0] += column, rows[1] += column, token += column;
  const auto load = [&](Loaded& to, int groups_on) {
    const int ahead = groups_on * Tiling::warps * width;
#pragma unroll
    for (int t = 0; t < Tiling::unroll; ++t)
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const int step = ahead + t * Tiling::turn, inner = Streamed::column(0, part);
        const bool inside = column + (whole_turns ? ahead : step + inner) < K;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          if (part == 0) to.w[t][half] = {};
          if (inside && valid[half]) to.w[t][half].load(rows[half] + step, part);
        }
        to.a[t][part] = load_packed_if(inside && token_valid, token + step + inner);
      }
    if constexpr (blocks) {  // braces: nvcc loses its way in a discarded pragma
      const bool inside = column - Streamed::column(j, 0) + ahead < K;
#pragma unroll
      for (int half = 0; half < 2; ++half)
        to.scales[half] = inside ? row_scales[half][groups_on * Tiling::warps * N] : 0.0f;
    }
  };
  float sums[2][4] = {};  // two chains of products, or in [0] their sum
  const auto multiply = [&](const Loaded& from) {
    float of_block[2][4] = {};
    auto& chains = blocks ? of_block : sums;
#pragma unroll
    for (int t = 0; t < Tiling::unroll; ++t)
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const PackedBf16 upper = from.w[t][0][part], lower = from.w[t][1][part];
        const auto &u = upper.values, &l = lower.values, &b = from.a[t][part].values;
        mma_bf16_16x8x16(chains[0], {u[0], l[0], u[1], l[1]}, {b[0], b[1]});
        mma_bf16_16x8x16(chains[1], {u[2], l[2], u[3], l[3]}, {b[2], b[3]});
      }
    if constexpr (blocks) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[0][e] = fmaf(of_block[0][e] + of_block[1][e], from.scales[e / 2], sums[0][e]);
    }
  };
  Loaded even, odd;
  load(even, 0);
#pragma unroll 1
  for (int group = warp; group < Tiling::groups; group += 2 * Tiling::warps) {
    load(odd, 1);
    multiply(even);
    load(even, 2);
    multiply(odd);
    constexpr int two_groups = 2 * Tiling::warps * width;
    column += two_groups, rows[0] += two_groups, rows[1] += two_groups, token += two_groups;
    if constexpr (blocks) row_scales[0] += 2 * Tiling::warps * N, row_scales[1] += 2 * Tiling::warps * N;
  }

#pragma unroll
  for (int e = 0; e < 4; ++e) shared.sums[warp][g + e / 2 * 8][2 * j + e % 2] = sums[0][e] + sums[1][e];
  __syncthreads();
  constexpr int threads = Tiling::warps * warp_size;
  for (int i = static_cast<int>(threadIdx.x); i < Tiling::block_outputs * tokens; i += threads) {
    const int row = i % Tiling::block_outputs, t = i / Tiling::block_outputs, output = first + row;
    if (!whole_rows && output >= Tiling::outputs) continue;
    float z = 0.0f, up = 0.0f;
#pragma unroll
    for (int w = 0; w < Tiling::warps; ++w) {
      z += shared.sums[w][row][t];
      if constexpr (Tiling::gated) up += shared.sums[w][row + 8][t];
    }
    if constexpr (std::is_same_v<W, f8_e4m3>) {
      z *= scales[output];
      if constexpr (Tiling::gated) up *= scales[Tiling::outputs + output];
    }
    if (bias != nullptr) {
      z += bias[output];
      if constexpr (Tiling::gated) up += bias[Tiling::outputs + output];
    }
    gemv_finish<E>(z, up, y + static_cast<std::int64_t>(t) * Tiling::outputs + output);
  }
}

inline constexpr int gemv_fma_warps = 4;

/// Grid: outputs by four; a warp has one. `Tokens`, a power of two, is at least `tokens`.
template <class W, class Y, int N, int K, class E, int Tokens>
__global__ void __launch_bounds__(gemv_fma_warps* warp_size)
    gemv_fma_kernel(const W* x, int tokens, const W* weight, const float* bias, Y* y) {
  constexpr bool gated = std::is_same_v<E, epilogue::SwiGlu>;
  constexpr int outputs = gated ? N / 2 : N, width = vector_width<W, K>, vectors = K / width;
  take_turn();
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int output = static_cast<int>(blockIdx.x) * gemv_fma_warps + static_cast<int>(threadIdx.x) / warp_size;
  if (output >= outputs) return;
  const W* const row = weight + static_cast<std::int64_t>(output) * K;
  const W* const up_row = row + static_cast<std::int64_t>(gated ? outputs : 0) * K;
  float sums[Tokens] = {}, ups[Tokens] = {};
#pragma unroll 4
  for (int v = lane; v < vectors; v += warp_size) {
    float w[width], u[width] = {};
    load_floats<width>(row + v * width, w);
    if constexpr (gated) load_floats<width>(up_row + v * width, u);
#pragma unroll
    for (int t = 0; t < Tokens; ++t) {
      if (t >= tokens) continue;
      float values[width];
      load_floats<width>(x + static_cast<std::int64_t>(t) * K + v * width, values);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        sums[t] = fmaf(w[i], values[i], sums[t]);
        if constexpr (gated) ups[t] = fmaf(u[i], values[i], ups[t]);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < Tokens; ++t) {
    float z = warp_sum(sums[t]), up = gated ? warp_sum(ups[t]) : 0.0f;
    if (lane != 0 || t >= tokens) continue;
    if (bias != nullptr) {
      z += bias[output];
      if constexpr (gated) up += bias[outputs + output];
    }
    gemv_finish<E>(z, up, y + static_cast<std::int64_t>(t) * outputs + output);
  }
}

/// y = epilogue(x weight^T + bias) for `tokens` rows of x, one to gemv_tokens; weight [N, K], with scales if it is of
/// e4m3 (see gemv_mma_kernel), bias [N] or null, y [tokens, epilogue::width<E, N>]. x is float for float weights, else
/// bf16.
template <int N, int K, class E, class X, class W, class Y>
void gemv(Context<Cuda>& ctx, const X* x, index_t tokens, const W* weight, const float* scales, const float* bias,
          Y* y) {
  constexpr bool rounded = std::is_same_v<W, f8_e4m3> || std::is_same_v<W, F8InBlocks>;
  static_assert(std::is_same_v<W, X> || (rounded && std::is_same_v<X, bf16>));
  if (tokens == 0) return;
  if constexpr (rounded || (std::is_same_v<W, bf16> && K % 8 == 0)) {
    using Tiling = GemvTiling<N, K, E>;
    launch_early<GemvShared<Tiling>>(ctx, gemv_mma_kernel<W, Y, N, K, E>,
                                     blocks_for(Tiling::outputs, Tiling::block_outputs), Tiling::warps * warp_size, x,
                                     tokens, weight, scales, bias, y);
  } else {
    const unsigned blocks = blocks_for(epilogue::width<E, N>, gemv_fma_warps);
    constexpr int threads = gemv_fma_warps * warp_size;
    if (tokens == 1) {
      launch_early(ctx, gemv_fma_kernel<W, Y, N, K, E, 1>, blocks, threads, x, tokens, weight, bias, y);
    } else if (tokens <= 4) {
      launch_early(ctx, gemv_fma_kernel<W, Y, N, K, E, 4>, blocks, threads, x, tokens, weight, bias, y);
    } else {
      launch_early(ctx, gemv_fma_kernel<W, Y, N, K, E, gemv_tokens>, blocks, threads, x, tokens, weight, bias, y);
    }
  }
}

}  // namespace qwen3vl::cuda
