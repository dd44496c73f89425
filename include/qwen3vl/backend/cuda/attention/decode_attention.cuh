/// Attention of a few new tokens over a long cache (split-KV decoding), on the tensor cores.
///
/// Limited by memory: keys and values are read once, for all query heads that share them. A CUDA block has one key head
/// of one sequence and a run of its keys, at least a page; a second kernel combines the runs. Runs, and the order of
/// every sum, depend only on the sequence's own length: a token's result does not depend on the batch or the device.
///
///                keys of a page, 64                      A warp takes 16 keys of every page. Queries are the 8 columns
///        warp 0   warp 1   warp 2   warp 3               of the products S^T = K Q^T [16 keys x 8 rows] and
///      +--------+--------+--------+--------+  page 0     O^T += V^T P^T [D x 8 rows], so that one to eight rows (heads
///      +--------+--------+--------+--------+  page 1     times tokens) cost what one costs. `Tiles` of 8 rows.
///      |        |  ...   |        |        |
///      +--------+--------+--------+--------+  page 3     nothing waits for another warp until the run's end
///
/// Nothing passes through shared memory on its way to the tensor cores: a sum may take its terms in any order, so each
/// lane uses what its own 16-byte loads give it. For S, lane (g, j) = (lane / 4, lane % 4) loads the numbers 8 j.. of
/// each 32 of keys g and g + 8, and of query g the same. For O it loads the numbers 8 g.. of each 64 of keys 2 j, 2 j +
/// 1, 2 j + 8, 2 j + 9. In flight per warp and step: 16 keys and values, 8 KiB for heads of 128 in bf16. Of a cache of
/// e4m3 it is half, by 8-byte loads that become bf16 in registers.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "qwen3vl/backend/cuda/attention/kv_cache.cuh"
#include "qwen3vl/backend/cuda/attention/pieces.cuh"
#include "qwen3vl/backend/cuda/attention/scored_keys.cuh"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/backend/cuda/primitives/packed_bf16.cuh"
#include "qwen3vl/backend/cuda/primitives/reduce.cuh"

namespace qwen3vl::cuda {

inline constexpr int decode_warps = 4;
/// How many runs a sequence has at most.
inline constexpr int decode_runs = 64;
/// Pages of a run whose addresses are read together.
inline constexpr int decode_pages = 4;
/// Rows (query heads of a key head, times new tokens) that this file is for: two tiles of eight.
inline constexpr int decode_rows = 16;
static_assert(page_tokens == 16 * decode_warps);

/// Keys of one run in a sequence of `keys`. Short sequences, which would give few CUDA blocks, have short runs; longer
/// ones save combining many runs.
__host__ __device__ constexpr int run_length(int keys) {
  if (keys <= 512) return page_tokens;
  if (keys <= 1024) return 2 * page_tokens;
  return 4 * page_tokens * ceil_div(keys, 4 * page_tokens * decode_runs);
}
/// The most runs of any sequence of at most `keys`.
__host__ __device__ constexpr int most_runs(int keys) {
  return keys <= 2048 ? ceil_div(keys < 512 ? keys : 512, page_tokens)
                      : (keys > 4 * page_tokens * decode_runs ? decode_runs : ceil_div(keys, 4 * page_tokens));
}
static_assert(most_runs(512) == 8 && most_runs(1024) == ceil_div(1024, run_length(1024)) && most_runs(2048) == 8 &&
              most_runs(2049) == 9 && most_runs(1 << 20) == decode_runs);

/// log2(e) / sqrt(D): scores times this are exponents of 2.
template <int D>
__device__ __forceinline__ float exponent_scale() {
  return 1.4426950408889634f / sqrtf(static_cast<float>(D));
}

/// Partial results of a run: sums [D] of exp(score - maximum) v, then the maximum score and the sum of the weights.
/// [pieces][runs][K][rows] of each.
struct RunResults {
  float* sums;
  float2* statistics;
  int runs, rows;
  __device__ __forceinline__ std::int64_t index(int piece, int run, int kv, int kv_heads, int row) const {
    return ((static_cast<std::int64_t>(piece) * runs + run) * kv_heads + kv) * rows + row;
  }
};

/// Parts of the four warps.
template <int D, int Tiles>
struct DecodeShared {
  static constexpr int rows = 8 * Tiles;
  float sums[decode_warps][rows][D];
  float maxima[decode_warps][rows];
  float totals[decode_warps][rows];
};

/// A warp's running maximum, sum and weighted values for its rows.
template <int D, int Tiles>
struct DecodeState {
  static constexpr int chunks = ceil_div(D, 64);  // of 64 numbers of a value
  float maxima[Tiles][2];                         // of rows 8 tile + 2 j and the next one
  float totals[Tiles][2];                         // over this lane's keys
  float out[Tiles][chunks][4][4];  // [..][t]: numbers 64 chunk + 8 g + 2 t of those two rows, then those of 2 t + 1
  int limits[Tiles][2];            // keys that the rows see
};

/// Infinite and NaN values where some rows are masked: 0 times them is NaN and would reach masked rows. They are added
/// separately to the rows that attend to them, and zeroed.
template <int D, int Tiles>
__device__ __forceinline__ void add_special_values(DecodeState<D, Tiles>& state,
                                                   PackedBf16 (&v)[DecodeState<D, Tiles>::chunks][4], int first_key) {
  constexpr int chunks = DecodeState<D, Tiles>::chunks;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
#pragma unroll 1
  for (int source = 0; source < 4; ++source) {
#pragma unroll
    for (int chunk = 0; chunk < chunks; ++chunk)
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int key = first_key + 2 * source + r % 2 + 8 * (r / 2);
#pragma unroll
        for (int t = 0; t < 4; ++t) {
          const std::uint32_t word = __shfl_sync(all_lanes, v[chunk][r].values[t], lane / 4 * 4 + source);
#pragma unroll
          for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              if (key >= state.limits[tile][e]) continue;
              if (lower_is_special(word)) state.out[tile][chunk][t][e] += lower_float(word);
              if (upper_is_special(word)) state.out[tile][chunk][t][2 + e] += upper_float(word);
            }
        }
      }
  }
