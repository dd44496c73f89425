/// Attention on the CPU in blocks of queries and keys, with a running softmax: memory grows linearly with the number of
/// keys.
///
/// Keys and values are packed once per head, in blocks of `attention_keys`, as panels for the register tile of the
/// matrix product: keys as panels of columns, values as panels of their own. A unit of work is a block of queries
/// (several register tiles) that goes through the blocks of keys. Inside a block of keys the outer loop is over panels,
/// so that a panel stays in the L1 cache while all register tiles use it, and the whole block stays in L2.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <type_traits>

#include "qwen3vl/backend/contract/context.hpp"
#include "qwen3vl/backend/contract/ops.hpp"
#include "qwen3vl/backend/contract/traced_calls.hpp"
#include "qwen3vl/backend/cpu/attention/rope.hpp"
#include "qwen3vl/backend/cpu/attention/scores.hpp"
#include "qwen3vl/backend/cpu/products/microkernel.hpp"

namespace qwen3vl {
namespace cpu_kernels {

/// The most keys in a block and register tiles in a block of queries: with heads of 64 they take 300 to 600 KiB of the
/// L2 cache. More register tiles read keys and values less often (measured in docs/performance/cpu.md).
inline constexpr index_t attention_keys = simd::registers == 32 ? 256 : 128;
inline constexpr index_t attention_tiles = simd::registers == 32 ? 28 : 32;
inline constexpr index_t attention_rows = attention_tiles * tile_rows;

/// Keys and values of one head, packed for `FlashBlock`.
template <index_t D>
struct PackedHead {
  static constexpr index_t panel = 2 * simd::width;
  static constexpr index_t vectors = (D + simd::width - 1) / simd::width;
  static constexpr index_t padded = vectors * simd::width;
  static constexpr index_t block_size = attention_keys * (D + padded);
  static_assert(attention_keys % panel == 0);

  const float* memory;

  /// Floats for `count` keys and their values.
  static index_t size(index_t count) { return blocks(count) * block_size; }
  static index_t blocks(index_t count) { return (count + attention_keys - 1) / attention_keys; }

  /// Panel p of the keys of a block: [D][panel].
  const float* keys(index_t block, index_t p) const { return memory + block * block_size + p * panel * D; }
  /// Columns from vector `v` (even) of the values of a block: [attention_keys][panel]; the last panel may be one vector
  /// wide.
  const float* values(index_t block, index_t v) const {
    return memory + block * block_size + attention_keys * (D + v * simd::width);
  }

  /// Packs one block of the first `count` keys; row i is D numbers at k + i * stride and v + i * stride.
  template <class T>
  static QWEN3VL_KERNEL void pack(const T* k, const T* v, index_t stride, index_t count, index_t block, float* memory) {
    float* const keys = memory + block * block_size;
    float* const values = keys + attention_keys * D;
    const index_t first = block * attention_keys, here = std::min(attention_keys, count - first);
    alignas(64) float row[panel][padded] = {};
    for (index_t p = 0; p * panel < here; ++p) {
      const index_t begin = p * panel, filled = std::min(panel, here - begin);
      for (index_t i = 0; i < filled; ++i) simd::convert<D>(k + (first + begin + i) * stride, row[i]);
      for (index_t i = filled; i < panel; ++i) std::fill_n(row[i], padded, 0.0f);
      float* const to = keys + begin * D;
      for (index_t d = 0; d < D; ++d)
        for (index_t i = 0; i < panel; ++i) to[d * panel + i] = row[i][d];
    }
    std::fill_n(row[0], padded, 0.0f);
    for (index_t i = 0; i < here; ++i) {
      simd::convert<D>(v + (first + i) * stride, row[0]);
      for (index_t c = 0; c < vectors; c += 2) {
        const index_t width = std::min<index_t>(2, vectors - c) * simd::width;
        std::copy_n(row[0] + c * simd::width, width, values + attention_keys * c * simd::width + i * width);
      }
    }
  }
};

/// A block of queries with its running results. Uses `size` floats of memory, which need not be zeroed.
template <index_t D>
class FlashBlock {
  using Head = PackedHead<D>;
  static constexpr index_t panel = Head::panel;
  static constexpr index_t query_size = tile_rows * D, score_size = tile_rows * attention_keys,
                           sum_size = tile_rows * Head::padded, total_size = tile_rows * simd::width;

