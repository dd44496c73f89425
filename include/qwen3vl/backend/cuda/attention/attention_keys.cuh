/// The sources of keys and values for prompt attention: rows of a projection, or the cache. Both come in tiles of 64
/// keys.
#pragma once

#include <cstdint>

#include "qwen3vl/backend/cuda/attention/kv_cache.cuh"
#include "qwen3vl/backend/cuda/attention/pieces.cuh"
#include "qwen3vl/backend/cuda/attention/scored_keys.cuh"
#include "qwen3vl/backend/cuda/cuda.cuh"
#include "qwen3vl/tensor/score.hpp"

namespace qwen3vl::cuda {

/// qkv [tokens, 3 H D]: each segment attends to all of itself and nothing else.
template <class A, int H, int D>
struct SegmentKeys {
  using value_type = A;
  static constexpr bool causal = false;
  static constexpr int heads = H, kv_heads = H, group = 1, row_size = 3 * H * D;
  static constexpr int stride = row_size;  // from a key to the next
  const A* qkv;

  __device__ __forceinline__ int past(int /*segment*/) const { return 0; }
  /// The first key of a tile; first_row is the segment's.
  __device__ __forceinline__ const A* keys(int /*segment*/, int first_row, int tile, int head) const {
    return qkv + (static_cast<std::int64_t>(first_row) + tile * page_tokens) * row_size + (H + head) * D;
  }
  __device__ __forceinline__ const A* values(int segment, int first_row, int tile, int head) const {
    return keys(segment, first_row, tile, H + head);
  }
};

/// The cache, of queries in rows of (H + 2 K) D: each new token attends to the sequence up to itself.
template <class T, int H, int K, int D>
struct CachedKeys {
  static_assert(H % K == 0, "query heads share key heads evenly");
  using value_type = T;
  static constexpr bool causal = true;
  static constexpr int heads = H, kv_heads = K, group = H / K, row_size = (H + 2 * K) * D;
  static constexpr int stride = D;
  CacheView<T, K, D> cache;

  __device__ __forceinline__ int past(int segment) const { return cache.length(segment); }
  __device__ __forceinline__ const T* keys(int segment, int /*first_row*/, int tile, int head) const {
    return cache.keys(segment, tile, head);
  }
  __device__ __forceinline__ const T* values(int segment, int /*first_row*/, int tile, int head) const {
    return cache.values(segment, tile, head);
  }
};

/// A block's rows: the query heads of one key head, token after token. Row r is head r % group of token r / group.
template <class Keys>
struct RowBlock {
  int segment, first_token;  // of the segment in the batch
  int kv, first, rows;       // of the segment's `rows`, this block has those from `first` on
  int past, total;           // keys before this call's, and all

  /// Tile `tile` of all pieces, each cut into blocks of `size` rows; the later ones of a segment come first, because
  /// they attend to more keys.
  __device__ __forceinline__ RowBlock(const Pieces& pieces, int tile, int kv_head, int size, const Keys& keys)
      : kv(kv_head) {
    const int piece = pieces.find(tile);
    segment = pieces.segment[piece];
    first_token = pieces.first[piece];
    rows = pieces.rows[piece] * Keys::group;
    first = (pieces.first_tile[piece + 1] - 1 - tile) * size;
    past = keys.past(segment);
    total = past + pieces.rows[piece];
  }
  /// The number of keys that a row attends to; 0 for rows past the last one.
  __device__ __forceinline__ int limit(int row) const {
    if (row >= rows) return 0;
    return Keys::causal ? past + row / Keys::group + 1 : total;
  }
  /// The number of tiles of 64 keys that any of `size` rows attends to.
  __device__ __forceinline__ int key_tiles(int size) const {
    return ceil_div(limit(min(first + size, rows) - 1), page_tokens);
  }
  /// Where the score of a row and a key stands.
  __device__ __forceinline__ ScorePlace place(int row, int key) const {
    return {segment, kv * Keys::group + row % Keys::group, Keys::heads, past + row / Keys::group, key};
  }
  /// Elements before the query of a row, and before its result.
  __device__ __forceinline__ std::int64_t query(int row, int head_dim) const {
    return static_cast<std::int64_t>(first_token + row / Keys::group) * Keys::row_size +
           (kv * Keys::group + row % Keys::group) * head_dim;
  }
  __device__ __forceinline__ std::int64_t result(int row, int head_dim) const {
    return (static_cast<std::int64_t>(first_token + row / Keys::group) * Keys::heads + kv * Keys::group +
            row % Keys::group) *
           head_dim;
  }
};

}  // namespace qwen3vl::cuda