#pragma unroll
  for (int chunk = 0; chunk < chunks; ++chunk)
#pragma unroll
    for (int r = 0; r < 4; ++r) v[chunk][r] = without_special(v[chunk][r]);
}

/// Sixteen keys: number first_key and on of the sequence, `count` of them real; k and v are their rows. change(row,
/// key, product) applies a score function, unless it is PlainScores.
template <class T, int D, int Tiles, class Change>
__device__ __forceinline__ void decode_step(DecodeState<D, Tiles>& state, const PackedBf16 (&q)[Tiles][ceil_div(D, 32)],
                                            const T* k, const T* v, int first_key, int count, bool masked,
                                            const Change& change) {
  constexpr int key_chunks = ceil_div(D, 32), value_chunks = DecodeState<D, Tiles>::chunks;
  const int lane = static_cast<int>(threadIdx.x) % warp_size, g = lane / 4, j = lane % 4;
  PackedBf16 keys[key_chunks][2], values[value_chunks][4];
#pragma unroll
  for (int chunk = 0; chunk < key_chunks; ++chunk)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int d = 32 * chunk + 8 * j, key = g + 8 * half;
      keys[chunk][half] = load_packed_if((D % 32 == 0 || d < D) && key < count, k + key * D + d);
    }
#pragma unroll
  for (int chunk = 0; chunk < value_chunks; ++chunk)
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int d = 64 * chunk + 8 * g, key = 2 * j + r % 2 + 8 * (r / 2);
      values[chunk][r] = load_packed_if((D % 64 == 0 || d < D) && key < count, v + key * D + d);
    }

  float scores[Tiles][4] = {};  // of key g and rows 2 j, 2 j + 1 of each tile, then of key g + 8
#pragma unroll
  for (int chunk = 0; chunk < key_chunks; ++chunk) {
    const auto &a = keys[chunk][0].values, &b = keys[chunk][1].values;
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile) {
      const auto& x = q[tile][chunk].values;
      mma_bf16_16x8x16(scores[tile], {a[0], b[0], a[1], b[1]}, {x[0], x[1]});
      mma_bf16_16x8x16(scores[tile], {a[2], b[2], a[3], b[3]}, {x[2], x[3]});
    }
  }

  // Only where rows see different keys do weights of zero meet values.
  if (masked) {
    bool special = false;
#pragma unroll
    for (int chunk = 0; chunk < value_chunks; ++chunk)
#pragma unroll
      for (int r = 0; r < 4; ++r) special |= has_special(values[chunk][r]);
    if (__any_sync(all_lanes, special)) add_special_values(state, values, first_key);
  }

  const float scale = exponent_scale<D>();
  std::uint32_t weights[Tiles][2];  // P^T: of keys 2 j, 2 j + 1 and row g, then of keys 2 j + 8, 2 j + 9