  float* queries_;  // [tiles][D][tile_rows], scaled, also by log2 e: weights are powers of two
  float* scores_;   // [tiles][tile_rows][attention_keys]
  float* sums_;     // [tiles][tile_rows][padded]
  float* totals_;   // [tiles][tile_rows][width]: sums of the weights, not yet added over the lanes
  float maximum_[attention_rows];
  index_t limit_[attention_rows];      // keys that each row attends to, ascending
  index_t furthest_[attention_tiles];  // the largest of a tile
  index_t longest_ = 0;                // and of all
  index_t rows_ = 0;

 public:
  static constexpr index_t size = attention_tiles * (query_size + score_size + sum_size + total_size);

  explicit FlashBlock(float* memory)
      : queries_(memory),
        scores_(queries_ + attention_tiles * query_size),
        sums_(scores_ + attention_tiles * score_size),
        totals_(sums_ + attention_tiles * sum_size) {}

  /// Adds a query that attends to the first `limit` keys, at least one.
  void add(const float* query, index_t limit) {
    const index_t tile = rows_ / tile_rows, r = rows_ % tile_rows;
    const float scale = std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(D));
    float* const to = queries_ + tile * query_size + r;
    for (index_t d = 0; d < D; ++d) to[d * tile_rows] = query[d] * scale;
    limit_[rows_] = limit;
    furthest_[tile] = r == 0 ? limit : std::max(furthest_[tile], limit);
    longest_ = std::max(longest_, limit);
    maximum_[rows_] = -std::numeric_limits<float>::infinity();
    std::fill_n(sums_ + rows_ * Head::padded, Head::padded, 0.0f);
    std::fill_n(totals_ + rows_ * simd::width, simd::width, 0.0f);
    ++rows_;
  }

  /// Processes all keys that any row attends to.
  template <class Score>
  void run(const Head& head, const Score& score, const RowPlaces& places) {
    // Padding lanes are computed and discarded; they must be finite (denormals and NaNs are slow).
    for (index_t row = rows_; row < tiles() * tile_rows; ++row) {
      for (index_t d = 0; d < D; ++d) queries_[row / tile_rows * query_size + d * tile_rows + row % tile_rows] = 0.0f;
      std::fill_n(sums_ + row * Head::padded, Head::padded, 0.0f);
    }
    for (index_t block = 0; block * attention_keys < longest_; ++block) {
      const index_t first = block * attention_keys;
      // Each panel is prefetched while the previous one is used; without that AVX2 on Zen 4 reaches 71 % of the peak
      // instead of 77.
      const index_t end = std::min(first + attention_keys, longest_);
      const float* const after = end < longest_ ? head.keys(block + 1, 0) : head.keys(block, 0);
      for (index_t key = first; key < end; key += panel) {
        const index_t p = (key - first) / panel;
        scores_of(head.keys(block, p), key, key - first,
                  key + panel < end ? head.keys(block, p + 1) : head.values(block, 0));
      }
      softmax(first, score, places);
      index_t v = 0;
      for (; v + 2 <= Head::vectors; v += 2)
        add_values<2>(head.values(block, v), v, first, v + 2 < Head::vectors ? head.values(block, v + 2) : after);
      if (v < Head::vectors) add_values<1>(head.values(block, v), v, first, after);
    }
  }

  /// Result of row r, [D].
  void result(index_t r, float* out) const {
    const float inverse = 1.0f / simd::sum(simd::load(totals_ + r * simd::width));
    for (index_t d = 0; d < D; ++d) out[d] = sums_[r * Head::padded + d] * inverse;
  }

 private:
  index_t tiles() const { return (rows_ + tile_rows - 1) / tile_rows; }

