/// Attention of many queries on the tensor cores (FlashAttention), for bf16 activations and head sizes of up to 128.
/// Limited by the tensor cores, closely followed by reading their operands from shared memory: a warp has 32 rows, so
/// four loads of 512 bytes feed sixteen products.
///
///               64 keys (a page)          128 rows: query heads that share the keys, times tokens.
///                                         Four warps of 32.
///            +-------------------+        S = Q K^T in registers, from Q and K in shared memory
///   warp 0   |  S: 2 x 8 tiles   |  32    softmax in registers; the weights are the left operand of
///      ..    |    of 16 x 8      |  rows  O += P V, from V in shared memory; O in registers: 2 x D/8 tiles
///   warp 3   +-------------------+
///
/// Copies run beside the products, K and V in turn:
///   wait for K(t) | begin V(t), S = Q K(t)^T | wait for V(t) | begin K(t + 1), softmax, O += P V(t) | ...
/// With heads of 128, 68 KiB of shared memory: two CUDA blocks per multiprocessor, one computing while the other waits.
/// Narrow heads (up to 80: vision) have registers for three CUDA blocks if S covers 32 keys at a time; K(t) is then
/// needed longer, and K(t + 1) goes to a second buffer. Exponentials take as long as products there, so three CUDA
/// blocks are needed to keep both busy (1024x768: 384, all resident on an H100). O is rescaled by exp(old maximum -
/// new) only where a row of the warp has a new maximum: rare after a few tiles. Keys and values in e4m3 are copied into
/// the second half of the 16 bytes that eight of them take as bf16; the copying thread widens them in place. Rows in
/// shared memory are padded by 16 bytes, so that eight rows of a tile lie in different banks.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/attention/attention_keys.cuh"
#include "qwen3vl/backend/cuda/attention/decode_attention.cuh"
#include "qwen3vl/backend/cuda/attention/pieces.cuh"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/packed_bf16.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"

namespace qwen3vl::cuda {

struct MmaTile {
  static constexpr int warps = 4, threads = warps * warp_size;
  static constexpr int rows = 128, warp_rows = rows / warps, row_tiles = warp_rows / 16;
  static constexpr int keys = page_tokens, key_tiles = keys / 8;
};

/// How heads of D are computed.
template <int D>
struct MmaHead {
  static constexpr int blocks = D <= 80 ? 3 : 2;                ///< on a multiprocessor
  static constexpr int parts = D <= 80 ? 2 : 1;                 ///< of a tile of keys, one after another in registers
  static constexpr int key_tiles = MmaTile::key_tiles / parts;  ///< of a part
};

template <int D>
struct MmaShared {
  static constexpr int padded = ceil_div(D, 16) * 16, stride = padded + 8;
  alignas(16) bf16 q[MmaTile::rows][stride];
  alignas(16) bf16 k[MmaHead<D>::parts][MmaTile::keys][stride];
  alignas(16) bf16 v[MmaTile::keys][stride];
};

/// f(row, first number) for each 16 bytes of Rows rows of D that this thread copies. Not unrolled: registers are
/// scarce, and copies run asynchronously once begun.
template <int Rows, int D, class F>
__device__ __forceinline__ void for_chunks(F&& f) {
  constexpr int chunks = D / 8;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < Rows * chunks; i += MmaTile::threads) f(i / chunks, i % chunks * 8);
}

/// Begins to copy a tile of keys or values, `count` of them real, the rest zeros.
template <int D, class T, int Stride>
__device__ __forceinline__ void begin_tile(bf16 (&to)[MmaTile::keys][Stride], const T* from, std::int64_t stride,
                                           int count) {
  for_chunks<MmaTile::keys, D>([&](int row, int d) {
    if constexpr (std::is_same_v<T, bf16>) {
      cp_async_16(&to[row][d], row < count ? from + row * stride + d : from, row < count);
    } else if constexpr (std::is_same_v<T, f8_e4m3>) {
      cp_async_8(&to[row][d + 4], row < count ? from + row * stride + d : from, row < count);
    } else {
      store_vector(reinterpret_cast<std::uint32_t*>(&to[row][d]), load_packed_if(row < count, from + row * stride + d));
    }
  });
}

/// Converts what begin_tile copied from T to bf16. Called by the copying threads once the data have arrived; others
/// must wait for a barrier.
template <int D, class T, int Stride>
__device__ __forceinline__ void widen_tile(bf16 (&tile)[MmaTile::keys][Stride]) {
  if constexpr (std::is_same_v<T, f8_e4m3>)
    for_chunks<MmaTile::keys, D>([&](int row, int d) {
      bf16* const chunk = &tile[row][d];
      store_vector(reinterpret_cast<std::uint32_t*>(chunk), load_packed(reinterpret_cast<const f8_e4m3*>(chunk + 4)));
    });
}