#pragma unroll
  for (int tile = 0; tile < Tiles; ++tile) {
    float p[4];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int limit = state.limits[tile][e];
      float low = first_key + g < limit ? scores[tile][e] : -INFINITY;
      float high = first_key + g + 8 < limit ? scores[tile][2 + e] : -INFINITY;
      if constexpr (changes_scores<Change>) {
        const int row = 8 * tile + 2 * j + e;
        if (first_key + g < limit) low = change(row, first_key + g, low);
        if (first_key + g + 8 < limit) high = change(row, first_key + g + 8, high);
      }
      float highest = fmaxf(low, high);
#pragma unroll
      for (int step = 4; step < warp_size; step *= 2)
        highest = fmaxf(highest, __shfl_xor_sync(all_lanes, highest, step));
      const float before = state.maxima[tile][e], now = fmaxf(before, highest);
      const float base = now == -INFINITY ? 0.0f : now * scale;  // a row without a key so far
      const float shrink = exp2_fast(before * scale - base);
      p[e] = exp2_fast(fmaf(low, scale, -base));
      p[2 + e] = exp2_fast(fmaf(high, scale, -base));
      state.maxima[tile][e] = now;
      state.totals[tile][e] = state.totals[tile][e] * shrink + (p[e] + p[2 + e]);
#pragma unroll
      for (int chunk = 0; chunk < value_chunks; ++chunk)
#pragma unroll
        for (int t = 0; t < 4; ++t) {
          state.out[tile][chunk][t][e] *= shrink;
          state.out[tile][chunk][t][2 + e] *= shrink;
        }
    }
    // Key g of rows 2 j.. becomes row g of keys 2 j..: the transposed tile, by shuffles.
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::uint32_t mine = pack_bf16(p[2 * half], p[2 * half + 1]);
      const std::uint32_t first = __shfl_sync(all_lanes, mine, 8 * j + g / 2);
      const std::uint32_t second = __shfl_sync(all_lanes, mine, 8 * j + 4 + g / 2);
      weights[tile][half] = g % 2 == 0 ? lower_halves(first, second) : upper_halves(first, second);
    }
  }

#pragma unroll
  for (int chunk = 0; chunk < value_chunks; ++chunk)
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      const std::uint32_t r0 = values[chunk][0].values[t], r1 = values[chunk][1].values[t];
      const std::uint32_t r2 = values[chunk][2].values[t], r3 = values[chunk][3].values[t];
#pragma unroll
      for (int tile = 0; tile < Tiles; ++tile)
        mma_bf16_16x8x16(state.out[tile][chunk][t],
                         {lower_halves(r0, r1), upper_halves(r0, r1), lower_halves(r2, r3), upper_halves(r2, r3)},
                         {weights[tile][0], weights[tile][1]});
    }
}

