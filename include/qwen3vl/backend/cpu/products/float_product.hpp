/// Products of rows with float and bf16 weights on the CPU: a blocked one over packed rows, and a streaming one for a
/// few rows (decode).
#pragma once

#include <algorithm>
#include <type_traits>

#include "qwen3vl/backend/cpu/products/microkernel.hpp"
#include "qwen3vl/backend/cpu/products/row_tiles.hpp"
#include "qwen3vl/backend/cpu/weights/matrix.hpp"

namespace qwen3vl::cpu_kernels {

/// Columns between two visits of a panel. A panel of as many, widened to float, takes 16 KiB (AVX2), which leaves room
/// in the first-level cache for a tile of rows; a block of rows of as many stays in the second-level cache.
inline constexpr index_t depth_block = 256;

/// Rows of activations as the products of float and bf16 weights read them: as they are, or in tiles of
/// [K][tile_rows], so that a tile reads one stream.
template <class W, index_t K>
struct FloatRows {
  using Word = float;
  static constexpr index_t words = K;
  static constexpr int tile_rows = cpu_kernels::tile_rows;
  static constexpr index_t row_block = tile_rows * tiles_of_block;

  static void put(const float* x, float* to) { std::copy_n(x, K, to); }
  template <class Source>
  static void put_tile(const Source& source, index_t count, float* tile) {
    put_in_tile(K, count, source, tile);
  }
};

/// sums [R][panel] = (or +=, if not `first`) A B for a tile of R rows: x [depth][tile_rows], columns [depth][panel].
/// Asks for as much at `next`, where a tile's next columns are, as it reads of x. Columns that are not floats go to
/// `wide` as floats, for the tiles that come after: beside the multiply-adds that costs nothing, while on its own it
/// was 2.5 to 3.5 % of a product on Zen 4.
template <int R, class W>
[[gnu::noinline, gnu::flatten]] void multiply_block(index_t depth, const float* x, const W* columns, float* wide,
                                                    bool first, float* sums, const float* next) {
  constexpr index_t panel = 2 * simd::width;
  Tile<R, 2> tile;
  if (first) {
    tile.clear();
  } else {
    tile.load(sums, panel);
  }
  for (index_t k = 0; k < depth; ++k) {
    ReadAhead::ask(next + k * tile_rows);
    if constexpr (std::is_same_v<W, float>) {
      multiply_add(tile, 1, x + k * tile_rows, 1, 0, columns + k * panel, 0);
    } else {
      simd::store(wide + k * panel, simd::load(columns + k * panel));
      simd::store(wide + k * panel + simd::width, simd::load(columns + k * panel + simd::width));
      multiply_add(tile, 1, x + k * tile_rows, 1, 0, wide + k * panel, 0);
    }
  }
  tile.store(sums, panel);
}

/// The same for up to row_block rows in tiles, each with all `columns_of_x` columns.
template <class W>
void multiply_rows(index_t depth, const float* x, index_t columns_of_x, index_t rows, const W* columns, float* wide,
                   bool first, float* sums, ReadAhead ahead) {
  constexpr bool widen = !std::is_same_v<W, float>;
  constexpr index_t panel = 2 * simd::width;
  const float* floats = wide;
  index_t row = 0;
  if constexpr (!widen) {
    floats = columns;
  } else if (rows >= tile_rows) {
    ahead();
    multiply_block<tile_rows>(depth, x, columns, wide, first, sums, ahead.behind(x));
    row = tile_rows;
  } else {
    for (index_t i = 0; i < depth * panel; i += simd::width) simd::store(wide + i, simd::load(columns + i));
  }
  for (; row < rows; row += tile_rows) {
    ahead();
    with_rows(std::min<index_t>(tile_rows, rows - row), [&](auto r) {
      const float* const from = x + row * columns_of_x;
      multiply_block<r>(depth, from, floats, nullptr, first, sums + row * panel, ahead.behind(from));
    });
  }
}

/// Panels [begin, end) of x W^T for up to row_block packed rows; finish(panel, z0, z1, row) takes the sums, and
/// finish.places(panel), if there is such a member, says where it writes. One thread's share. For each group of panels,
/// blocks of columns are the outer loop, so that the rows' part of a block is read from the second-level cache however
/// many columns there are; `sums` [panel_group][rows][panel] is where sums wait meanwhile. Each output is summed in the
/// order of the columns, whatever `rows` is.
template <class W, index_t N, index_t K, Packing packing, class F>
void blocked_panels(const CpuMatrix<W, N, K, packing>& weight, const float* packed, index_t rows, index_t begin,
                    index_t end, float* sums, const F& finish) {
  constexpr index_t panel = panel_rows;
  constexpr bool widen = !std::is_same_v<W, float>;
  alignas(64) float wide[widen ? depth_block * panel : 1];
  const auto data = [&](PanelPart part) { return weight.panel(part.panel) + part.first * panel; };
  visit_panels(begin, end, K, depth_block, [&](PanelPart part, PanelPart next) {
    float* const z = sums + (part.panel - begin) % panel_group * rows * panel;
    const bool last = part.first + part.steps == K;
    ReadAhead ahead(data(next),
                    next.steps * panel * static_cast<index_t>(sizeof(typename CpuMatrix<W, N, K, packing>::Element)),
                    rows);
    ahead.columns_move((next.first - part.first) * tile_rows);
    if (last) ahead.results(places_of(finish, part.panel));
    multiply_rows(part.steps, packed + part.first * tile_rows, K, rows, data(part), wide, part.first == 0, z, ahead);
    if (last)
      for (index_t row = 0; row < rows; ++row)
        finish(part.panel, simd::load(z + row * panel), simd::load(z + row * panel + simd::width), row);
  });
}

/// C neighbouring panels from `p` on, for R rows x [R, K].
template <int R, int C, class W, index_t N, index_t K, Packing packing, class F>
QWEN3VL_INLINE void stream(const CpuMatrix<W, N, K, packing>& weight, const float* x, index_t p, const F& finish) {
  constexpr index_t panel = panel_rows;
  const typename CpuMatrix<W, N, K, packing>::Element* columns[C];
  simd::unroll<C>([&](auto c) { columns[c] = weight.panel(p + c); });
  Tile<R, 2> tiles[C];
  simd::unroll<C>([&](auto c) { tiles[c].clear(); });
  for (index_t k = 0; k < K; ++k)
    simd::unroll<C>([&](auto c) { multiply_add(tiles[c], 1, x + k, K, 0, columns[c] + k * panel, index_t{0}); });
  simd::unroll<C>([&](auto c) {
    simd::unroll<R>([&](auto r) { finish(p + c, tiles[c].sums[r][0], tiles[c].sums[r][1], index_t{r}); });
  });
}

/// Panels [begin, end) for R rows x [R, K], weights read once. Several panels at a time hide the latency of the
/// multiply-add, so that one core can take what memory gives; each output is still summed in the order of the columns,
/// as in blocked_panels, so that a row's result does not depend on the other rows.
template <int R, class W, index_t N, index_t K, Packing packing, class F>
QWEN3VL_KERNEL void streamed_panels(const CpuMatrix<W, N, K, packing>& weight, const float* x, index_t begin,
                                    index_t end, const F& finish) {
  constexpr int together = R == 1 ? 4 : R == 2 ? 2 : 1;
  index_t p = begin;
  for (; p + together <= end; p += together) stream<R, together>(weight, x, p, finish);
  if constexpr (together > 1)
    for (; p < end; ++p) stream<R, 1>(weight, x, p, finish);
}

}  // namespace qwen3vl::cpu_kernels