/// S = Q K^T for a warp's rows and a part of the keys of the tile.
template <int D, int Stride>
__device__ __forceinline__ void score_tile(const MmaShared<D>& shared, const bf16 (&keys)[MmaTile::keys][Stride],
                                           int part, float (&scores)[MmaTile::row_tiles][MmaHead<D>::key_tiles][4],
                                           int warp, int lane) {
  constexpr int key_tiles = MmaHead<D>::key_tiles;
  const int first_key = part * key_tiles * 8;
#pragma unroll
  for (int m = 0; m < MmaTile::row_tiles; ++m)
#pragma unroll
    for (int n = 0; n < key_tiles; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) scores[m][n][e] = 0.0f;
  const int row = lane % 8, tile = lane / 8;
#pragma unroll
  for (int step = 0; step < MmaShared<D>::padded / 16; ++step) {
    std::uint32_t q[MmaTile::row_tiles][4];
#pragma unroll
    for (int m = 0; m < MmaTile::row_tiles; ++m)
      ldmatrix_x4(q[m], &shared.q[warp * MmaTile::warp_rows + 16 * m + tile % 2 * 8 + row][16 * step + tile / 2 * 8]);
#pragma unroll
    for (int pair = 0; pair < key_tiles / 2; ++pair) {
      std::uint32_t k[4];
      ldmatrix_x4(k, &keys[first_key + 16 * pair + tile / 2 * 8 + row][16 * step + tile % 2 * 8]);
#pragma unroll
      for (int m = 0; m < MmaTile::row_tiles; ++m) {
        mma_bf16_16x8x16(scores[m][2 * pair], q[m], {k[0], k[1]});
        mma_bf16_16x8x16(scores[m][2 * pair + 1], q[m], {k[2], k[3]});
      }
    }
  }
}

/// Applies the score function to a warp's products with the keys from `first_key` on; -infinity for keys that a row
/// does not attend to, for which the function is not called.
template <int D, class Keys>
__device__ __forceinline__ void change_scores(const Keys& keys, const RowBlock<Keys>& block, int first_key,
                                              float (&scores)[MmaTile::row_tiles][MmaHead<D>::key_tiles][4]) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int first_row = block.first + static_cast<int>(threadIdx.x) / warp_size * MmaTile::warp_rows + lane / 4;
#pragma unroll
  for (int m = 0; m < MmaTile::row_tiles; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + 16 * m + 8 * half, limit = block.limit(row);
#pragma unroll
      for (int n = 0; n < MmaHead<D>::key_tiles; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int key = first_key + 8 * n + 2 * (lane % 4) + e;
          float& score = scores[m][n][2 * half + e];
          score = key < limit ? changed_product<D>(keys, score, block.place(row, key)) : -INFINITY;
        }
    }
}

/// O += P V for a warp's rows and a part of the keys of the tile.
template <int D>
__device__ __forceinline__ void add_values(const MmaShared<D>& shared, int part,
                                           const float (&weights)[MmaTile::row_tiles][MmaHead<D>::key_tiles][4],
                                           float (&out)[MmaTile::row_tiles][D / 8][4], int lane) {
  const int first_key = part * MmaHead<D>::key_tiles * 8;
  const int row = lane % 8, tile = lane / 8;
#pragma unroll
  for (int step = 0; step < MmaHead<D>::key_tiles / 2; ++step) {
    std::uint32_t p[MmaTile::row_tiles][4];
#pragma unroll
    for (int m = 0; m < MmaTile::row_tiles; ++m) {
      const auto &first = weights[m][2 * step], &second = weights[m][2 * step + 1];
      p[m][0] = pack_bf16(first[0], first[1]);
      p[m][1] = pack_bf16(first[2], first[3]);
      p[m][2] = pack_bf16(second[0], second[1]);
      p[m][3] = pack_bf16(second[2], second[3]);
    }
#pragma unroll
    for (int pair = 0; pair < MmaShared<D>::padded / 16; ++pair) {
      std::uint32_t v[4];
      ldmatrix_x4_trans(v, &shared.v[first_key + 16 * step + tile % 2 * 8 + row][16 * pair + tile / 2 * 8]);
#pragma unroll
      for (int m = 0; m < MmaTile::row_tiles; ++m) {
        mma_bf16_16x8x16(out[m][2 * pair], p[m], {v[0], v[1]});
        if constexpr (D % 16 == 0) {
          mma_bf16_16x8x16(out[m][2 * pair + 1], p[m], {v[2], v[3]});
        } else {
          if (2 * pair + 1 < D / 8)
            mma_bf16_16x8x16(out[m][2 * pair + 1 < D / 8 ? 2 * pair + 1 : 0], p[m], {v[2], v[3]});
        }
      }
    }
  }
}