/// Grid: pieces times K, and runs. Cache: a CacheView<T, K, D>, or one with a score function.
template <class T, class Cache, int H, int K, int D, int Tiles>
__global__ void __launch_bounds__(decode_warps* warp_size)
    decode_attention_kernel(const bf16* qkv, const __grid_constant__ Pieces pieces, Cache cache, RunResults results) {
  static_assert(D % 8 == 0, "16-byte loads");
  static_assert(H % K == 0 && H / K <= 8 * Tiles, "the heads of a group are rows of one block");
  constexpr int group = H / K, key_chunks = ceil_div(D, 32), chunks = DecodeState<D, Tiles>::chunks;
  auto& shared = shared_memory<DecodeShared<D, Tiles>>();
  take_turn();
  const int piece = static_cast<int>(blockIdx.x) / K, kv = static_cast<int>(blockIdx.x) % K;
  const int run = static_cast<int>(blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
  const int g = lane / 4, j = lane % 4;
  const int s = pieces.segment[piece], fresh = pieces.rows[piece], rows = fresh * group;
  const int past = cache.length(s), total = past + fresh, length = run_length(total), begin = run * length;
  if (begin >= total) return;
  const int end = min(begin + length, total);

  PackedBf16 q[Tiles][key_chunks];
  DecodeState<D, Tiles> state;
#pragma unroll
  for (int tile = 0; tile < Tiles; ++tile) {
    const int row = 8 * tile + g;
    const bf16* const query =
        qkv +
        (static_cast<std::int64_t>(pieces.first[piece] + row / group) * (H + 2 * K) + kv * group + row % group) * D;
#pragma unroll
    for (int chunk = 0; chunk < key_chunks; ++chunk) {
      const int d = 32 * chunk + 8 * j;
      q[tile][chunk] = load_packed_if(row < rows && (D % 32 == 0 || d < D), query + d);
    }
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      state.maxima[tile][e] = -INFINITY;
      state.totals[tile][e] = 0.0f;
      state.limits[tile][e] = min(past + (8 * tile + 2 * j + e) / group + 1, total);
      if (has_score<Cache> && 8 * tile + 2 * j + e >= rows)
        state.limits[tile][e] = 0;  // no row: the function is not called
#pragma unroll
      for (int chunk = 0; chunk < chunks; ++chunk)
#pragma unroll
        for (int t = 0; t < 4; ++t) state.out[tile][chunk][t][e] = state.out[tile][chunk][t][2 + e] = 0.0f;
    }
  }

  const auto change = [&] {
    if constexpr (has_score<Cache>) {
      return [&](int row, int key, float product) {
        return changed_product<D>(cache, product, {s, kv * group + row % group, H, past + row / group, key});
      };
    } else {
      return PlainScores{};
    }
  }();
  for (int first = begin + 16 * warp; first < end; first += decode_pages * page_tokens) {
    const T* k[decode_pages];
    const T* v[decode_pages];
#pragma unroll
    for (int i = 0; i < decode_pages; ++i) {
      const int key = first + i * page_tokens;
      if (key >= end) continue;
      k[i] = cache.keys(s, key / page_tokens, kv) + 16 * warp * D;
      v[i] = cache.values(s, key / page_tokens, kv) + 16 * warp * D;
    }
#pragma unroll
    for (int i = 0; i < decode_pages; ++i) {
      const int key = first + i * page_tokens;
      if (key < end)  // the same for the whole warp
        decode_step<T, D, Tiles>(state, q, k[i], v[i], key, end - key, fresh > 1 && key + 16 > past + 1, change);
    }
  }

#pragma unroll
  for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int row = 8 * tile + 2 * j + e;
      float total_weight = state.totals[tile][e];
#pragma unroll
      for (int step = 4; step < warp_size; step *= 2) total_weight += __shfl_xor_sync(all_lanes, total_weight, step);
      if (g == 0) {
        shared.maxima[warp][row] = state.maxima[tile][e];
        shared.totals[warp][row] = total_weight;
      }
#pragma unroll
      for (int chunk = 0; chunk < chunks; ++chunk) {
        const int d = 64 * chunk + 8 * g;
        if (D % 64 != 0 && d >= D) continue;
        float values[8];
#pragma unroll
        for (int t = 0; t < 4; ++t) {
          values[2 * t] = state.out[tile][chunk][t][e];
          values[2 * t + 1] = state.out[tile][chunk][t][2 + e];
        }
        store_floats<8>(&shared.sums[warp][row][d], values);
      }
    }
  __syncthreads();
  // The warps' parts, in order. Every run has keys for warp 0; a row that sees none of them has a maximum of -infinity.
  const float scale = exponent_scale<D>();
  for (int i = static_cast<int>(threadIdx.x); i < rows * D; i += decode_warps * warp_size) {
    const int row = i / D, d = i % D;
    float highest = shared.maxima[0][row];
#pragma unroll
    for (int w = 1; w < decode_warps; ++w) highest = fmaxf(highest, shared.maxima[w][row]);
    const float base = highest == -INFINITY ? 0.0f : highest * scale;
    float sum = 0.0f, weight = 0.0f;
#pragma unroll
    for (int w = 0; w < decode_warps; ++w) {
      const float factor = exp2_fast(shared.maxima[w][row] * scale - base);
      sum = fmaf(factor, shared.sums[w][row][d], sum);
      weight = fmaf(factor, shared.totals[w][row], weight);
    }
    const std::int64_t at = results.index(piece, run, kv, K, row);
    results.sums[at * D + d] = sum;
    if (d == 0) results.statistics[at] = make_float2(highest, weight);
  }
}