  /// The scores of one panel of keys starting at `key`, for the register tiles that attend to it, into column `column`
  /// of the block. `next`: the address to prefetch.
  QWEN3VL_KERNEL void scores_of(const float* keys, index_t key, index_t column, const float* next) {
    ReadAhead ahead(next, panel * D * index_t{sizeof(float)}, rows_);
    for (index_t tile = 0; tile < tiles(); ++tile) {
      ahead();
      if (furthest_[tile] <= key) continue;
      Tile<tile_rows, 2> scores;
      scores.clear();
      multiply_add(scores, D, queries_ + tile * query_size, 1, tile_rows, keys, panel);
      scores.store(scores_ + tile * score_size + column, attention_keys);
    }
  }

  /// sums += weights * values for C vectors of columns from `v` on, over the block that begins at key `first`. Only
  /// keys that all rows of a register tile attend to go through the tile: masked keys are skipped, because even a zero
  /// weight times an infinite value is NaN.
  template <int C>
  QWEN3VL_KERNEL void add_values(const float* values, index_t v, index_t first, const float* next) {
    ReadAhead ahead(next, attention_keys * panel * index_t{sizeof(float)}, rows_);
    for (index_t tile = 0; tile < tiles(); ++tile) {
      ahead();
      if (furthest_[tile] <= first) continue;
      Tile<tile_rows, C> sums;
      float* const place = sums_ + tile * sum_size + v * simd::width;
      sums.load(place, Head::padded);
      const index_t row = tile * tile_rows, end = std::min<index_t>(rows_, row + tile_rows);
      const index_t common = std::clamp<index_t>(limit_[row] - first, 0, attention_keys);
      multiply_add(sums, common, scores_ + tile * score_size, attention_keys, 1, values, C * simd::width);
      sums.store(place, Head::padded);
      for (index_t r = row; r < end; ++r) add_values_of_row<C>(r, common, first, values, v);
    }
  }

  /// The same for one row and the keys from `begin` that it attends to.
  template <int C>
  QWEN3VL_INLINE void add_values_of_row(index_t row, index_t begin, index_t first, const float* values, index_t v) {
    const index_t end = std::min(attention_keys, limit_[row] - first);
    float* const sums = sums_ + row * Head::padded + v * simd::width;
    for (index_t key = begin; key < end; ++key) {
      const simd::Floats weight = simd::splat(scores_[row * attention_keys + key]);
      for (int c = 0; c < C; ++c)
        simd::store(sums + c * simd::width,
                    simd::load(sums + c * simd::width) + weight * simd::load(values + (key * C + c) * simd::width));
    }
  }

  template <class Score>
  QWEN3VL_KERNEL void softmax(index_t first, const Score& score, const RowPlaces& places) {
    for (index_t tile = 0; tile < tiles(); ++tile)
      if (furthest_[tile] > first) softmax(tile, first, score, places);
  }