/// Infinite and NaN values in a partly masked tile: 0 times them is NaN and would reach rows that are masked. They are
/// added separately to the rows that attend to them, and zeroed. Called by the whole CUDA block; very rare.
template <int D, class Limit>
__device__ __forceinline__ void add_special_values(MmaShared<D>& shared, float (&out)[MmaTile::row_tiles][D / 8][4],
                                                   Limit&& limit, int first_key) {
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll 1
  for (int key = 0; key < MmaTile::keys; ++key)
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      const std::uint32_t word = *reinterpret_cast<const std::uint32_t*>(&shared.v[key][8 * n + column]);
#pragma unroll
      for (int m = 0; m < MmaTile::row_tiles; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          if (first_key + key >= limit(m, half)) continue;
          if (lower_is_special(word)) out[m][n][2 * half] += lower_float(word);
          if (upper_is_special(word)) out[m][n][2 * half + 1] += upper_float(word);
        }
    }
  __syncthreads();
  for_chunks<MmaTile::keys, D>([&](int row, int d) {
    auto* const words = reinterpret_cast<std::uint32_t*>(&shared.v[row][d]);
    store_vector(words, without_special(load_vector<4>(static_cast<const std::uint32_t*>(words))));
  });
  __syncthreads();
}

/// Grid: tiles of all pieces, and key heads.
template <class Keys, int D>
__global__ void __launch_bounds__(MmaTile::threads, MmaHead<D>::blocks)
    attention_mma_kernel(const bf16* qkv, const __grid_constant__ Pieces pieces, Keys keys, bf16* out) {
  static_assert(D % 8 == 0 && D <= 128, "rows are copied 16 bytes at a time, and results stay in registers");
  using T = typename Keys::value_type;
  using Shared = MmaShared<D>;
  constexpr int parts = MmaHead<D>::parts, key_tiles = MmaHead<D>::key_tiles;
  auto& shared = shared_memory<Shared>();
  take_turn();
  const RowBlock<Keys> block(pieces, static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), MmaTile::rows, keys);
  const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
  const int g = lane / 4, j = lane % 4, warp_first = block.first + warp * MmaTile::warp_rows;
  const bool active = warp_first < block.rows;  // else the warp only copies

  if constexpr (Shared::padded != D) {  // padding that copies do not write: zero for all tiles
    static_assert(Shared::padded == D + 8);
    const Vector<std::uint32_t, 4> zeros{};
    for (int row = static_cast<int>(threadIdx.x); row < MmaTile::rows; row += MmaTile::threads) {
      store_vector(reinterpret_cast<std::uint32_t*>(&shared.q[row][D]), zeros);
      if (row >= MmaTile::keys) continue;
#pragma unroll
      for (auto& keys_buffer : shared.k) store_vector(reinterpret_cast<std::uint32_t*>(&keys_buffer[row][D]), zeros);
      store_vector(reinterpret_cast<std::uint32_t*>(&shared.v[row][D]), zeros);
    }
  }
  for_chunks<MmaTile::rows, D>([&](int row, int d) {
    const bool valid = block.first + row < block.rows;
    cp_async_16(&shared.q[row][d], qkv + (valid ? block.query(block.first + row, D) + d : 0), valid);
  });
  const int tiles = block.key_tiles(MmaTile::rows);
  const auto begin_keys = [&](int tile) {
    begin_tile<D>(shared.k[tile % parts], keys.keys(block.segment, block.first_token, tile, block.kv), Keys::stride,
                  block.total - tile * MmaTile::keys);
    cp_async_commit();
  };
  begin_keys(0);

  float sums[MmaTile::row_tiles][D / 8][4];
  float maxima[MmaTile::row_tiles][2], totals[MmaTile::row_tiles][2];  // of rows g and g + 8 of a tile
