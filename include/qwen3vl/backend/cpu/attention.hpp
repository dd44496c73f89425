/// Attention on the CPU, tiled, with a running softmax: memory grows with the number of keys, never with its square.
///
/// Queries are taken in tiles of `tile_rows`, keys in blocks of `key_block`. Keys are packed once per head as panels
/// [D][panel] and values as [keys][D padded to vectors], so that both products (scores and output) are the register
/// tile of the matrix product.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "qwen3vl/backend/context.hpp"
#include "qwen3vl/backend/cpu/microkernel.hpp"
#include "qwen3vl/backend/cpu/rope.hpp"
#include "qwen3vl/backend/ops.hpp"

namespace qwen3vl {
namespace cpu_kernels {

/// Keys and values of one head, packed for `FlashTile`.
template <index_t D>
struct PackedHead {
  static constexpr index_t panel = 2 * simd::width;
  static constexpr index_t vectors = (D + simd::width - 1) / simd::width;
  static constexpr index_t padded = vectors * simd::width;

  float* keys;    // [panels][D][panel], zero padded
  float* values;  // [keys][padded], zero padded

  static index_t panels(index_t count) { return (count + panel - 1) / panel; }
  /// Floats for `count` keys and their values.
  static index_t size(index_t count) { return panels(count) * panel * (D + padded); }

  PackedHead(float* memory, index_t count) : keys(memory), values(memory + panels(count) * panel * D) {}

  /// Packs keys [begin, end): row i is D numbers at k + i * stride, v + i * stride.
  template <class T>
  void pack(const T* k, const T* v, index_t stride, index_t begin, index_t end) {
    for (index_t i = begin; i < end; ++i) {
      float* const column = keys + i / panel * panel * D + i % panel;
      for (index_t d = 0; d < D; ++d) column[d * panel] = static_cast<float>(k[i * stride + d]);
      float* const row = values + i * padded;
      for (index_t d = 0; d < D; ++d) row[d] = static_cast<float>(v[i * stride + d]);
      for (index_t d = D; d < padded; ++d) row[d] = 0.0f;
    }
  }
  /// Clears what pads the last panel behind `count` keys.
  void pad(index_t count) {
    for (index_t i = count; i < panels(count) * panel; ++i) {
      float* const column = keys + i / panel * panel * D + i % panel;
      for (index_t d = 0; d < D; ++d) column[d * panel] = 0.0f;
      std::fill_n(values + i * padded, padded, 0.0f);
    }
  }
};

/// One tile of queries on its way over the keys.
template <index_t D>
class FlashTile {
  using Head = PackedHead<D>;
  static constexpr index_t panel = Head::panel;
  static constexpr index_t key_block = 8 * panel;

  alignas(64) float queries_[D * tile_rows];          // [D][tile_rows], scaled
  alignas(64) float scores_[tile_rows * key_block];   // [tile_rows][key_block]
  alignas(64) float sums_[tile_rows * Head::padded];  // [tile_rows][padded]
  float maximum_[tile_rows], total_[tile_rows];
  index_t limit_[tile_rows];  // keys that each row sees
  index_t rows_ = 0;

 public:
  void clear() { rows_ = 0; }
  index_t rows() const { return rows_; }

  /// Adds a query that sees the first `limit` keys.
  void add(const float* query, index_t limit) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(D));
    for (index_t d = 0; d < D; ++d) queries_[d * tile_rows + rows_] = query[d] * scale;
    limit_[rows_] = limit;
    maximum_[rows_] = -std::numeric_limits<float>::infinity();
    total_[rows_] = 0.0f;
    std::fill_n(sums_ + rows_ * Head::padded, Head::padded, 0.0f);
    ++rows_;
  }

  /// Runs over all keys that any row sees.
  void run(const Head& head) {
    const index_t longest = *std::max_element(limit_, limit_ + rows_);
    for (index_t key = 0; key < longest; key += key_block) {
      const index_t count = std::min(key_block, longest - key);
      with_rows(rows_, [&](auto r) { block<r>(head, key, count); });
    }
  }

  /// Result of row r, [D].
  void result(index_t r, float* out) const {
    const float inverse = 1.0f / total_[r];
    for (index_t d = 0; d < D; ++d) out[d] = sums_[r * Head::padded + d] * inverse;
  }