  /// Turns the scores of a register tile's rows in the block at key `first` into weights (0 where masked) and rescales
  /// earlier sums. Each step is done for all rows before the next, so that no row waits for its own maximum.
  template <class Score>
  QWEN3VL_INLINE void softmax(index_t tile, index_t first, const Score& score, const RowPlaces& places) {
    constexpr index_t lanes = (tile_rows + simd::width - 1) / simd::width * simd::width;
    const index_t begin = tile * tile_rows, rows = std::min<index_t>(tile_rows, rows_ - begin);
    const index_t computed = std::min(attention_keys, furthest_[tile] - first);
    const index_t count = (computed + simd::width - 1) / simd::width * simd::width;
    float* const tile_scores = scores_ + tile * score_size;
    const auto seen = [&](index_t r) { return std::clamp<index_t>(limit_[begin + r] - first, 0, computed); };

    alignas(64) float rescale[lanes] = {};  // first its logarithm: old maximum minus new
    bool higher = false;
    for (index_t r = 0; r < rows; ++r) {
      float* const scores = tile_scores + r * attention_keys;
      if (seen(r) == 0) {
        std::fill_n(scores, count, 0.0f);
        continue;
      }
      if constexpr (changes_scores<Score>) change_scores(score, places.of(begin + r, first), seen(r), scores);
      for (index_t i = seen(r); i < count; ++i) scores[i] = -std::numeric_limits<float>::infinity();
      simd::Floats highest = simd::load(scores);
      for (index_t i = simd::width; i < count; i += simd::width) highest = simd::max(highest, simd::load(scores + i));
      const float before = maximum_[begin + r];
      maximum_[begin + r] = std::max(before, simd::largest(highest));
      rescale[r] = before - softmax_shift<Score>(maximum_[begin + r]);
      higher |= maximum_[begin + r] != before;
    }
    if (higher) {
      for (index_t i = 0; i < lanes; i += simd::width)
        simd::store(rescale + i, simd::exp2_negative(simd::load(rescale + i)));
      for (index_t r = 0; r < rows; ++r) {
        const simd::Floats factor = simd::splat(rescale[r]);
        float* const total = totals_ + (begin + r) * simd::width;
        simd::store(total, simd::load(total) * factor);
        float* const sums = sums_ + (begin + r) * Head::padded;
        for (index_t d = 0; d < Head::padded; d += simd::width) simd::store(sums + d, simd::load(sums + d) * factor);
      }
    }
    for (index_t r = 0; r < rows; ++r) {
      if (seen(r) == 0) continue;
      float* const scores = tile_scores + r * attention_keys;
      float* const sum = totals_ + (begin + r) * simd::width;
      const simd::Floats shift = simd::splat(softmax_shift<Score>(maximum_[begin + r]));
      simd::Floats total = simd::load(sum);
      for (index_t i = 0; i < count; i += simd::width) {
        const simd::Floats weight = softmax_weights<Score>(simd::load(scores + i), shift);
        simd::store(scores + i, weight);
        total += weight;
      }
      simd::store(sum, total);
    }
  }
};

/// One head of one sequence, as `flash_attention` takes it: keys and values of type T, `stride` apart.
template <class T>
struct FlashUnit {
  index_t rows, keys;  // rows = 0: none
  const T* k;
  const T* v;
  index_t stride;
  // Row r is head r % group of token r / group: its query is at q + token * q_stride + head * D, its result likewise,
  // and it sees `limit` keys, one more from token to token if `causal`.
  const float* q;
  float* out;
  index_t q_stride, out_stride, limit;
  ScorePlace place;  // of row 0 and key 0
};

/// How `flash_attention` divides its work, on which its scratch memory depends.
template <index_t D>
struct FlashSizes {
  index_t block_rows, query_blocks, unit, wave;  // unit: floats of the packed keys and values of one
  int threads;
  /// Whether there are enough units for each thread to take whole ones and pack their keys and values, without waiting:
  /// see RowShares in product.hpp. `wave` is then the number of threads.
  bool own_units;

  FlashSizes(int most_threads, index_t units, index_t rows, index_t keys)
      : block_rows(rows_of_block(most_threads, units, rows)),
        query_blocks((rows + block_rows - 1) / block_rows),
        unit(PackedHead<D>::size(keys)),
        threads(rows * keys * units * D > 32768
                    ? static_cast<int>(std::min<index_t>(most_threads, units * query_blocks))
                    : 1),
        own_units(units >= 4 * threads) {
    constexpr index_t small = index_t{1} << 22;  // floats
    wave = own_units ? threads : std::min(units, std::max<index_t>(threads, small / unit));
  }