#pragma unroll
  for (int m = 0; m < MmaTile::row_tiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      maxima[m][half] = -INFINITY;
      totals[m][half] = 0.0f;
    }
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[m][n][e] = 0.0f;
  }
  const auto limit = [&](int m, int half) {  // without causality, rows past the last one need no mask
    return Keys::causal ? block.limit(warp_first + 16 * m + 8 * half + g) : block.total;
  };
  const float scale = exponent_scale<D>();
  const int seen_by_all = Keys::causal ? block.limit(block.first) : block.total;

  for (int tile = 0; tile < tiles; ++tile) {
    const bool masked = (tile + 1) * MmaTile::keys > seen_by_all;
    auto& tile_keys = shared.k[tile % parts];
    cp_async_wait<0>();
    widen_tile<D, T>(tile_keys);
    __syncthreads();  // K(tile) has arrived; V and the other keys are no longer needed
    begin_tile<D>(shared.v, keys.values(block.segment, block.first_token, tile, block.kv), Keys::stride,
                  block.total - tile * MmaTile::keys);
    cp_async_commit();
    if (parts > 1) {
      if (tile + 1 < tiles) {
        begin_keys(tile + 1);
      } else {
        cp_async_commit();  // a group even if empty
      }
    }
    float scores[MmaTile::row_tiles][key_tiles][4];
    if (active) score_tile<D>(shared, tile_keys, 0, scores, warp, lane);
    cp_async_wait<(parts > 1 ? 1 : 0)>();
    widen_tile<D, T>(shared.v);
    bool special = false;  // V(tile) has arrived; K, if in one part, is no longer needed
    if constexpr (Keys::causal) {
      if (masked)  // this thread's own copies
        for_chunks<MmaTile::keys, D>([&](int row, int d) {
          special |= has_special(load_vector<4>(reinterpret_cast<const std::uint32_t*>(&shared.v[row][d])));
        });
      special = __syncthreads_or(special ? 1 : 0) != 0;
    } else {
      __syncthreads();
    }
    if (parts == 1 && tile + 1 < tiles) begin_keys(tile + 1);

#pragma unroll 1  // unrolled, heads of 72 need one register more than three CUDA blocks allow
    for (int part = 0; part < parts; ++part) {
      const int first_key = tile * MmaTile::keys + part * key_tiles * 8;
      if (part > 0 && active) score_tile<D>(shared, tile_keys, part, scores, warp, lane);
      if constexpr (has_score<Keys>) {
        if (active) change_scores<D>(keys, block, first_key, scores);
      } else if (masked) {
#pragma unroll
        for (int m = 0; m < MmaTile::row_tiles; ++m)
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int seen = limit(m, half) - first_key - 2 * j;
#pragma unroll
            for (int n = 0; n < key_tiles; ++n)
#pragma unroll
              for (int e = 0; e < 2; ++e)
                if (8 * n + e >= seen) scores[m][n][2 * half + e] = -INFINITY;
          }
      }
      if (active) {
#pragma unroll
        for (int m = 0; m < MmaTile::row_tiles; ++m) {
          float shrink[2];
          bool shrinks = false;
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            float highest = maxima[m][half];
#pragma unroll
            for (int n = 0; n < key_tiles; ++n)
#pragma unroll
              for (int e = 0; e < 2; ++e) highest = fmaxf(highest, scores[m][n][2 * half + e]);
            highest = warp_max<4>(highest);
            const float base = highest == -INFINITY ? 0.0f : highest * scale;  // a fully masked row
            shrink[half] = exp2_fast(maxima[m][half] * scale - base);
            shrinks |= highest != maxima[m][half];
            float total = 0.0f;
#pragma unroll
            for (int n = 0; n < key_tiles; ++n)
#pragma unroll
              for (int e = 0; e < 2; ++e) {
                float& score = scores[m][n][2 * half + e];
                score = exp2_fast(fmaf(score, scale, -base));
                total += score;
              }
            maxima[m][half] = highest;
            totals[m][half] = totals[m][half] * shrink[half] + total;
          }
          if (__any_sync(all_lanes, shrinks))
#pragma unroll
            for (int n = 0; n < D / 8; ++n)
#pragma unroll
              for (int e = 0; e < 4; ++e) sums[m][n][e] *= shrink[e / 2];
        }
      }
      if (Keys::causal && special && part == 0) add_special_values<D>(shared, sums, limit, first_key);
      if (active) add_values<D>(shared, part, scores, sums, lane);
    }
  }

  if (!active) return;
  __syncwarp();  // its lanes have read Q
  // Through this warp's own rows of Q, so that whole sectors are written.
#pragma unroll
  for (int m = 0; m < MmaTile::row_tiles; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float factor = 1.0f / warp_sum<4>(totals[m][half]);
      bf16* const row = shared.q[warp * MmaTile::warp_rows + 16 * m + 8 * half + g];
#pragma unroll
      for (int n = 0; n < D / 8; ++n)
        *reinterpret_cast<std::uint32_t*>(&row[8 * n + 2 * j]) =
            pack_bf16(sums[m][n][2 * half] * factor, sums[m][n][2 * half + 1] * factor);
    }
  __syncwarp();
  constexpr int chunks = D / 8;
  for (int i = lane; i < MmaTile::warp_rows * chunks; i += warp_size) {
    const int row = i / chunks, d = i % chunks * 8;
    if (warp_first + row >= block.rows) continue;
    store_vector(reinterpret_cast<std::uint32_t*>(out + block.result(warp_first + row, D) + d),
                 load_vector<4>(reinterpret_cast<const std::uint32_t*>(&shared.q[warp * MmaTile::warp_rows + row][d])));
  }
}

}  // namespace qwen3vl::cuda