 private:
  template <int R>
  QWEN3VL_KERNEL void block(const Head& head, index_t key, index_t count) {
    const index_t panels = Head::panels(count);
    for (index_t p = 0; p < panels; ++p) {
      Tile<R, 2> tile;
      tile.clear();
      multiply_add(tile, D, queries_, 1, tile_rows, head.keys + (key / panel + p) * panel * D, panel);
      tile.store(scores_ + p * panel, key_block);
    }
    for (index_t r = 0; r < R; ++r) softmax(r, std::clamp<index_t>(limit_[r] - key, 0, count), panels * panel);
    // sums += weights * values, a few vectors of D at a time.
    const float* const values = head.values + key * Head::padded;
    index_t column = 0;
    for (; column + 2 <= Head::vectors; column += 2) add_values<R, 2>(values, column, count);
    if (column < Head::vectors) add_values<R, 1>(values, column, count);
  }

  template <int R, int C>
  QWEN3VL_INLINE void add_values(const float* values, index_t column, index_t count) {
    Tile<R, C> tile;
    float* const sums = sums_ + column * simd::width;
    tile.load(sums, Head::padded);
    multiply_add(tile, count, scores_, key_block, 1, values + column * simd::width, Head::padded);
    tile.store(sums, Head::padded);
  }

  /// Turns the first `seen` scores of row r into weights, the rest into zero, and rescales what was summed before.
  QWEN3VL_KERNEL void softmax(index_t r, index_t seen, index_t count) {
    float* const scores = scores_ + r * key_block;
    for (index_t i = seen; i < count; ++i) scores[i] = -std::numeric_limits<float>::infinity();
    if (seen == 0) {
      std::fill_n(scores, count, 0.0f);
      return;
    }
    simd::Floats highest = simd::load(scores);
    for (index_t i = simd::width; i < count; i += simd::width) highest = simd::max(highest, simd::load(scores + i));
    const float maximum = std::max(maximum_[r], simd::largest(highest));
    const simd::Floats shift = simd::splat(maximum);
    simd::Floats sum = {};
    for (index_t i = 0; i < count; i += simd::width) {
      const simd::Floats weight = simd::exp(simd::load(scores + i) - shift);
      simd::store(scores + i, weight);
      sum += weight;
    }
    if (maximum != maximum_[r]) {
      const float rescale = std::exp(maximum_[r] - maximum);  // 0 on the first block
      total_[r] *= rescale;
      for (index_t d = 0; d < Head::padded; ++d) sums_[r * Head::padded + d] *= rescale;
      maximum_[r] = maximum;
    }
    total_[r] += simd::sum(sum);
  }
};

}  // namespace cpu_kernels

template <index_t H, index_t D>
void attention(Context<Cpu>& ctx, View<const float, Cpu, dynamic, 3 * H * D> qkv, const Segments& segments,
               View<float, Cpu, dynamic, H * D> out) {
  using namespace cpu_kernels;
  constexpr index_t stride = 3 * H * D;
  const index_t items = segments.count() * H;
  const int threads = static_cast<int>(std::min<index_t>(ctx.backend().threads(), std::max<index_t>(items, 1)));
  const index_t size = PackedHead<D>::size(segments.longest());
  auto memory = ctx.template scratch<float, dynamic, dynamic>(threads, size);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float* const own = memory.data() + omp_get_thread_num() * size;
    FlashTile<D> tile;
#pragma omp for schedule(dynamic)
    for (index_t item = 0; item < items; ++item) {
      const index_t s = item / H, h = item % H, first = segments.offset(s), count = segments.length(s);
      const float* const q = qkv.data() + first * stride + h * D;
      PackedHead<D> head(own, count);
      head.pack(q + H * D, q + 2 * H * D, stride, 0, count);
      head.pad(count);
      for (index_t token = 0; token < count; token += tile_rows) {
        tile.clear();
        const index_t rows = std::min<index_t>(tile_rows, count - token);
        for (index_t r = 0; r < rows; ++r) tile.add(q + (token + r) * stride, count);
        tile.run(head);
        for (index_t r = 0; r < rows; ++r) tile.result(r, out.data() + ((first + token + r) * H + h) * D);
      }
    }
  }
}

}  // namespace qwen3vl