 private:
  /// Smaller blocks if there are few per thread, so that threads end together; all equal but the last.
  static index_t rows_of_block(int threads, index_t units, index_t rows) {
    const index_t all = (rows + tile_rows - 1) / tile_rows;
    index_t tiles = attention_tiles;
    while (tiles > 4 && units * ((all + tiles - 1) / tiles) < 4 * threads) tiles /= 2;
    const index_t blocks = (all + tiles - 1) / tiles;
    return (all + blocks - 1) / blocks * tile_rows;
  }
};

/// Attention of all units, unit(i) for i < units; a unit has at most `rows` rows and `keys` keys.
///
/// If there are few units per thread they are processed in waves: all threads first pack the wave's keys and values,
/// then take blocks of queries. A wave has as many units as there are threads, or as many as are small beside a model,
/// so all threads have work and memory is bounded.
template <index_t D, index_t group, bool causal, class Score, class F>
void flash_attention(Context<Cpu>& ctx, index_t units, index_t rows, index_t keys, const Score& score, const F& unit) {
  using Head = PackedHead<D>;
  if (units == 0 || rows == 0) return;
  const FlashSizes<D> sizes(ctx.backend().threads(), units, rows, keys);
  const index_t query_blocks = sizes.query_blocks, key_blocks = Head::blocks(keys), size = sizes.unit,
                wave = sizes.wave;
  const int threads = sizes.threads;
  auto packed = ctx.template scratch<float, dynamic, dynamic>(wave, size);
  auto blocks = ctx.template scratch<float, dynamic, dynamic>(threads, FlashBlock<D>::size);
  const auto pack = [&](const auto& u, index_t block, float* to) {
    if (u.rows > 0 && block * attention_keys < u.keys) Head::pack(u.k, u.v, u.stride, u.keys, block, to);
  };
  const auto run = [&](const auto& u, index_t first, const float* keys_and_values) {
    if (first >= u.rows) return;
    FlashBlock<D> block(blocks.data() + omp_get_thread_num() * FlashBlock<D>::size);
    const index_t count = std::min(sizes.block_rows, u.rows - first);
    for (index_t row = first; row < first + count; ++row)
      block.add(u.q + row / group * u.q_stride + row % group * D, u.limit + (causal ? row / group : 0));
    block.run(Head{keys_and_values}, score, RowPlaces{u.place, first, group});
    for (index_t row = first; row < first + count; ++row)
      block.result(row - first, u.out + row / group * u.out_stride + row % group * D);
  };
#pragma omp parallel num_threads(threads) if (threads > 1)
  if (sizes.own_units) {
    float* const own = packed.data() + omp_get_thread_num() * size;
#pragma omp for schedule(dynamic)
    for (index_t i = 0; i < units; ++i) {
      const auto u = unit(i);
      for (index_t block = 0; block < key_blocks; ++block) pack(u, block, own);
      for (index_t first = 0; first < u.rows; first += sizes.block_rows) run(u, first, own);
    }
  } else {
    for (index_t begin = 0; begin < units; begin += wave) {
      const index_t here = std::min(wave, units - begin);
#pragma omp for schedule(dynamic)
      for (index_t item = 0; item < here * key_blocks; ++item) {
        const index_t i = item / key_blocks, block = item % key_blocks;
        pack(unit(begin + i), block, packed.data() + i * size);
      }
      // Later queries attend to more keys: longer pieces come first, so that threads end together.
#pragma omp for schedule(dynamic)
      for (index_t item = 0; item < here * query_blocks; ++item) {
        const index_t i = item % here, first = (query_blocks - 1 - item / here) * sizes.block_rows;
        run(unit(begin + i), first, packed.data() + i * size);
      }
    }
  }
}

}  // namespace cpu_kernels

template <index_t H, index_t D, ScoreFunction Score = PlainScores>
void attention(Context<Cpu>& ctx, View<const float, Cpu, dynamic, 3 * H * D> qkv, const Segments& segments,
               View<float, Cpu, dynamic, H * D> out, Score score = {}) {
  const TraceScope scope(ctx.trace(), [&] { return traced::attention("attention", segments, H, D); });
  constexpr index_t stride = 3 * H * D;
  cpu_kernels::flash_attention<D, 1, false>(
      ctx, segments.count() * H, segments.longest(), segments.longest(), score, [&](index_t unit) {
        const index_t s = unit / H, h = unit % H, first = segments.offset(s), count = segments.length(s);
        const float* const q = qkv.data() + first * stride + h * D;
        return cpu_kernels::FlashUnit<float>{.rows = count,
                                             .keys = count,
                                             .k = q + H * D,
                                             .v = q + 2 * H * D,
                                             .stride = stride,
                                             .q = q,
                                             .out = out.data() + (first * H + h) * D,
                                             .q_stride = stride,
                                             .out_stride = H * D,
                                             .limit = count,
                                             .place = score_place(s, h, H, 0)};
      });
}

}  // namespace qwen3vl