/// Combines the runs. Grid: pieces times K, and rows by four; a warp has one row.
template <class T, int H, int K, int D>
__global__ void __launch_bounds__(decode_warps* warp_size)
    combine_runs_kernel(const __grid_constant__ Pieces pieces, CacheView<T, K, D> cache, RunResults results,
                        bf16* out) {
  static_assert(decode_runs % warp_size == 0);
  constexpr int group = H / K, width = vector_width<float, D>, vectors = D / width;
  constexpr int per_lane = ceil_div(vectors, warp_size), each = decode_runs / warp_size, together = 8;
  take_turn();
  const int piece = static_cast<int>(blockIdx.x) / K, kv = static_cast<int>(blockIdx.x) % K;
  const int row = static_cast<int>(blockIdx.y) * decode_warps + static_cast<int>(threadIdx.x) / warp_size;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int fresh = pieces.rows[piece];
  if (row >= fresh * group) return;
  const int total = cache.length(pieces.segment[piece]) + fresh;
  const int runs = ceil_div(total, run_length(total));
  float2 statistics[each];  // of runs lane, lane + 32, ...
  float highest = -INFINITY;
#pragma unroll
  for (int i = 0; i < each; ++i) {
    const int run = lane + i * warp_size;
    statistics[i] = make_float2(-INFINITY, 0.0f);
    if (run < runs) statistics[i] = results.statistics[results.index(piece, run, kv, K, row)];
    highest = fmaxf(highest, statistics[i].x);
  }
  highest = warp_max(highest);
  const float scale = exponent_scale<D>(), base = highest == -INFINITY ? 0.0f : highest * scale;
  float factors[each], weight = 0.0f;
#pragma unroll
  for (int i = 0; i < each; ++i) {
    factors[i] = exp2_fast(statistics[i].x * scale - base);
    weight = fmaf(factors[i], statistics[i].y, weight);
  }
  weight = warp_sum(weight);
  float sums[per_lane][width] = {};
#pragma unroll 1
  for (int first = 0; first < runs; first += together) {
    float values[together][per_lane][width], of_run[together];
#pragma unroll
    for (int r = 0; r < together; ++r) {
      float mine = factors[0];
#pragma unroll
      for (int i = 1; i < each; ++i)
        if (first >= i * warp_size) mine = factors[i];
      of_run[r] = __shfl_sync(all_lanes, mine, (first + r) % warp_size);
    }
#pragma unroll
    for (int r = 0; r < together; ++r) {  // without branches, so that all loads are in flight at once
      const int run = min(first + r, runs - 1);
#pragma unroll
      for (int i = 0; i < per_lane; ++i) {
        const int v = min(lane + i * warp_size, vectors - 1);
        load_floats<width>(results.sums + results.index(piece, run, kv, K, row) * D + v * width, values[r][i]);
      }
    }
#pragma unroll
    for (int r = 0; r < together; ++r)
#pragma unroll
      for (int i = 0; i < per_lane; ++i)
#pragma unroll
        for (int e = 0; e < width; ++e) {
          const float sum = fmaf(of_run[r], values[r][i][e], sums[i][e]);
          sums[i][e] = first + r < runs ? sum : sums[i][e];
        }
  }
  bf16* const to =
      out + (static_cast<std::int64_t>(pieces.first[piece] + row / group) * H + kv * group + row % group) * D;
#pragma unroll
  for (int i = 0; i < per_lane; ++i) {
    const int v = lane + i * warp_size;
    if (vectors % warp_size != 0 && v >= vectors) continue;
#pragma unroll
    for (float& value : sums[i]) value /= weight;
    store_floats<width>(to + v * width, sums[i]);
  }
}

/// Causal attention of the segments of which `takes(tokens)` holds; those have decode_rows rows at most.
template <int H, int K, int D, class T, class Takes, class Score>
void decode_attention(Context<Cuda>& ctx, const bf16* qkv, const Segments& segments, CacheView<T, K, D> cache,
                      index_t capacity, const Score& score, Takes&& takes, bf16* out) {
  constexpr int group = H / K;
  const int keys = static_cast<int>(capacity), runs = most_runs(keys);
  for_each_pieces(
      segments, [&](index_t tokens) -> index_t { return takes(tokens) ? 1 : 0; },
      [&](const Pieces& pieces) {
        int rows = 0;
        for (int i = 0; i < pieces.count; ++i) rows = std::max(rows, pieces.rows[i] * group);
        const index_t results = static_cast<index_t>(pieces.count) * runs * K * rows;
        auto sums = ctx.scratch<float, dynamic, D>(results);
        auto statistics = ctx.scratch<float2, dynamic>(results);
        const RunResults to{sums.data(), statistics.data(), runs, rows};
        const dim3 grid(static_cast<unsigned>(pieces.count * K), static_cast<unsigned>(runs));
        const auto run = [&]<int Tiles>(std::integral_constant<int, Tiles>) {
          const auto scored = with_score(cache, score);
          launch_early<DecodeShared<D, Tiles>>(
              ctx, decode_attention_kernel<T, std::remove_const_t<decltype(scored)>, H, K, D, Tiles>, grid,
              decode_warps * warp_size, qkv, pieces, scored, to);
        };
        if constexpr (group <= 8) {
          if (rows <= 8) run(std::integral_constant<int, 1>{});
        }
        if (rows > 8) run(std::integral_constant<int, 2>{});
        launch_early(ctx, combine_runs_kernel<T, H, K, D>,
                     dim3(static_cast<unsigned>(pieces.count * K), static_cast<unsigned>(ceil_div(rows, decode_warps))),
                     decode_warps * warp_size, pieces, cache, to, out);
      });
}

}  // namespace qwen3vl::cuda
